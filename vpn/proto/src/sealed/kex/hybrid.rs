//! X25519 (RFC 7748) and ML-KEM-768 (FIPS 203) together.
//!
//! The share of the client is `ML-KEM encapsulation key 1184 | X25519 public key 32`. The share of
//! the server is `ML-KEM ciphertext 1088 | X25519 public key 32`.

use ml_kem::kem::{Decapsulate, Encapsulate, KeyExport, TryKeyInit};
use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::error::KexError;
use super::secret::KexSecret;

/// The size of an ML-KEM-768 encapsulation key in bytes (FIPS 203 §8).
pub(super) const MLKEM_PUBLIC: usize = 1184;
/// The size of an ML-KEM-768 ciphertext in bytes (FIPS 203 §8).
const MLKEM_CIPHERTEXT: usize = 1088;
/// The size of the seed `d | z` of ML-KEM key generation in bytes (FIPS 203 §7.1).
pub(super) const MLKEM_SEED: usize = 64;
/// The size of an X25519 key in bytes.
pub(super) const X25519: usize = 32;

/// The private keys of a client.
pub(super) struct HybridPrivate {
    kem: Box<DecapsulationKey>,
    x: StaticSecret,
}

impl HybridPrivate {
    pub(super) fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = Zeroizing::new([0; MLKEM_SEED]);
        rng.fill_bytes(seed.as_mut_slice());
        let mut x = Zeroizing::new([0; X25519]);
        rng.fill_bytes(x.as_mut_slice());
        Self::new(&seed, &x)
    }

    pub(super) fn new(seed: &[u8; MLKEM_SEED], x: &[u8; X25519]) -> Self {
        let kem = Box::new(DecapsulationKey::from_seed((*seed).into()));
        Self { kem, x: StaticSecret::from(*x) }
    }

    /// The share of the client.
    pub(super) fn share(&self) -> Vec<u8> {
        let public = self.kem.encapsulation_key().to_bytes();
        [public.as_slice(), PublicKey::from(&self.x).as_bytes()].concat()
    }

    /// Computes the secret from the share of the server.
    pub(super) fn agree(&self, share: &[u8]) -> Result<KexSecret, KexError> {
        let (ciphertext, x_share) = split_share(share, MLKEM_CIPHERTEXT)?;
        let length = KexError::Length { expected: MLKEM_CIPHERTEXT + X25519, got: share.len() };
        let kem_secret = self.kem.decapsulate_slice(ciphertext).map_err(|_| length)?;
        combine(&Zeroizing::new(kem_secret), &self.x, x_share)
    }
}

/// Answers the share of a client. Returns the share of the server and the secret.
pub(super) fn respond(
    share: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Vec<u8>, KexSecret), KexError> {
    let (kem_share, x_share) = split_share(share, MLKEM_PUBLIC)?;
    // This checks the key by FIPS 203 §7.2.
    let kem_key = EncapsulationKey::new_from_slice(kem_share).map_err(|_| KexError::KemKey)?;
    let (ciphertext, kem_secret) = kem_key.encapsulate_with_rng(rng);
    let kem_secret = Zeroizing::new(kem_secret);
    let x = StaticSecret::random_from_rng(rng);
    let own = [ciphertext.as_slice(), PublicKey::from(&x).as_bytes()].concat();
    Ok((own, combine(&kem_secret, &x, x_share)?))
}

/// Splits a share into the part of ML-KEM and the part of X25519.
fn split_share(share: &[u8], kem: usize) -> Result<(&[u8], [u8; X25519]), KexError> {
    let length = KexError::Length { expected: kem + X25519, got: share.len() };
    let (kem_share, x_share) = share.split_at_checked(kem).ok_or(length)?;
    Ok((kem_share, x_share.try_into().map_err(|_| length)?))
}

/// Computes the X25519 secret and appends it to the ML-KEM secret.
fn combine(kem: &[u8], x: &StaticSecret, x_share: [u8; X25519]) -> Result<KexSecret, KexError> {
    let x_secret = x.diffie_hellman(&PublicKey::from(x_share));
    if !x_secret.was_contributory() {
        return Err(KexError::ZeroResult);
    }
    let mut both = Zeroizing::new(Vec::with_capacity(kem.len() + X25519));
    both.extend_from_slice(kem);
    both.extend_from_slice(x_secret.as_bytes());
    Ok(KexSecret::new(both))
}
