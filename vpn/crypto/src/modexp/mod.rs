//! Modular powers with secret exponents, in constant time.
//!
//! Vector instructions compute them if the processor has these; the crypto-bigint crate otherwise.

mod arithmetic;
mod comb;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
#[cfg(target_arch = "x86_64")]
mod window;

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crypto_bigint::BoxedUint;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use crate::kernels::{Power, PowerKernel};
use arithmetic::{Arithmetic, Portable, widened};
use comb::Comb;

/// How many powers of 2 are computed before a table for them is made.
///
/// The table takes as long as two exponentiations. A client with one handshake would lose this
/// time.
const WITHOUT_TABLE: u32 = 2;

/// A prime modulus, with values that are derived from it once per process.
pub struct Modulus {
    prime: BigUint,
    exponent_bits: u32,
    kernel: PowerKernel,
    backend: Backend,
    powers_of_two: AtomicU32,
}

/// What a kernel needs of the prime, and the table of powers of 2.
enum Backend {
    Portable(BoxedMontyParams, OnceLock<Comb<BoxedMontyForm>>),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Ifma, OnceLock<Comb<ifma::Residue>>),
}

/// A secret exponent. Its length in bytes is public. Wiped on drop.
pub struct Exponent {
    value: Zeroizing<BoxedUint>,
    bits: u32,
}

impl Exponent {
    /// Makes an exponent from its big-endian bytes.
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        let bits = u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX).max(8);
        Self { value: Zeroizing::new(BoxedUint::from_be_slice_truncated(bytes, bits)), bits }
    }
}

impl Modulus {
    /// Prepares a prime of `bits` bits, in hexadecimal. Exponents usually have `exponent_bits`
    /// bits; others work too, but more slowly.
    ///
    /// # Panics
    ///
    /// If the text is not an odd number in hexadecimal. The primes of this crate are constants, and
    /// tests prepare all of them.
    pub fn new(hex: &str, bits: u32, exponent_bits: u32) -> Self {
        let prime = BigUint::parse_bytes(hex.as_bytes(), 16)
            .expect("the table of primes is hexadecimal; a test parses all of it");
        let kernel = PowerKernel::choose();
        let (kernel, backend) = match Backend::new(kernel, &prime, bits) {
            Some(backend) => (kernel, backend),
            None => (PowerKernel::PORTABLE, Backend::portable(&prime, bits)),
        };
        Self { prime, exponent_bits, kernel, backend, powers_of_two: AtomicU32::new(0) }
    }

    /// The prime.
    pub fn prime(&self) -> &BigUint {
        &self.prime
    }

    /// `base^exponent mod p` in constant time: big-endian bytes, with the length of the prime.
    ///
    /// `base` is public, less than the prime, and not zero.
    pub fn power(&self, base: &BigUint, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        match &self.backend {
            Backend::Portable(params, _) => {
                let base = BoxedMontyForm::new(widened(base, params.bits_precision()), params);
                // The bound skips the zero bits up to the end of the last word.
                let power = base.pow_bounded_exp(&exponent.value, exponent.bits);
                Portable::new(params).finish(power)
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Ifma(ifma, _) => {
                let mut arithmetic = ifma.arithmetic();
                let power = window::power(base, &exponent.value, exponent.bits, &mut arithmetic);
                arithmetic.finish(power)
            }
        }
    }

    /// `2^exponent mod p`, with the same result as [`Modulus::power`]. 2 is the generator of every
    /// group in [`primes`](crate::primes).
    ///
    /// The third call makes a table; from then on a power takes about a third of the time. The
    /// table has 256 times the size of the prime: about 256 KiB for 8192 bits.
    pub fn power_of_two(&self, exponent: &Exponent) -> Zeroizing<Vec<u8>> {
        let power = match &self.backend {
            Backend::Portable(params, comb) => {
                self.power_by_comb(exponent, comb, &mut Portable::new(params))
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Ifma(ifma, comb) => self.power_by_comb(exponent, comb, &mut ifma.arithmetic()),
        };
        power.unwrap_or_else(|| self.power(&BigUint::from(2u8), exponent))
    }

    /// A power of 2 by the table. `None` before the table is made, and for exponents that are too
    /// long.
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
            // Exponents have whole bytes.
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
        f.debug_struct("Modulus").field("bits", &bits).field("kernel", &self.kernel.name()).finish()
    }
}

impl fmt::Debug for Exponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exponent").finish_non_exhaustive()
    }
}

impl Backend {
    /// The backend of the portable kernel.
    fn portable(prime: &BigUint, bits: u32) -> Self {
        let odd = widened(prime, bits)
            .into_odd()
            .into_option()
            .expect("primes of this size are odd; a test checks all of them");
        Self::Portable(BoxedMontyParams::new_vartime(odd), OnceLock::new())
    }

