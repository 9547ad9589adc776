//! Key exchanges of the sealed profile (PROTOCOL.md §4.4).

use std::fmt;

use ml_kem::kem::{Decapsulate, Encapsulate, KeyExport, TryKeyInit};
use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::ffdhe::FfGroup;

/// A key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kex {
    /// X25519 (RFC 7748) and ML-KEM-768 (FIPS 203) together: the default.
    X25519MlKem768,
    /// RFC 7919, 3072 bits.
    Ffdhe3072,
    /// RFC 7919, 4096 bits.
    Ffdhe4096,
    /// RFC 7919, 8192 bits.
    Ffdhe8192,
}

const MLKEM_PUBLIC: usize = 1184;
const MLKEM_CIPHERTEXT: usize = 1088;
const MLKEM_SEED: usize = 64;
const X25519: usize = 32;

impl Kex {
    /// All of them, best first.
    pub const ALL: [Self; 4] =
        [Self::X25519MlKem768, Self::Ffdhe3072, Self::Ffdhe4096, Self::Ffdhe8192];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "x25519-mlkem768",
            Self::Ffdhe3072 => "ffdhe3072",
            Self::Ffdhe4096 => "ffdhe4096",
            Self::Ffdhe8192 => "ffdhe8192",
        }
    }

    /// The key exchange of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kex| kex.name() == name)
    }

    /// Whether a pair of it is the same for both roles, so that a server can make one in advance.
    pub fn is_finite_field(self) -> bool {
        FfGroup::of(self).is_some()
    }

    /// Answers a client's share: our share, and the secret.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn respond(
        self,
        share: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Vec<u8>, KexSecret), KexError> {
        let Some(group) = FfGroup::of(self) else {
            return respond_hybrid(share, rng);
        };
        let exponent = group.draw(rng);
        Self::respond_ff(group, &exponent, share)
    }

    /// As [`Kex::respond`] with a pair made in advance; a fresh one if it is no pair for this.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn respond_with_pair(
        self,
        pair: KexKeyPair,
        share: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Vec<u8>, KexSecret), KexError> {
        if pair.kex != self || !self.is_finite_field() {
            return self.respond(share, rng);
        }
        let own = pair.share.clone();
        Ok((own, pair.finish(share)?))
    }

    /// As [`Kex::respond`] with a given exponent, for replaying recorded sessions; `None` if this is
    /// no finite-field exchange.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn danger_respond_with(
        self,
        exponent: &[u8],
        share: &[u8],
    ) -> Option<Result<(Vec<u8>, KexSecret), KexError>> {
        FfGroup::of(self).map(|group| Self::respond_ff(group, exponent, share))
    }

    fn respond_ff(
        group: FfGroup,
        exponent: &[u8],
        share: &[u8],
    ) -> Result<(Vec<u8>, KexSecret), KexError> {
        let secret = group.agree(exponent, share)?;
        Ok((group.share(exponent), KexSecret(secret)))
    }
}

impl fmt::Display for Kex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn respond_hybrid(
    share: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Vec<u8>, KexSecret), KexError> {
    let expected = MLKEM_PUBLIC + X25519;
    let length = KexError::Length { expected, got: share.len() };
    let (kem_share, x_share) = share.split_at_checked(MLKEM_PUBLIC).ok_or(length)?;
    let x_share: [u8; X25519] = x_share.try_into().map_err(|_| length)?;
    // FIPS 203 §7.2: the modulus check happens here.
    let kem_key = EncapsulationKey::new_from_slice(kem_share).map_err(|_| KexError::KemKey)?;
    let (ciphertext, kem_secret) = kem_key.encapsulate_with_rng(rng);
    let kem_secret = Zeroizing::new(kem_secret);
    let own = StaticSecret::random_from_rng(rng);
    let x_secret = own.diffie_hellman(&PublicKey::from(x_share));
    if !x_secret.was_contributory() {
        return Err(KexError::ZeroResult);
    }
    let own_share = [ciphertext.as_slice(), PublicKey::from(&own).as_bytes()].concat();
    Ok((own_share, KexSecret::hybrid(&kem_secret, x_secret.as_bytes())))
}

