//! The key exchanges by name, and the key pair of a client.

use std::fmt;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::error::KexError;
use super::ffdhe::FfGroup;
use super::hybrid::{self, HybridPrivate, MLKEM_SEED, X25519};
use super::secret::KexSecret;

/// A key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kex {
    /// X25519 (RFC 7748) and ML-KEM-768 (FIPS 203) together: the default.
    X25519MlKem768,
    /// ffdhe3072 of RFC 7919.
    Ffdhe3072,
    /// ffdhe4096 of RFC 7919.
    Ffdhe4096,
    /// ffdhe8192 of RFC 7919.
    Ffdhe8192,
}

impl Kex {
    /// All key exchanges, best first.
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

    /// The key exchange with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kex| kex.name() == name)
    }

    /// Whether the key pairs of both roles have the same form. Then a server can make one in
    /// advance.
    pub fn is_finite_field(self) -> bool {
        self.group().is_some()
    }

    fn group(self) -> Option<FfGroup> {
        match self {
            Self::X25519MlKem768 => None,
            Self::Ffdhe3072 => Some(FfGroup::Ffdhe3072),
            Self::Ffdhe4096 => Some(FfGroup::Ffdhe4096),
            Self::Ffdhe8192 => Some(FfGroup::Ffdhe8192),
        }
    }

    /// Answers the share of a client. Returns the share of the server and the secret.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn respond(
        self,
        share: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Vec<u8>, KexSecret), KexError> {
        match self.group() {
            Some(group) => respond_ffdhe(group, &group.draw(rng), share),
            None => hybrid::respond(share, rng),
        }
    }

    /// Answers as [`Kex::respond`], with a key pair that was made in advance. If the pair is not
    /// for this exchange, a new one is made.
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

    /// Answers as [`Kex::respond`], with a given exponent. For the replay of recorded sessions.
    /// `None` if this is not a finite-field exchange.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn danger_respond_with(
        self,
        exponent: &[u8],
        share: &[u8],
    ) -> Option<Result<(Vec<u8>, KexSecret), KexError>> {
        self.group().map(|group| respond_ffdhe(group, exponent, share))
    }
}

impl fmt::Display for Kex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn respond_ffdhe(
    group: FfGroup,
    exponent: &[u8],
    share: &[u8],
) -> Result<(Vec<u8>, KexSecret), KexError> {
    let secret = group.agree(exponent, share)?;
    Ok((group.share(exponent), KexSecret::new(secret)))
}

/// The key pair of a client for one key exchange. The private key is wiped on drop.
pub struct KexKeyPair {
    kex: Kex,
    share: Vec<u8>,
    private: KexPrivate,
}

enum KexPrivate {
    Hybrid(HybridPrivate),
    FiniteField { group: FfGroup, exponent: Zeroizing<Vec<u8>> },
}

impl KexKeyPair {
    /// Makes a new key pair. For a finite field this takes milliseconds.
    pub fn generate(kex: Kex, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        match kex.group() {
            Some(group) => Self::finite_field(kex, group, group.draw(rng)),
            None => Self::hybrid(HybridPrivate::generate(rng)),
        }
    }

    /// Makes a key pair from the seed of ML-KEM and the private key of X25519. For the replay of
    /// recorded sessions.
    pub fn danger_hybrid(seed: &[u8; MLKEM_SEED], x: &[u8; X25519]) -> Self {
        Self::hybrid(HybridPrivate::new(seed, x))
    }

    /// Makes a key pair from an exponent, big-endian. For the replay of recorded sessions. `None`
    /// if `kex` is not a finite-field exchange.
    pub fn danger_finite_field(kex: Kex, exponent: &[u8]) -> Option<Self> {
        let exponent = Zeroizing::new(exponent.to_vec());
        Some(Self::finite_field(kex, kex.group()?, exponent))
    }

    fn finite_field(kex: Kex, group: FfGroup, exponent: Zeroizing<Vec<u8>>) -> Self {
        let share = group.share(&exponent);
        Self { kex, share, private: KexPrivate::FiniteField { group, exponent } }
    }

    fn hybrid(private: HybridPrivate) -> Self {
        let share = private.share();
        Self { kex: Kex::X25519MlKem768, share, private: KexPrivate::Hybrid(private) }
    }

    /// The key exchange of this pair.
    pub fn kex(&self) -> Kex {
        self.kex
    }

    /// The share to send to the peer.
    pub fn share(&self) -> &[u8] {
        &self.share
    }

    /// Computes the secret from the share of the peer.
    ///
    /// # Errors
    ///
    /// If the share cannot be used.
    pub fn finish(self, share: &[u8]) -> Result<KexSecret, KexError> {
        match &self.private {
            KexPrivate::FiniteField { group, exponent } => {
                Ok(KexSecret::new(group.agree(exponent, share)?))
            }
            KexPrivate::Hybrid(private) => private.agree(share),
        }
    }
}

impl fmt::Debug for KexKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KexKeyPair").field("kex", &self.kex).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::kex::hybrid::MLKEM_PUBLIC;

    #[test]
    fn both_sides_compute_the_same_secret() {
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
    fn a_pair_made_in_advance_is_used_for_its_own_exchange_only() {
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
        // The X25519 point zero, after a good ML-KEM key.
        share[MLKEM_PUBLIC..].fill(0);
        assert_eq!(kex.respond(&share, &mut rng).unwrap_err(), KexError::ZeroResult);
        // Coefficients that are not below the modulus.
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

    #[test]
    fn replays_take_given_private_values() {
        assert!(KexKeyPair::danger_finite_field(Kex::X25519MlKem768, &[3]).is_none());
        assert!(Kex::X25519MlKem768.danger_respond_with(&[3], &[]).is_none());
        let pair = KexKeyPair::danger_finite_field(Kex::Ffdhe3072, &[3]).unwrap();
        assert_eq!(pair.share().len(), 384);
        assert_eq!(pair.share()[383], 8);
        // 2^(3 * 5) on both sides.
        let answer = Kex::Ffdhe3072.danger_respond_with(&[5], pair.share()).unwrap().unwrap();
        assert_eq!(answer.1.as_bytes()[382..], [0x80, 0x00]);
        assert_eq!(pair.finish(&answer.0).unwrap().as_bytes(), answer.1.as_bytes());
    }

    #[test]
    fn names_are_those_of_the_wire() {
        let names = Kex::ALL.map(|kex| kex.to_string());
        assert_eq!(names, ["x25519-mlkem768", "ffdhe3072", "ffdhe4096", "ffdhe8192"]);
        assert_eq!(Kex::ALL.map(Kex::is_finite_field), [false, true, true, true]);
        assert_eq!(Kex::from_name("X25519-MLKEM768"), None);
    }
}
