//! The transcript of a handshake (PROTOCOL.md §4.3).

use sha2::{Digest, Sha256};

/// A running SHA-256 over complete frames, with their headers and prefaces.
#[derive(Clone, Debug, Default)]
pub struct Transcript(Sha256);

impl Transcript {
    /// Adds frames.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash with these bytes at the end. The bytes are not added.
    pub fn hash_with(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(bytes).finalize().into()
    }

    /// The hash so far.
    pub fn hash(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_hashed_in_order() {
        let mut transcript = Transcript::default();
        transcript.add(b"a");
        // FIPS 180-4: SHA-256("abc").
        let abc = transcript.hash_with(b"bc");
        assert_eq!(abc[..4], [0xba, 0x78, 0x16, 0xbf]);
        transcript.add(b"b");
        transcript.add(b"c");
        assert_eq!(transcript.hash(), abc);
    }
}
