//! Diffie-Hellman over the MODP groups of RFC 3526: key pairs, checks, shared secrets.
//!
//! Public values are parsed, printed and checked in variable time, because they are no secret.
//! Computations with exponents and shared secrets take constant time. Both are wiped on drop.

use std::fmt;
use std::sync::OnceLock;

use num_bigint::BigUint;
use rand::CryptoRng;
use zeroize::Zeroizing;

use vpn_crypto::jacobi::jacobi;
use vpn_crypto::modexp::{Exponent, Modulus};
use vpn_crypto::primes;

use crate::exponent;

/// A MODP group of RFC 3526 with generator 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Group 14, 2048 bits.
    Modp2048,
    /// Group 15, 3072 bits.
    Modp3072,
    /// Group 16, 4096 bits.
    Modp4096,
    /// Group 17, 6144 bits.
    Modp6144,
    /// Group 18, 8192 bits: the group of the classic profile.
    Modp8192,
}

/// Values that are derived from a prime once per process.
struct Constants {
    modulus: Modulus,
    digits: usize,
}

impl Group {
    /// All groups, smallest first.
    pub const ALL: [Self; 5] =
        [Self::Modp2048, Self::Modp3072, Self::Modp4096, Self::Modp6144, Self::Modp8192];

    /// The number of the group in RFC 3526, 14 to 18.
    pub const fn number(self) -> u8 {
        match self {
            Self::Modp2048 => 14,
            Self::Modp3072 => 15,
            Self::Modp4096 => 16,
            Self::Modp6144 => 17,
            Self::Modp8192 => 18,
        }
    }

    /// The group with this number in RFC 3526.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|g| g.number() == number)
    }

    /// The size of the prime in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Modp2048 => 2048,
            Self::Modp3072 => 3072,
            Self::Modp4096 => 4096,
            Self::Modp6144 => 6144,
            Self::Modp8192 => 8192,
        }
    }

    /// The length of our exponents in bits: the values of RFC 7919 Appendix A for primes of the
    /// same size.
    pub const fn exponent_bits(self) -> u32 {
        match self {
            Self::Modp2048 => 225,
            Self::Modp3072 => 275,
            Self::Modp4096 => 325,
            Self::Modp6144 => 375,
            Self::Modp8192 => 400,
        }
    }

    /// The prime.
    pub fn prime(self) -> &'static BigUint {
        self.constants().modulus.prime()
    }

    /// The number of decimal digits of the prime. No public value has more.
    pub fn digits(self) -> usize {
        self.constants().digits
    }

    fn constants(self) -> &'static Constants {
        static TABLE: [OnceLock<Constants>; 5] = [const { OnceLock::new() }; 5];
        let (slot, hex) = match self {
            Self::Modp2048 => (0, primes::MODP_2048),
            Self::Modp3072 => (1, primes::MODP_3072),
            Self::Modp4096 => (2, primes::MODP_4096),
            Self::Modp6144 => (3, primes::MODP_6144),
            Self::Modp8192 => (4, primes::MODP_8192),
        };
        TABLE[slot].get_or_init(|| {
            let modulus = Modulus::new(hex, self.bits(), self.exponent_bits());
            Constants { digits: modulus.prime().to_string().len(), modulus }
        })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {} ({} bits)", self.number(), self.bits())
    }
}

/// The check that a public value failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicValueError {
    /// The value is not a square modulo p. It would show whether the exponent of this side is odd.
    #[error("the public value is not a quadratic residue")]
    NotAResidue,
    /// The value is not 2 < y < p-1. It would force the shared secret.
    #[error("the public value is not between 3 and p-2")]
    OutOfRange,
}

/// A public value of a peer that has passed the checks of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicValue {
    group: Group,
    value: BigUint,
}

