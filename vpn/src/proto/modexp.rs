//! Modular exponentiation of secrets in constant time, for every group of this program.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crypto_bigint::BoxedUint;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use num_bigint::BigUint;
use zeroize::{Zeroize, Zeroizing};

use super::comb::Comb;

/// How many powers of 2 are computed before there is a table for them.
///
/// Making it takes as long as two exponentiations, which a client that shakes hands once would not
/// get back.
const WITHOUT_TABLE: u32 = 2;

/// A prime, and what is derived from it once per process.
pub(super) struct Modulus {
    prime: BigUint,
    bits: u32,
    exponent_bits: u32,
    params: BoxedMontyParams,
    powers_of_two: AtomicU32,
    comb: OnceLock<Comb>,
}

/// A secret exponent. Its length in whole bytes is no secret. Wiped on drop.
pub(super) struct Exponent {
    value: Zeroizing<BoxedUint>,
    bits: u32,
}

impl Exponent {
    /// Takes its big-endian bytes.
    pub(super) fn from_be_bytes(bytes: &[u8]) -> Self {
        let bits = u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX).max(8);
        Self { value: Zeroizing::new(BoxedUint::from_be_slice_truncated(bytes, bits)), bits }
    }
}

impl Modulus {
    /// Prepares a prime of `bits` bits, written in hexadecimal, for exponents that usually have
    /// `exponent_bits`.
    ///
    /// # Panics
    ///
    /// If the text is no odd number; the tables of primes are constants, and tests prepare them all.
    pub(super) fn new(hex: &str, bits: u32, exponent_bits: u32) -> Self {
        let prime = BigUint::parse_bytes(hex.as_bytes(), 16)
            .expect("the table of primes is hexadecimal; a test parses all of it");
        let odd = widened(&prime, bits)
            .into_odd()
            .into_option()
            .expect("primes of this size are odd; a test checks all of them");
        let params = BoxedMontyParams::new_vartime(odd);
        let (powers_of_two, comb) = (AtomicU32::new(0), OnceLock::new());
        Self { prime, bits, exponent_bits, params, powers_of_two, comb }
    }

    pub(super) fn prime(&self) -> &BigUint {
        &self.prime
    }

    /// `base^exponent mod p` in constant time, as many bytes as the prime has.
    pub(super) fn power(&self, base: &BigUint, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        let base = BoxedMontyForm::new(widened(base, self.bits), &self.params);
        // Without the bound it would go through the zero bits up to the next whole word, too.
        let mut power = base.pow_bounded_exp(&exponent.value, exponent.bits);
        let result = Zeroizing::new(power.retrieve());
        power.zeroize();
        Zeroizing::new(Vec::from(result.to_be_bytes()))
    }

    /// `2^exponent mod p`, likewise: 2 is the generator of every group here.
    ///
    /// From the third one on this is five times as fast, by a table that has 256 times the size of
    /// the prime: 256 KiB for 8192 bits.
    pub(super) fn power_of_two(&self, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        let many = self.comb.get().is_some()
            || self.powers_of_two.fetch_add(1, Ordering::Relaxed) >= WITHOUT_TABLE;
        if many {
            let comb = self.comb();
            if exponent.bits <= comb.bits() {
                let power = comb.power(&exponent.value, &self.params);
                return Zeroizing::new(Vec::from(power.to_be_bytes()));
            }
        }
        self.power(&BigUint::from(2u8), exponent)
    }

    /// The table for powers of 2.
    fn comb(&self) -> &Comb {
        self.comb.get_or_init(|| {
            let two = widened(&BigUint::from(2u8), self.bits);
            // Exponents come in whole bytes.
            Comb::new(&two, self.exponent_bits.next_multiple_of(8), &self.params)
        })
    }
}

/// Widens a public number to `bits`, which must be enough for it.
fn widened(value: &BigUint, bits: u32) -> BoxedUint {
    BoxedUint::from_be_slice_truncated(&value.to_bytes_be(), bits)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::primes;

    /// All primes, with their sizes and the length of their exponents.
    static MODULI: LazyLock<[Modulus; 8]> = LazyLock::new(|| {
        [
            (primes::MODP_2048, 2048, 225),
            (primes::MODP_3072, 3072, 275),
            (primes::MODP_4096, 4096, 325),
            (primes::MODP_6144, 6144, 375),
            (primes::MODP_8192, 8192, 400),
            (primes::FFDHE_3072, 3072, 275),
            (primes::FFDHE_4096, 4096, 325),
            (primes::FFDHE_8192, 8192, 400),
        ]
        .map(|(hex, bits, exponent_bits)| Modulus::new(hex, bits, exponent_bits))
    });

    /// Compares both ways with num-bigint.
    fn compare(modulus: &Modulus, base: &BigUint, exponent: &[u8]) {
        let number = BigUint::from_bytes_be(exponent);
        let secret = Exponent::from_be_bytes(exponent);
        let comb = modulus.comb().power(&secret.value, &modulus.params).to_be_bytes();
        assert_eq!(
            BigUint::from_bytes_be(&comb),
            BigUint::from(2u8).modpow(&number, modulus.prime()),
            "2 to the power of {number:x}"
        );
        let power = modulus.power(base, &secret);
        assert_eq!(power.len(), modulus.bits as usize / 8);
        assert_eq!(
            BigUint::from_bytes_be(&power),
            base.modpow(&number, modulus.prime()),
            "{base:x} to the power of {number:x}"
        );
    }

    #[test]
    fn powers_at_the_edges_are_those_of_num_bigint() {
        for modulus in MODULI.iter() {
            let bytes = modulus.exponent_bits.div_ceil(8) as usize;
            let mut highest = vec![0; bytes];
            highest[0] = 0x80;
            let base = modulus.prime() - 2u8;
            compare(modulus, &base, &vec![0; bytes]);
            compare(modulus, &base, &vec![0xff; bytes]);
            compare(modulus, &base, &highest);
            for exponent in [vec![], vec![0], vec![1], vec![2], vec![0, 0, 1]] {
                compare(modulus, &base, &exponent);
            }
        }
    }

    #[test]
    fn powers_of_two_are_the_same_before_and_after_there_is_a_table() {
        let modulus = Modulus::new(primes::MODP_2048, 2048, 225);
        // Longer exponents than the table serves, too.
        for exponent in [vec![0xa5; 29], vec![0xa5; 64]] {
            let expected =
                BigUint::from(2u8).modpow(&BigUint::from_bytes_be(&exponent), modulus.prime());
            for _ in 0..4 {
                let power = modulus.power_of_two(&Exponent::from_be_bytes(&exponent));
                assert_eq!(power.len(), 256);
                assert_eq!(BigUint::from_bytes_be(&power), expected);
            }
        }
        assert!(modulus.comb.get().is_some_and(|comb| comb.bits() < 64 * 8));
    }

    #[test]
    fn a_table_is_made_only_for_many_powers() {
        let modulus = Modulus::new(primes::MODP_2048, 2048, 225);
        for made in [false, false, true, true] {
            modulus.power_of_two(&Exponent::from_be_bytes(&[3]));
            assert_eq!(modulus.comb.get().is_some(), made);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn powers_are_those_of_num_bigint(
            which in 0usize..8,
            base in prop::collection::vec(any::<u8>(), 1..400),
            exponent in prop::collection::vec(any::<u8>(), 50),
        ) {
            let modulus = &MODULI[which];
            let bytes = modulus.exponent_bits.div_ceil(8) as usize;
            let base = BigUint::from_bytes_be(&base) % modulus.prime();
            compare(modulus, &base, &exponent[..bytes]);
        }
    }
}
