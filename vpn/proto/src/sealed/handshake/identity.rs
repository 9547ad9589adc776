//! The identities of the two sides.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};

/// The Ed25519 key pair (RFC 8032) of this side. Wiped on drop.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// Makes an identity from the seed of its private key: 32 bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key: 32 bytes.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// The authenticated identity of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The peer has the private key of this Ed25519 public key.
    Key([u8; 32]),
    /// The peer showed no key, but it has the PSK of the session.
    PskOnly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_is_that_of_rfc_8032_and_debug_shows_no_seed() {
        // RFC 8032 §7.1, test 1.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let identity = Identity::from_seed(&seed);
        assert_eq!(identity.public_key()[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(identity.sign(b"")[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert_eq!(format!("{identity:?}"), "Identity(..)");
    }
}