impl PublicValue {
    /// Checks that 2 < y < p-1, and that y is a quadratic residue (Jacobi symbol 1).
    ///
    /// This takes 0.1 ms for group 18.
    ///
    /// # Errors
    ///
    /// [`PublicValueError`] says which check failed.
    pub fn check(group: Group, value: BigUint) -> Result<Self, PublicValueError> {
        let prime = group.prime();
        if value <= BigUint::from(2u8) || value >= prime - 1u8 {
            return Err(PublicValueError::OutOfRange);
        }
        if jacobi(&value, prime) != 1 {
            return Err(PublicValueError::NotAResidue);
        }
        Ok(Self { group, value })
    }
}

/// The random exponents for one key pair. Wiped on drop.
///
/// [`KeyPair::generate`] may need several exponents. They are drawn in advance, so it needs no
/// randomness and can run on another thread.
pub struct ExponentSeed {
    group: Group,
    candidates: Vec<Zeroizing<Vec<u8>>>,
}

impl ExponentSeed {
    /// The number of exponents. With a probability of 10^-8 none of them gives a self-delimiting
    /// public value. Then the peer waits for silence, and only time is lost.
    const CANDIDATES: usize = 8;

    /// Draws exponents of [`Group::exponent_bits`] bits.
    pub fn draw(group: Group, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let draw = |_| exponent::draw(group.exponent_bits(), rng);
        Self { group, candidates: (0..Self::CANDIDATES).map(draw).collect() }
    }

    /// The group of the exponents.
    pub const fn group(&self) -> Group {
        self.group
    }

    /// Uses this exponent, big-endian. For the replay of recorded sessions.
    pub fn danger_from_exponent(group: Group, exponent: &[u8]) -> Self {
        Self { group, candidates: vec![Zeroizing::new(exponent.to_vec())] }
    }
}

impl fmt::Debug for ExponentSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExponentSeed").field("group", &self.group).finish_non_exhaustive()
    }
}

/// A secret exponent and its public value, for one key exchange. The exponent is wiped on drop.
pub struct KeyPair {
    group: Group,
    exponent: Exponent,
    public: BigUint,
}

impl KeyPair {
    /// Computes the public value. This takes tens of milliseconds for group 18.
    ///
    /// It uses the first exponent whose public value is [self-delimiting](is_self_delimiting). Then
    /// the peer need not wait for silence to know that the number is complete (PROTOCOL.md §3.3).
    /// Nine of ten values are self-delimiting.
    pub fn generate(seed: &ExponentSeed) -> Self {
        let group = seed.group;
        let mut last = None;
        for candidate in &seed.candidates {
            let pair = Self::from_exponent(group, candidate);
            if is_self_delimiting(group, &pair.public) {
                return pair;
            }
            last = Some(pair);
        }
        // A seed has at least one exponent, so this default is never computed.
        last.unwrap_or_else(|| Self::from_exponent(group, &[]))
    }

    fn from_exponent(group: Group, exponent: &[u8]) -> Self {
        let exponent = Exponent::from_be_bytes(exponent);
        let public = BigUint::from_bytes_be(&group.constants().modulus.power_of_two(&exponent));
        Self { group, exponent, public }
    }

    /// Our public value in decimal.
    pub fn public_text(&self) -> String {
        self.public.to_string()
    }

    /// Computes the shared secret: the value of the peer to the power of our exponent. This takes
    /// tens of milliseconds for group 18.
    ///
    /// # Panics
    ///
    /// If the value belongs to another group.
    pub fn agree(self, peer: &PublicValue) -> SharedSecret {
        assert_eq!(self.group, peer.group, "a public value belongs to one group");
        SharedSecret(self.group.constants().modulus.power(&peer.value, &self.exponent))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("group", &self.group).finish_non_exhaustive()
    }
}

/// The shared secret of a key exchange: big-endian, with the length of the prime. Wiped on drop.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl SharedSecret {
    /// Makes a shared secret from its big-endian bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The big-endian bytes, with leading zeros up to the length of the prime.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// Whether a decimal number shows its own end: with one more digit it would not be below the prime.
pub fn is_self_delimiting(group: Group, value: &BigUint) -> bool {
    value * 10u8 >= *group.prime()
}

