//! From the shared secret to key and IV (PROTOCOL.md §3.4).

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::dh::SharedSecret;
use super::super::negotiate::SuiteId;

/// How many characters the shared key has; no key of the classic profile can be longer.
pub const SHARED_KEY_LEN: usize = 64;

/// The shared key of a session: 64 lower-case hexadecimal digits. Wiped on drop.
pub struct SharedKey(Zeroizing<[u8; SHARED_KEY_LEN]>);

impl SharedKey {
    /// SHA-256 over the secret's big-endian bytes, `bit_length / 8 + 1` of them, in hexadecimal.
    ///
    /// The number of bytes hashed depends on the secret's length; that is the protocol's doing and
    /// tells an observer of our timing less than one bit, once, since exponents are never reused.
    pub fn derive(secret: &SharedSecret) -> Self {
        let bytes = secret.as_bytes();
        let first = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
        let mut hash = Sha256::new();
        // One byte more than needed when the top bit of the top byte is set, and for zero.
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

    /// Takes the 64 characters as they are, for tests with published shared keys.
    pub fn from_text(text: [u8; SHARED_KEY_LEN]) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Cuts key and IV out: the first `size / 8` characters, and as many as a block has from the
    /// end. `None` if the suite wants a longer key than there are characters.
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

/// Key (for the cipher and the HMAC alike) and first chaining value of a session. Wiped on drop.
#[derive(Clone)]
pub struct SessionKeys {
    /// The key, as many bytes as the suite's key size says.
    pub key: Zeroizing<Vec<u8>>,
    /// The IV, as long as a block.
    pub iv: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// One lower-case hexadecimal digit, without a table indexed by a secret.
fn hex_digit(nibble: u8) -> u8 {
    // 39 lies between '9' + 1 and 'a'; the borrow of 9 - n selects it.
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
