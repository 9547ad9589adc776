//! Modular exponentiation of secrets in constant time, for every group of this program: with vectors
//! where the processor has them, else by crypto-bigint.

mod arithmetic;
mod comb;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
#[cfg(target_arch = "x86_64")]
mod window;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Word};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use crate::kernels::{Power, PowerKernel};
use arithmetic::{Arithmetic, Portable, widened};
use comb::Comb;

/// How many powers of 2 are computed before there is a table for them.
///
/// Making it takes as long as two exponentiations, which a client that shakes hands once would not
/// get back.
const WITHOUT_TABLE: u32 = 2;

/// A prime, and what is derived from it once per process.
pub struct Modulus {
    prime: BigUint,
    exponent_bits: u32,
    way: Way,
    powers_of_two: AtomicU32,
}

/// How it is computed, and a table of powers of 2. All ways have the same results.
enum Way {
    Portable(BoxedMontyParams, OnceLock<Comb<BoxedMontyForm>>),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Ifma, OnceLock<Comb<ifma::Residue>>),
}

/// A secret exponent. Its length in whole bytes is no secret. Wiped on drop.
pub struct Exponent {
    value: Zeroizing<BoxedUint>,
    bits: u32,
}

impl Exponent {
    /// Takes its big-endian bytes.
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
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
    pub fn new(hex: &str, bits: u32, exponent_bits: u32) -> Self {
        let prime = BigUint::parse_bytes(hex.as_bytes(), 16)
            .expect("the table of primes is hexadecimal; a test parses all of it");
        let way = Way::of(PowerKernel::choose(), &prime, bits);
        let way = way.unwrap_or_else(|| Way::portable(&prime, bits));
        Self { prime, exponent_bits, way, powers_of_two: AtomicU32::new(0) }
    }

    /// The prime.
    pub fn prime(&self) -> &BigUint {
        &self.prime
    }

    /// A name for the way that it is computed.
    fn kernel(&self) -> &'static str {
        match self.way {
            Way::Portable(..) => "crypto-bigint",
            #[cfg(target_arch = "x86_64")]
            Way::Ifma(..) => "avx-512 ifma",
        }
    }

    /// `base^exponent mod p` in constant time, as many bytes as the prime has. The base is not zero.
    pub fn power(&self, base: &BigUint, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        match &self.way {
            Way::Portable(params, _) => {
                let base = BoxedMontyForm::new(widened(base, params.bits_precision()), params);
                // Without the bound it would go through the zero bits up to the next whole word, too.
                let power = base.pow_bounded_exp(&exponent.value, exponent.bits);
                Portable::new(params).finish(power)
            }
            #[cfg(target_arch = "x86_64")]
            Way::Ifma(ifma, _) => {
                let mut arithmetic = ifma.arithmetic();
                let power = window::power(base, &exponent.value, exponent.bits, &mut arithmetic);
                arithmetic.finish(power)
            }
        }
    }

    /// `2^exponent mod p`, likewise: 2 is the generator of every group here.
    ///
    /// From the third one on this is three to four times as fast, by a table that has 256 times the size of
    /// the prime: 256 KiB or a little more for 8192 bits.
    pub fn power_of_two(&self, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        let power = match &self.way {
            Way::Portable(params, comb) => {
                self.power_by_comb(exponent, comb, &mut Portable::new(params))
            }
            #[cfg(target_arch = "x86_64")]
            Way::Ifma(ifma, comb) => self.power_by_comb(exponent, comb, &mut ifma.arithmetic()),
        };
        power.unwrap_or_else(|| self.power(&BigUint::from(2u8), exponent))
    }

    /// A power of 2 by the table, if there is one or it is time for it and the exponent not too long.
    fn power_by_comb<A: Arithmetic>(
        &self,
        exponent: &Exponent,
        comb: &OnceLock<Comb<A::Residue>>,
        arithmetic: &mut A,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let many = comb.get().is_some()
            || self.powers_of_two.fetch_add(1, Ordering::Relaxed) >= WITHOUT_TABLE;
        if !many {
            return None;
        }
        let comb = comb.get_or_init(|| {
            // Exponents come in whole bytes.
            let bits = self.exponent_bits.next_multiple_of(8);
            Comb::new(&BigUint::from(2u8), bits, arithmetic)
        });
        (exponent.bits <= comb.bits()).then(|| {
            let power = comb.power(&exponent.value, arithmetic);
            arithmetic.finish(power)
        })
    }
}

impl fmt::Debug for Modulus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.prime.bits();
        f.debug_struct("Modulus").field("bits", &bits).field("kernel", &self.kernel()).finish()
    }
}

