//! The transcript of a handshake (PROTOCOL.md §4.3).

use sha2::{Digest, Sha256};

/// A running SHA-256 over whole frames, headers and prefaces included.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Sha256);

impl Transcript {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash with these bytes behind, without adding them.
    pub fn hash_with(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(bytes).finalize().into()
    }

    /// The hash so far.
    pub fn hash(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}
