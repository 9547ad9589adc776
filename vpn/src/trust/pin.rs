//! The key that a user expects a server to have, as `--server-key` takes it.

use std::fmt;
use std::str::FromStr;

use ssh_key::Fingerprint;

use super::format::{is_key_type, split_word};
use super::keys::{PublicKey, fingerprint, sha256};

/// The key that a server must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The SHA-256 hash of the key.
    Fingerprint([u8; 32]),
    /// The key itself. Only with the key can a client pass a gate that the server requires
    /// (PROTOCOL.md §4.7).
    Key([u8; 32]),
}

impl Pin {
    /// Reads a fingerprint, `SHA256:` and base64, or the text of a `.pub` file.
    ///
    /// # Errors
    ///
    /// A message for the user that says what to write instead.
    #[doc(hidden)]
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let form = "expected SHA256: and 43 characters, as `vpn fingerprint` shows, or the text of \
                    the server's .pub file";
        if let Some(hash) = text.strip_prefix("SHA256:") {
            let hash = hash.trim_end_matches('=');
            return match Fingerprint::from_str(&format!("SHA256:{hash}")) {
                Ok(Fingerprint::Sha256(hash)) => Ok(Self::Fingerprint(hash)),
                _ if hash.len() != 43 => Err(format!("{} characters; {form}", hash.len())),
                _ => Err(form.to_owned()),
            };
        }
        if is_key_type(split_word(text).0) {
            return PublicKey::read(text).map(|key| Self::Key(key.bytes));
        }
        if text.starts_with("MD5:") || text.matches(':').count() == 15 {
            return Err(format!("an MD5 fingerprint; {form}"));
        }
        Err(form.to_owned())
    }

    /// Whether this key of a server is the expected one.
    pub fn accepts(&self, key: &[u8; 32]) -> bool {
        match self {
            Self::Key(expected) => expected == key,
            Self::Fingerprint(hash) => sha256(key).as_bytes() == hash,
        }
    }
}

/// The fingerprint of the expected key.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(hash) => write!(f, "{}", Fingerprint::Sha256(*hash)),
            Self::Key(key) => f.write_str(&fingerprint(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_pin_is_a_fingerprint_or_the_key_itself() {
        let key = PublicKey::read(KEY).unwrap().bytes;
        let shown = fingerprint(&key);
        for text in [&shown, &format!("{shown}="), &format!(" {shown}\n"), &format!("{KEY} x")] {
            let pin = Pin::parse(text).unwrap();
            assert!(pin.accepts(&key) && !pin.accepts(&[7; 32]), "{text}");
            assert_eq!(pin.to_string(), shown);
        }
        for (text, words) in [
            ("SHA256:abc", "3 characters"),
            ("SHA256:*********************!*********************", "characters"),
            ("sha256:x", "expected SHA256:"),
            ("", "expected SHA256:"),
            ("ssh-rsa AAAA", "an RSA key"),
            ("ssh-ed25519 AAAA", "cut off or damaged"),
            ("16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", "an MD5 fingerprint"),
        ] {
            let error = Pin::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