/// A client's half of an exchange. Wiped on drop.
pub struct KexKeyPair {
    kex: Kex,
    share: Vec<u8>,
    secret: KexPrivate,
}

enum KexPrivate {
    Hybrid { kem: Box<DecapsulationKey>, x: StaticSecret },
    FiniteField { group: FfGroup, exponent: Zeroizing<Vec<u8>> },
}

impl KexKeyPair {
    /// Makes a fresh pair; for a finite field this takes milliseconds.
    pub fn generate(kex: Kex, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        match FfGroup::of(kex) {
            Some(group) => Self::from_exponent(kex, group, group.draw(rng)),
            None => {
                let mut seed = Zeroizing::new([0; MLKEM_SEED]);
                rng.fill_bytes(seed.as_mut_slice());
                let mut x = Zeroizing::new([0; X25519]);
                rng.fill_bytes(x.as_mut_slice());
                Self::hybrid(&seed, &x)
            }
        }
    }

    /// Uses given private values, for replaying recorded sessions: the seed of ML-KEM and the private
    /// key of X25519.
    pub fn danger_hybrid(seed: &[u8; MLKEM_SEED], x: &[u8; X25519]) -> Self {
        Self::hybrid(seed, x)
    }

    /// Uses a given exponent, for replaying recorded sessions; `None` if `kex` is no finite field's.
    pub fn danger_finite_field(kex: Kex, exponent: &[u8]) -> Option<Self> {
        let group = FfGroup::of(kex)?;
        Some(Self::from_exponent(kex, group, Zeroizing::new(exponent.to_vec())))
    }

    fn from_exponent(kex: Kex, group: FfGroup, exponent: Zeroizing<Vec<u8>>) -> Self {
        let share = group.share(&exponent);
        Self { kex, share, secret: KexPrivate::FiniteField { group, exponent } }
    }

    fn hybrid(seed: &[u8; MLKEM_SEED], x: &[u8; X25519]) -> Self {
        let kem = Box::new(DecapsulationKey::from_seed((*seed).into()));
        let x = StaticSecret::from(*x);
        let public = kem.encapsulation_key().to_bytes();
        let share = [public.as_slice(), PublicKey::from(&x).as_bytes()].concat();
        Self { kex: Kex::X25519MlKem768, share, secret: KexPrivate::Hybrid { kem, x } }
    }

    /// Which exchange it is for.
    pub fn kex(&self) -> Kex {
        self.kex
    }

    /// What the peer gets.
    pub fn share(&self) -> &[u8] {
        &self.share
    }

    /// Takes the peer's share: the secret.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn finish(self, share: &[u8]) -> Result<KexSecret, KexError> {
        match &self.secret {
            KexPrivate::FiniteField { group, exponent } => {
                Ok(KexSecret(group.agree(exponent, share)?))
            }
            KexPrivate::Hybrid { kem, x } => {
                let expected = MLKEM_CIPHERTEXT + X25519;
                let length = KexError::Length { expected, got: share.len() };
                let (ciphertext, x_share) =
                    share.split_at_checked(MLKEM_CIPHERTEXT).ok_or(length)?;
                let x_share: [u8; X25519] = x_share.try_into().map_err(|_| length)?;
                let kem_secret = kem.decapsulate_slice(ciphertext).map_err(|_| length)?;
                let kem_secret = Zeroizing::new(kem_secret);
                let x_secret = x.diffie_hellman(&PublicKey::from(x_share));
                if !x_secret.was_contributory() {
                    return Err(KexError::ZeroResult);
                }
                Ok(KexSecret::hybrid(&kem_secret, x_secret.as_bytes()))
            }
        }
    }
}

