//! The keys of a session: from the shared secret to key and IV (PROTOCOL.md §3.4).

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::dh::SharedSecret;
use crate::suite::SuiteId;

/// The length of the shared key in characters. No key of the classic profile is longer.
pub const SHARED_KEY_LEN: usize = 64;

/// The shared key of a session: 64 lower-case hexadecimal digits. Wiped on drop.
pub struct SharedKey(Zeroizing<[u8; SHARED_KEY_LEN]>);

impl SharedKey {
    /// SHA-256 (FIPS 180-4) over the last `bit_length / 8 + 1` big-endian bytes of the secret, in
    /// hexadecimal.
    ///
    /// The protocol defines this length, so the time of the hash depends on the length of the
    /// secret. It shows less than one bit of the secret. Exponents are used once, so it shows it
    /// only once.
    pub fn derive(secret: &SharedSecret) -> Self {
        let bytes = secret.as_bytes();
        let first = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
        let mut hash = Sha256::new();
        // A zero byte comes first if the top bit of the first byte is set, or if the secret is
        // zero.
        if bytes.get(first).is_none_or(|top| top & 0x80 != 0) {
            hash.update([0]);
        }
        hash.update(&bytes[first..]);
        let digest = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
        let mut hex = Zeroizing::new([0; SHARED_KEY_LEN]);
        for (pair, byte) in hex.chunks_exact_mut(2).zip(digest.iter()) {
            pair[0] = hex_digit(byte >> 4);
            pair[1] = hex_digit(byte & 15);
        }
        Self(hex)
    }

    /// Takes 64 characters. For tests with published shared keys.
    pub fn from_text(text: [u8; SHARED_KEY_LEN]) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The key is the first `size / 8` characters. The IV is the last characters, one block of
    /// them. `None` if the suite needs a key of more than [`SHARED_KEY_LEN`] bytes.
    pub fn cut(&self, id: SuiteId) -> Option<SessionKeys> {
        let key = self.0.get(..id.size.bytes())?;
        let iv = &self.0[SHARED_KEY_LEN.checked_sub(id.suite.block_size())?..];
        Some(SessionKeys { key: Zeroizing::new(key.to_vec()), iv: Zeroizing::new(iv.to_vec()) })
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// Key and IV of a session. Cipher and HMAC use the same key. Wiped on drop.
#[derive(Clone)]
pub struct SessionKeys {
    /// The key, with the key size of the suite.
    pub key: Zeroizing<Vec<u8>>,
    /// The IV: one block.
    pub iv: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// One lower-case hexadecimal digit, without a table lookup by a secret index.
fn hex_digit(nibble: u8) -> u8 {
    // 39 is the distance from '9' + 1 to 'a'. It is added if 9 - n is negative.
    nibble + b'0' + ((9u8.wrapping_sub(nibble) >> 7) * 39)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_are_lower_case() {
        let digits: Vec<u8> = (0..16).map(hex_digit).collect();
        assert_eq!(digits, b"0123456789abcdef");
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", SharedKey::from_text([b'7'; 64])), "SharedKey(..)");
    }
}
