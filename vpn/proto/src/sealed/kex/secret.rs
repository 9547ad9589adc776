//! The secret of a key exchange.

use std::fmt;

use zeroize::Zeroizing;

/// The shared secret of a key exchange. Wiped on drop.
///
/// For a finite field it has the length of the prime. For X25519 with ML-KEM-768 it has 64 bytes:
/// the secret of ML-KEM, then the secret of X25519.
pub struct KexSecret(Zeroizing<Vec<u8>>);

impl KexSecret {
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Makes a secret from its bytes. For tests with known answers.
    pub fn danger_from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes, for the key schedule and for tests.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KexSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KexSecret(..)")
    }
}