impl fmt::Debug for Exponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exponent").finish_non_exhaustive()
    }
}

impl Way {
    /// What every machine can do.
    fn portable(prime: &BigUint, bits: u32) -> Self {
        let odd = widened(prime, bits)
            .into_odd()
            .into_option()
            .expect("primes of this size are odd; a test checks all of them");
        Self::Portable(BoxedMontyParams::new_vartime(odd), OnceLock::new())
    }

    /// By this kernel, if it has code for numbers of that length.
    fn of(kernel: PowerKernel, prime: &BigUint, bits: u32) -> Option<Self> {
        match kernel.0 {
            Power::Portable => Some(Self::portable(prime, bits)),
            #[cfg(target_arch = "x86_64")]
            Power::Ifma(proof) => {
                Some(Self::Ifma(ifma::Ifma::new(proof, prime, bits)?, OnceLock::new()))
            }
        }
    }
}

/// Bits of a secret number, `step` apart, the first one lowest; their positions are no secret.
fn bits(number: &BoxedUint, first: u32, step: u32, count: u32) -> Word {
    (0..count).fold(0, |bits, at| {
        let position = first + at * step;
        let word = number.as_words().get((position / Word::BITS) as usize).copied().unwrap_or(0);
        bits | ((word >> (position % Word::BITS)) & 1) << at
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use vpn_suite::lacking;
    use vpn_suite::testkit::report_kernels;

    use super::*;
    use crate::primes;

    /// All primes, with their sizes and the length of their exponents.
    const PRIMES: [(&str, u32, u32); 8] = [
        (primes::MODP_2048, 2048, 225),
        (primes::MODP_3072, 3072, 275),
        (primes::MODP_4096, 4096, 325),
        (primes::MODP_6144, 6144, 375),
        (primes::MODP_8192, 8192, 400),
        (primes::FFDHE_3072, 3072, 275),
        (primes::FFDHE_4096, 4096, 325),
        (primes::FFDHE_8192, 8192, 400),
    ];

    /// Each of them in every way that this machine can compute it. The interpreter is given one of
    /// them: it takes minutes for each power.
    static MODULI: LazyLock<Vec<Vec<Modulus>>> = LazyLock::new(|| {
        let primes = if cfg!(miri) { &PRIMES[..1] } else { &PRIMES };
        let all = primes.iter().map(|&(hex, bits, exponent_bits)| {
            let prime = BigUint::parse_bytes(hex.as_bytes(), 16).unwrap();
            let ways = PowerKernel::all().map(|kernel| Way::of(kernel, &prime, bits).unwrap());
            let modulus = |way| Modulus {
                prime: prime.clone(),
                exponent_bits,
                way,
                // With the table from the first one on.
                powers_of_two: AtomicU32::new(WITHOUT_TABLE),
            };
            ways.map(modulus).collect()
        });
        all.collect()
    });

    /// Compares both powers with num-bigint, in every way.
    fn compare(ways: &[Modulus], base: &BigUint, exponent: &[u8]) {
        let prime = ways[0].prime();
        let number = BigUint::from_bytes_be(exponent);
        let secret = Exponent::from_be_bytes(exponent);
        let of_two = BigUint::from(2u8).modpow(&number, prime);
        let of_base = base.modpow(&number, prime);
        for modulus in ways {
            let kernel = modulus.kernel();
            let power = modulus.power_of_two(&secret);
            assert_eq!(power.len() as u64 * 8, prime.bits());
            assert_eq!(BigUint::from_bytes_be(&power), of_two, "{kernel}: 2 to the {number:x}");
            let power = modulus.power(base, &secret);
            assert_eq!(power.len() as u64 * 8, prime.bits());
            assert_eq!(
                BigUint::from_bytes_be(&power),
                of_base,
                "{kernel}: {base:x} to the {number:x}"
            );
        }
    }

    #[cfg(miri)]
    #[test]
    fn a_short_power_is_that_of_num_bigint() {
        let ways = &MODULI[0];
        let (base, exponent) = (ways[0].prime() - 2u8, [0xb5]);
        let expected = base.modpow(&BigUint::from(0xb5u8), ways[0].prime());
        for modulus in ways {
            let power = modulus.power(&base, &Exponent::from_be_bytes(&exponent));
            assert_eq!(BigUint::from_bytes_be(&power), expected, "{}", modulus.kernel());
        }
    }

    #[test]
    fn each_kernel_is_there_where_it_can_run() {
        let special = lacking!("avx512f", "avx512ifma");
        let known = [("avx-512 ifma", special), ("crypto-bigint", vec![])];
        let can_run = known.iter().filter(|(_, lacking)| lacking.is_empty());
        let can_run: Vec<_> = can_run.map(|(name, _)| *name).collect();
        for ways in MODULI.iter() {
            assert_eq!(ways.iter().map(Modulus::kernel).collect::<Vec<_>>(), can_run);
        }
        report_kernels("modular powers", &known);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn lengths_without_code_of_their_own_are_left_to_others() {
        let Some(proof) = ifma::Avx512Ifma::detect() else { return };
        for (modulus, bits) in [(7u32, 3), (1 << 9, 2048), (0xffff_fffb, 512)] {
            assert!(ifma::Ifma::new(proof, &BigUint::from(modulus), bits).is_none(), "{modulus}");
        }
    }

    /// The interpreter has time for this, so that vectors are tried where the processor has none.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn products_of_every_length_are_those_of_num_bigint() {
        // The interpreter takes an hour for the longer ones.
        let primes = if cfg!(miri) { &PRIMES[..1] } else { &PRIMES };
        for &(hex, bits, _) in primes {
            let prime = BigUint::parse_bytes(hex.as_bytes(), 16).unwrap();
            let Some(proof) = ifma::Avx512Ifma::detect() else { return };
            let ifma = ifma::Ifma::new(proof, &prime, bits).unwrap();
            let mut arithmetic = ifma.arithmetic();
            let digits: String =
                (0..bits / 4 - 1).map(|at| char::from(b"f09a3c7"[at as usize % 7])).collect();
            let mixed = BigUint::parse_bytes(digits.as_bytes(), 16).unwrap();
            let highest = &prime - 1u8;
            for (a, b) in [(&highest, &highest), (&highest, &mixed), (&mixed, &mixed)] {
                let mut product = arithmetic.residue(a);
                let factor = arithmetic.residue(b);
                arithmetic.multiply(&mut product, &factor);
                let mut chosen = factor.clone();
                // One of the table, by an index that is not compared in the open.
                let table = [factor.clone(), product, factor];
                arithmetic.choose(&mut chosen, &table, 1);
                let product = BigUint::from_bytes_be(&arithmetic.finish(chosen));
                assert_eq!(product, a * b % &prime, "{bits} bits");
            }
        }
    }

    #[cfg_attr(miri, ignore = "takes an hour there")]
    #[test]
    fn powers_at_the_edges_are_those_of_num_bigint() {
        for ways in MODULI.iter() {
            let bytes = ways[0].exponent_bits.div_ceil(8) as usize;
            let mut highest = vec![0; bytes];
            highest[0] = 0x80;
            for base in [ways[0].prime() - 1u8, ways[0].prime() - 2u8, BigUint::from(1u8)] {
                compare(ways, &base, &vec![0; bytes]);
                compare(ways, &base, &vec![0xff; bytes]);
                compare(ways, &base, &highest);
                for exponent in [vec![], vec![0], vec![1], vec![2], vec![0, 0, 1]] {
                    compare(ways, &base, &exponent);
                }
            }
        }
    }

    #[cfg_attr(miri, ignore = "takes minutes there")]
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
        assert!(table(&modulus).is_some_and(|bits| bits < 64 * 8));
    }

    /// The length of exponents that the table of a modulus serves, if there is one.
    fn table(modulus: &Modulus) -> Option<u32> {
        match &modulus.way {
            Way::Portable(_, comb) => comb.get().map(Comb::bits),
            #[cfg(target_arch = "x86_64")]
            Way::Ifma(_, comb) => comb.get().map(Comb::bits),
        }
    }

    #[cfg_attr(miri, ignore = "takes minutes there")]
    #[test]
    fn a_table_is_made_only_for_many_powers() {
        let modulus = Modulus::new(primes::MODP_2048, 2048, 225);
        for made in [false, false, true, true] {
            modulus.power_of_two(&Exponent::from_be_bytes(&[3]));
            assert_eq!(table(&modulus).is_some(), made);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[cfg_attr(miri, ignore = "takes an hour there")]
        #[test]
        fn powers_are_those_of_num_bigint(
            which in 0usize..8,
            base in prop::collection::vec(any::<u8>(), 1..1100),
            exponent in prop::collection::vec(any::<u8>(), 50),
        ) {
            let ways = &MODULI[which];
            let bytes = ways[0].exponent_bits.div_ceil(8) as usize;
            let base = BigUint::from_bytes_be(&base) % (ways[0].prime() - 1u8) + 1u8;
            compare(ways, &base, &exponent[..bytes]);
        }
    }
}
