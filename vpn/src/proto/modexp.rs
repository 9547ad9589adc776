//! Modular exponentiation of secrets in constant time, for every group of this program.

use crypto_bigint::BoxedUint;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use num_bigint::BigUint;
use zeroize::{Zeroize, Zeroizing};

/// A prime, and what is derived from it once per process.
pub(super) struct Modulus {
    prime: BigUint,
    bits: u32,
    params: BoxedMontyParams,
}

impl Modulus {
    /// Prepares a prime of `bits` bits, written in hexadecimal.
    ///
    /// # Panics
    ///
    /// If the text is no odd number; the tables of primes are constants, and tests prepare them all.
    pub(super) fn new(hex: &str, bits: u32) -> Self {
        let prime = BigUint::parse_bytes(hex.as_bytes(), 16)
            .expect("the table of primes is hexadecimal; a test parses all of it");
        let odd = widened(&prime, bits)
            .into_odd()
            .into_option()
            .expect("primes of this size are odd; a test checks all of them");
        Self { prime, bits, params: BoxedMontyParams::new_vartime(odd) }
    }

    pub(super) fn prime(&self) -> &BigUint {
        &self.prime
    }

    /// `base^exponent mod p` in constant time, as many bytes as the prime has.
    pub(super) fn power(&self, base: &BigUint, exponent: &BoxedUint) -> Zeroizing<Vec<u8>> {
        let base = BoxedMontyForm::new(widened(base, self.bits), &self.params);
        let mut power = base.pow(exponent);
        let result = Zeroizing::new(power.retrieve());
        power.zeroize();
        Zeroizing::new(Vec::from(result.to_be_bytes()))
    }
}

/// A secret exponent from its big-endian bytes.
pub(super) fn exponent(bytes: &[u8]) -> Zeroizing<BoxedUint> {
    let bits = u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX).max(8);
    Zeroizing::new(BoxedUint::from_be_slice_truncated(bytes, bits))
}

/// Widens a public number to `bits`, which must be enough for it.
fn widened(value: &BigUint, bits: u32) -> BoxedUint {
    BoxedUint::from_be_slice_truncated(&value.to_bytes_be(), bits)
}
