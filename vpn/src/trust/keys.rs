//! Ed25519 keys in OpenSSH's format, and their fingerprints.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rand::CryptoRng;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Fingerprint, HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::IdentityError;
use super::known::word;
use super::private;
use crate::files::{self, Role};
use vpn_proto::Printable;
use vpn_proto::sealed::Identity;

/// The type of the keys that work here.
const TYPE: &str = "ssh-ed25519";

/// A public key and its comment, as a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The key.
    pub bytes: [u8; 32],
    /// What its owner calls it.
    pub comment: String,
}

impl PublicKey {
    /// Reads `ssh-ed25519 AAAA… comment`; `None` if it is something else.
    pub fn parse(line: &str) -> Option<Self> {
        Self::read(line).ok()
    }

    /// Reads `ssh-ed25519 AAAA… comment`, with blanks and tabs as OpenSSH does.
    ///
    /// # Errors
    ///
    /// What the line is instead.
    pub fn read(line: &str) -> Result<Self, String> {
        let (kind, rest) = word(line.trim());
        if kind != TYPE {
            return Err(match other_kind(kind) {
                Some(kind) => format!("{kind}; only {TYPE} works here"),
                None if kind.is_empty() => "the key is missing".to_owned(),
                None => format!("expected {TYPE} KEY"),
            });
        }
        let (data, comment) = word(rest);
        let damaged = || "the key is cut off or damaged; copy the whole line".to_owned();
        let key = ssh_key::PublicKey::from_openssh(&format!("{kind} {data}"));
        let key = key.map_err(|_| damaged())?;
        let bytes = key.key_data().ed25519().ok_or_else(damaged)?.0;
        Ok(Self { bytes, comment: comment.trim().to_owned() })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = KeyData::Ed25519(Ed25519PublicKey(self.bytes));
        let key = ssh_key::PublicKey::new(data, self.comment.clone());
        f.write_str(&key.to_openssh().map_err(|_| fmt::Error)?)
    }
}

/// What another type of key is called, if this names one.
pub(super) fn other_kind(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    Some(match word.as_str() {
        w if w.contains("-cert-v0") => "a certificate",
        w if w.starts_with("sk-") && w.contains('@') => "a key of a security token",
        w if w.starts_with("ecdsa-") => "an ecdsa key",
        "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => "an RSA key",
        "ssh-dss" => "a DSA key",
        "ssh-ed448" => "an Ed448 key",
        _ => return None,
    })
}

/// `SHA256:` and base64, as OpenSSH shows keys.
pub fn fingerprint(key: &[u8; 32]) -> String {
    let data = KeyData::Ed25519(Ed25519PublicKey(*key));
    data.fingerprint(HashAlg::Sha256).to_string()
}

/// What a user says that a server's key must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The hash of the key.
    Fingerprint([u8; 32]),
    /// The key itself: with it the client can also answer a gate that is required.
    Key([u8; 32]),
}

impl Pin {
    /// Reads `SHA256:…`, or the text of a `.pub` file.
    ///
    /// # Errors
    ///
    /// What to write instead.
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
        let kind = word(text).0;
        if kind == TYPE || other_kind(kind).is_some() {
            return PublicKey::read(text).map(|key| Self::Key(key.bytes));
        }
        if text.starts_with("MD5:") || text.matches(':').count() == 15 {
            return Err(format!("an MD5 fingerprint; {form}"));
        }
        Err(form.to_owned())
    }

    /// Whether a key is the one that is meant.
    pub fn accepts(&self, key: &[u8; 32]) -> bool {
        match self {
            Self::Key(known) => known == key,
            Self::Fingerprint(hash) => {
                let data = KeyData::Ed25519(Ed25519PublicKey(*key));
                data.fingerprint(HashAlg::Sha256).as_bytes() == hash
            }
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(hash) => write!(f, "{}", Fingerprint::Sha256(*hash)),
            Self::Key(key) => f.write_str(&fingerprint(key)),
        }
    }
}

/// A fresh key: the text of the private file, and the public key.
///
/// # Errors
///
/// If it cannot be encoded, which should not happen.
pub fn generate(
    comment: &str,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<(Zeroizing<String>, PublicKey), ssh_key::Error> {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(seed.as_mut_slice());
    let bytes = Identity::from_seed(&seed).public_key();
    let pair = Ed25519Keypair {
        public: Ed25519PublicKey(bytes),
        private: Ed25519PrivateKey::from_bytes(&seed),
    };
    let key = PrivateKey::new(KeypairData::Ed25519(pair), comment)?;
    Ok((key.to_openssh(LineEnding::LF)?, PublicKey { bytes, comment: comment.to_owned() }))
}

/// Reads the public key of a `.pub` file, or of a private key that needs no passphrase for that.
///
/// # Errors
///
/// If it is neither, or there are several.
pub fn read_public_key(path: &Path) -> Result<PublicKey, IdentityError> {
    let mut keys = read_public_keys(path)?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (_, count) => Err(IdentityError::form(path, format_args!("{} keys, not one", count + 1))),
    }
}

/// Reads the public keys of a file: of a private key, of `.pub` files, or of a list of clients or
/// servers; at least one.
///
/// # Errors
///
/// If a line is something else.
pub fn read_public_keys(path: &Path) -> Result<Vec<PublicKey>, IdentityError> {
    let contents = files::read(path, Role::PublicKey)?;
    if let Some(key) = private::public_half(&contents.bytes) {
        return Ok(vec![key]);
    }
    let text = contents.text().map_err(|error| IdentityError::line(path, error.line, error))?;
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Options, or names of hosts, may stand before it.
        let key = PublicKey::read(key_of(line));
        keys.push(key.map_err(|problem| match private::what_it_is(&contents.bytes) {
            Some(what) => IdentityError::form(path, what),
            None => IdentityError::line(path, number, problem),
        })?);
    }
    if keys.is_empty() {
        return Err(IdentityError::form(path, "there is no key in it"));
    }
    Ok(keys)
}

/// The part of a line that begins with a type of key.
fn key_of(line: &str) -> &str {
    let mut is_quoted = false;
    let mut is_start = true;
    for (at, c) in line.char_indices() {
        if is_start && !is_quoted {
            let word = word(&line[at..]).0;
            if word == TYPE || other_kind(word).is_some() {
                return &line[at..];
            }
        }
        is_quoted ^= c == '"';
        is_start = matches!(c, ' ' | '\t');
    }
    line
}

/// A key and its comment as `vpn fingerprint` and `vpn keygen` show them.
pub fn described(key: &PublicKey) -> String {
    let text = format!("{} {}", fingerprint(&key.bytes), Printable(key.comment.as_bytes()));
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_public_key_is_read_however_it_is_spaced() {
        let spaced = KEY.replace(' ', " \t ");
        let key = PublicKey::read(&format!("{spaced}\t my  key \r\n")).unwrap();
        assert_eq!((key.bytes[31], key.comment.as_str()), (31, "my  key"));
    }

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

    #[test]
    fn the_key_of_a_line_is_found_behind_options_and_names() {
        let line = format!("from=\"ssh-ed25519 x\" a,b sealed {KEY} c");
        assert_eq!(key_of(&line), format!("{KEY} c"));
    }
}