/// A long Diffie-Hellman computation, for any thread.
///
/// A handshake gives these tasks to its caller, and continues with the outcome of [`DhTask::run`].
/// So a network task never waits for a computation.
#[derive(Debug)]
pub enum DhTask {
    /// Compute the shared secret.
    Agree(KeyPair, PublicValue),
    /// Check the public value of the peer.
    Check(Group, BigUint),
    /// Compute a key pair.
    Generate(ExponentSeed),
}

impl DhTask {
    /// The name of the task, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Agree(..) => "agree",
            Self::Check(..) => "check",
            Self::Generate(_) => "generate",
        }
    }

    /// Runs the task on this thread.
    pub fn run(self) -> DhOutcome {
        match self {
            Self::Agree(pair, peer) => DhOutcome::Agreed(pair.agree(&peer)),
            Self::Check(group, value) => DhOutcome::Checked(PublicValue::check(group, value)),
            Self::Generate(seed) => DhOutcome::Generated(KeyPair::generate(&seed)),
        }
    }
}

/// The outcome of a [`DhTask`].
#[derive(Debug)]
pub enum DhOutcome {
    /// The shared secret.
    Agreed(SharedSecret),
    /// The checked public value of the peer, or the failed check.
    Checked(Result<PublicValue, PublicValueError>),
    /// Our key pair.
    Generated(KeyPair),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_its_size_and_a_prime_of_the_right_shape() {
        for group in Group::ALL {
            assert_eq!(group.prime().bits(), u64::from(group.bits()));
            assert_eq!(Group::from_number(group.number()), Some(group));
            // All of these primes begin and end with 64 one bits.
            let bytes = group.prime().to_bytes_be();
            assert!(bytes.starts_with(&[0xff; 8]) && bytes.ends_with(&[0xff; 8]));
            // 2 generates the squares, so p = 7 modulo 8.
            assert_eq!(jacobi(&BigUint::from(2u8), group.prime()), 1);
        }
        assert_eq!(Group::from_number(13), None);
        assert_eq!(Group::Modp8192.digits(), 2467);
    }

    #[test]
    fn both_sides_compute_the_same_secret() {
        let group = Group::Modp2048;
        let mut rng = rand::rng();
        let a = KeyPair::generate(&ExponentSeed::draw(group, &mut rng));
        let b = KeyPair::generate(&ExponentSeed::draw(group, &mut rng));
        let y_a = PublicValue::check(group, a.public.clone()).unwrap();
        let y_b = PublicValue::check(group, b.public.clone()).unwrap();
        let (s_a, s_b) = (a.agree(&y_b), b.agree(&y_a));
        assert_eq!(s_a.as_bytes(), s_b.as_bytes());
        assert_eq!(s_a.as_bytes().len(), 256);
    }

    #[test]
    fn fresh_exponents_differ_and_have_the_right_length() {
        let seed = ExponentSeed::draw(Group::Modp2048, &mut rand::rng());
        assert!(seed.candidates.iter().all(|c| c.len() == 29 && c[0] <= 1));
        assert!(seed.candidates.windows(2).all(|w| w[0] != w[1]));
    }

    #[test]
    fn the_first_self_delimiting_number_is_used() {
        let group = Group::Modp2048;
        // 2^1 has far fewer digits than the prime; 2^2047 has not.
        let mut long = vec![0; 256];
        long[0] = 0x07;
        long[1] = 0xff;
        let candidates = [vec![1], vec![0x07, 0xff], long].map(Zeroizing::new).to_vec();
        let seed = ExponentSeed { group, candidates };
        let pair = KeyPair::generate(&seed);
        assert_eq!(pair.public, BigUint::from(1u8) << 2047u32);
    }

    #[test]
    fn debug_shows_no_secret() {
        let seed = ExponentSeed::draw(Group::Modp2048, &mut rand::rng());
        assert_eq!(format!("{seed:?}"), "ExponentSeed { group: Modp2048, .. }");
        assert_eq!(format!("{:?}", SharedSecret::new(vec![1, 2, 3])), "SharedSecret(..)");
    }
}