impl fmt::Debug for KexKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KexKeyPair").field("kex", &self.kex).finish_non_exhaustive()
    }
}

/// The secret of an exchange. Wiped on drop.
pub struct KexSecret(Zeroizing<Vec<u8>>);

impl KexSecret {
    /// Takes a secret as it is, for tests with known answers.
    pub fn danger_from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    fn hybrid(kem: &[u8], x: &[u8; X25519]) -> Self {
        let mut both = Zeroizing::new(Vec::with_capacity(kem.len() + x.len()));
        both.extend_from_slice(kem);
        both.extend_from_slice(x);
        Self(both)
    }

    /// The bytes, for the key schedule and tests.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KexSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KexSecret(..)")
    }
}

/// Why a share cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KexError {
    /// An encapsulation key that FIPS 203 §7.2 refuses.
    #[error("the ML-KEM key is not one")]
    KemKey,
    /// A share of another size.
    #[error("a share of {got} bytes where {expected} were expected")]
    Length {
        /// What it should have.
        expected: usize,
        /// What it has.
        got: usize,
    },
    /// Not 2 <= y <= p-2.
    #[error("the public value is outside the group")]
    OutOfRange,
    /// X25519 with a point of small order.
    #[error("the X25519 result is zero")]
    ZeroResult,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_arrive_at_the_same_secret() {
        let mut rng = rand::rng();
        for kex in [Kex::X25519MlKem768, Kex::Ffdhe3072] {
            let pair = KexKeyPair::generate(kex, &mut rng);
            let (share, theirs) = kex.respond(pair.share(), &mut rng).unwrap();
            let ours = pair.finish(&share).unwrap();
            assert_eq!(ours.as_bytes(), theirs.as_bytes());
            assert_eq!(Kex::from_name(kex.name()), Some(kex));
        }
    }

    #[test]
    fn a_pair_made_in_advance_serves_the_exchange_that_it_is_for() {
        let mut rng = rand::rng();
        for (kex, of, is_used) in [
            (Kex::Ffdhe3072, Kex::Ffdhe3072, true),
            (Kex::Ffdhe3072, Kex::Ffdhe4096, false),
            (Kex::X25519MlKem768, Kex::X25519MlKem768, false),
        ] {
            let (client, spare) =
                (KexKeyPair::generate(kex, &mut rng), KexKeyPair::generate(of, &mut rng));
            let expected = spare.share().to_vec();
            let (share, theirs) = kex.respond_with_pair(spare, client.share(), &mut rng).unwrap();
            assert_eq!(share == expected, is_used);
            assert_eq!(client.finish(&share).unwrap().as_bytes(), theirs.as_bytes());
        }
    }

    #[test]
    fn unusable_shares_are_refused() {
        let mut rng = rand::rng();
        let kex = Kex::X25519MlKem768;
        let pair = KexKeyPair::generate(kex, &mut rng);
        let mut share = pair.share().to_vec();
        // X25519's zero point, behind a good ML-KEM key.
        share[MLKEM_PUBLIC..].fill(0);
        assert_eq!(kex.respond(&share, &mut rng).unwrap_err(), KexError::ZeroResult);
        // Coefficients beyond the modulus.
        share[..MLKEM_PUBLIC - 32].fill(0xff);
        assert_eq!(kex.respond(&share, &mut rng).unwrap_err(), KexError::KemKey);
        let length = KexError::Length { expected: 1216, got: 5 };
        assert_eq!(kex.respond(&share[..5], &mut rng).unwrap_err(), length);
        let length = KexError::Length { expected: 1120, got: 0 };
        assert_eq!(pair.finish(&[]).unwrap_err(), length);
    }

    #[test]
    fn debug_shows_no_secret() {
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
        assert_eq!(format!("{pair:?}"), "KexKeyPair { kex: X25519MlKem768, .. }");
        assert_eq!(format!("{:?}", KexSecret::danger_from_bytes(&[1])), "KexSecret(..)");
    }
}
