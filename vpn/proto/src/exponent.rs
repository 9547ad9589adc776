//! Secret exponents for Diffie-Hellman, the same in both profiles.

use rand::CryptoRng;
use zeroize::Zeroizing;

/// Draws a uniform exponent of `bits` bits. It is big-endian and wiped on drop.
pub(crate) fn draw(bits: u32, rng: &mut (impl CryptoRng + ?Sized)) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; bits.div_ceil(8) as usize]);
    rng.fill_bytes(&mut bytes);
    if let Some(first) = bytes.first_mut() {
        *first &= 0xff >> (bits.next_multiple_of(8) - bits);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_differ_and_have_the_length_asked_for() {
        for (bits, length, first) in [(225, 29, 0x01), (275, 35, 0x07), (400, 50, 0xff)] {
            let [a, b] = [draw(bits, &mut rand::rng()), draw(bits, &mut rand::rng())];
            assert_eq!((a.len(), b.len()), (length, length));
            assert!(a[0] <= first && b[0] <= first && a != b);
        }
    }
}
