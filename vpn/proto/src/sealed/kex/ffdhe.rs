//! The finite-field groups ffdhe3072, ffdhe4096 and ffdhe8192 of RFC 7919, with generator 2.

use std::sync::OnceLock;

use num_bigint::BigUint;
use rand::CryptoRng;
use zeroize::Zeroizing;

use vpn_crypto::modexp::{Exponent, Modulus};
use vpn_crypto::primes;

use super::error::KexError;
use crate::exponent;

/// A group of RFC 7919.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FfGroup {
    Ffdhe3072,
    Ffdhe4096,
    Ffdhe8192,
}

impl FfGroup {
    /// The size of the prime in bytes. A share and a secret have the same size.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Ffdhe3072 => 384,
            Self::Ffdhe4096 => 512,
            Self::Ffdhe8192 => 1024,
        }
    }

    /// The length of our exponents in bits (RFC 7919 §5.2 and Appendix A).
    fn exponent_bits(self) -> u32 {
        match self {
            Self::Ffdhe3072 => 275,
            Self::Ffdhe4096 => 325,
            Self::Ffdhe8192 => 400,
        }
    }

    fn modulus(self) -> &'static Modulus {
        static TABLE: [OnceLock<Modulus>; 3] = [const { OnceLock::new() }; 3];
        let (slot, hex, bits) = match self {
            Self::Ffdhe3072 => (0, primes::FFDHE_3072, 3072),
            Self::Ffdhe4096 => (1, primes::FFDHE_4096, 4096),
            Self::Ffdhe8192 => (2, primes::FFDHE_8192, 8192),
        };
        TABLE[slot].get_or_init(|| Modulus::new(hex, bits, self.exponent_bits()))
    }

    /// Draws an exponent, big-endian.
    pub(super) fn draw(self, rng: &mut (impl CryptoRng + ?Sized)) -> Zeroizing<Vec<u8>> {
        exponent::draw(self.exponent_bits(), rng)
    }

    /// The share of an exponent: the public value, big-endian, with the size of the prime.
    pub(super) fn share(self, exponent: &[u8]) -> Vec<u8> {
        self.modulus().power_of_two(&Exponent::from_be_bytes(exponent)).to_vec()
    }

    /// Computes the secret, big-endian, with the size of the prime.
    pub(super) fn agree(
        self,
        exponent: &[u8],
        share: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KexError> {
        if share.len() != self.bytes() {
            return Err(KexError::Length { expected: self.bytes(), got: share.len() });
        }
        let value = BigUint::from_bytes_be(share);
        if value < BigUint::from(2u8) || value > self.modulus().prime() - 2u8 {
            return Err(KexError::OutOfRange);
        }
        Ok(self.modulus().power(&value, &Exponent::from_be_bytes(exponent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_have_the_shape_of_rfc_7919() {
        for group in [FfGroup::Ffdhe3072, FfGroup::Ffdhe4096, FfGroup::Ffdhe8192] {
            let bytes = group.modulus().prime().to_bytes_be();
            assert_eq!(bytes.len(), group.bytes());
            // All primes begin and end with 64 one bits. The digits of e follow the first ones.
            assert!(bytes.starts_with(&[0xff; 8]) && bytes.ends_with(&[0xff; 8]));
            assert_eq!(bytes[8..12], [0xad, 0xf8, 0x54, 0x58]);
        }
    }

    #[test]
    fn shares_outside_the_group_are_refused() {
        let group = FfGroup::Ffdhe3072;
        let padded = |n: BigUint| {
            let bytes = n.to_bytes_be();
            [vec![0; 384 - bytes.len()], bytes].concat()
        };
        let p = group.modulus().prime().clone();
        for value in [BigUint::from(0u8), BigUint::from(1u8), &p - 1u8, p.clone(), &p + 1u8] {
            assert_eq!(group.agree(&[3], &padded(value)).unwrap_err(), KexError::OutOfRange);
        }
        assert!(group.agree(&[3], &padded(BigUint::from(2u8))).is_ok());
        assert!(group.agree(&[3], &padded(&p - 2u8)).is_ok());
        let short = group.agree(&[3], &[2]).unwrap_err();
        assert_eq!(short, KexError::Length { expected: 384, got: 1 });
    }
}