    /// The backend of a kernel. `None` if it has no code for numbers of this length.
    fn new(kernel: PowerKernel, prime: &BigUint, bits: u32) -> Option<Self> {
        match kernel.0 {
            Power::Portable => Some(Self::portable(prime, bits)),
            #[cfg(target_arch = "x86_64")]
            Power::Ifma(proof) => {
                Some(Self::Ifma(ifma::Ifma::new(proof, prime, bits)?, OnceLock::new()))
            }
        }
    }
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

    /// Each prime with every kernel of this machine. Miri gets one prime only: a power takes
    /// minutes.
    static MODULI: LazyLock<Vec<Vec<Modulus>>> = LazyLock::new(|| {
        let primes = if cfg!(miri) { &PRIMES[..1] } else { &PRIMES };
        let all = primes.iter().map(|&(hex, bits, exponent_bits)| {
            let prime = BigUint::parse_bytes(hex.as_bytes(), 16).unwrap();
            let modulus = |kernel| Modulus {
                prime: prime.clone(),
                exponent_bits,
                kernel,
                backend: Backend::new(kernel, &prime, bits).unwrap(),
                // The first power makes the table.
                powers_of_two: AtomicU32::new(WITHOUT_TABLE),
            };
            PowerKernel::all().map(modulus).collect()
        });
        all.collect()
    });

    /// Compares both kinds of power with num-bigint, for every kernel.
    fn compare(moduli: &[Modulus], base: &BigUint, exponent: &[u8]) {
        let prime = moduli[0].prime();
        let number = BigUint::from_bytes_be(exponent);
        let secret = Exponent::from_be_bytes(exponent);
        let of_two = BigUint::from(2u8).modpow(&number, prime);
        let of_base = base.modpow(&number, prime);
        for modulus in moduli {
            let kernel = modulus.kernel.name();
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
        let moduli = &MODULI[0];
        let (base, exponent) = (moduli[0].prime() - 2u8, [0xb5]);
        let expected = base.modpow(&BigUint::from(0xb5u8), moduli[0].prime());
        for modulus in moduli {
            let power = modulus.power(&base, &Exponent::from_be_bytes(&exponent));
            assert_eq!(BigUint::from_bytes_be(&power), expected, "{}", modulus.kernel.name());
        }
    }

    #[test]
    fn each_kernel_is_there_where_it_can_run() {
        let special = lacking!("avx512f", "avx512ifma");
        let known = [("avx-512 ifma", special), ("crypto-bigint", vec![])];
        let can_run = known.iter().filter(|(_, lacking)| lacking.is_empty());
        let can_run: Vec<_> = can_run.map(|(name, _)| *name).collect();
        for moduli in MODULI.iter() {
            assert_eq!(moduli.iter().map(|m| m.kernel.name()).collect::<Vec<_>>(), can_run);
        }
        report_kernels("modular powers", &known);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn lengths_without_code_are_refused() {
        let Some(proof) = ifma::Avx512Ifma::detect() else { return };
        for (modulus, bits) in [(7u32, 3), (1 << 9, 2048), (0xffff_fffb, 512)] {
            assert!(ifma::Ifma::new(proof, &BigUint::from(modulus), bits).is_none(), "{modulus}");
        }
    }

    /// Miri has time for this. So vector code is tested even without such a processor.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn products_of_every_length_are_those_of_num_bigint() {
        // Miri takes an hour for the longer primes.
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
                // The table entry of a secret index.
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
        for moduli in MODULI.iter() {
            let bytes = moduli[0].exponent_bits.div_ceil(8) as usize;
            let mut highest = vec![0; bytes];
            highest[0] = 0x80;
            for base in [moduli[0].prime() - 1u8, moduli[0].prime() - 2u8, BigUint::from(1u8)] {
                compare(moduli, &base, &vec![0; bytes]);
                compare(moduli, &base, &vec![0xff; bytes]);
                compare(moduli, &base, &highest);
                for exponent in [vec![], vec![0], vec![1], vec![2], vec![0, 0, 1]] {
                    compare(moduli, &base, &exponent);
                }
            }
        }
    }

    #[cfg_attr(miri, ignore = "takes minutes there")]
    #[test]
    fn powers_of_two_are_the_same_before_and_after_there_is_a_table() {
        let modulus = Modulus::new(primes::MODP_2048, 2048, 225);
        // Also exponents that are too long for the table.
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

    /// The longest exponent in bits that the table of a modulus takes, if there is a table.
    fn table(modulus: &Modulus) -> Option<u32> {
        match &modulus.backend {
            Backend::Portable(_, comb) => comb.get().map(Comb::bits),
            #[cfg(target_arch = "x86_64")]
            Backend::Ifma(_, comb) => comb.get().map(Comb::bits),
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
            let moduli = &MODULI[which];
            let bytes = moduli[0].exponent_bits.div_ceil(8) as usize;
            let base = BigUint::from_bytes_be(&base) % (moduli[0].prime() - 1u8) + 1u8;
            compare(moduli, &base, &exponent[..bytes]);
        }
    }
}
