//! Ed25519 public keys in OpenSSH's format, their fingerprints, and new keys.

use std::fmt;
use std::path::Path;

use rand::CryptoRng;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Fingerprint, HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::error::TrustError;
use super::format::{
    KEY_TYPE, describe_other, is_key_type, openssh_pem, other_key_type, split_word,
};
use crate::files::{self, Role};
use vpn_proto::Printable;
use vpn_proto::sealed::Identity;

/// An Ed25519 public key and its comment: a line of a `.pub` file (ssh-keygen(1), FILES).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The 32 bytes of the key (RFC 8032).
    pub bytes: [u8; 32],
    /// The comment behind the key. It may have any characters.
    pub comment: String,
}

impl PublicKey {
    /// Reads `ssh-ed25519 AAAA… comment`. `None` if the line is something else.
    #[doc(hidden)]
    pub fn parse(line: &str) -> Option<Self> {
        Self::read(line).ok()
    }

    /// Reads `ssh-ed25519 AAAA… comment`. Blanks and tabs separate the parts.
    ///
    /// # Errors
    ///
    /// A message for the user that says what the line is instead.
    #[doc(hidden)]
    pub fn read(line: &str) -> Result<Self, String> {
        let (key_type, rest) = split_word(line.trim());
        if key_type != KEY_TYPE {
            return Err(match other_key_type(key_type) {
                Some(other) => format!("{other}; only {KEY_TYPE} works here"),
                None if key_type.is_empty() => "the key is missing".to_owned(),
                None => format!("expected {KEY_TYPE} KEY"),
            });
        }
        let (data, comment) = split_word(rest);
        let damaged = || "the key is cut off or damaged; copy the whole line".to_owned();
        let key = ssh_key::PublicKey::from_openssh(&format!("{key_type} {data}"));
        let key = key.map_err(|_| damaged())?;
        let bytes = key.key_data().ed25519().ok_or_else(damaged)?.0;
        Ok(Self { bytes, comment: comment.trim().to_owned() })
    }

    /// The public key of a private key in OpenSSH's format. `None` if the bytes are something else. An
    /// encrypted private key works too, because its public key is not encrypted.
    fn of_private(bytes: &[u8]) -> Option<Self> {
        let pem = openssh_pem(bytes).ok()??;
        let key = PrivateKey::from_openssh(pem.as_bytes()).ok()?;
        let public = key.public_key();
        let bytes = public.key_data().ed25519()?.0;
        Some(Self { bytes, comment: public.comment().to_owned() })
    }

    /// The fingerprint and the comment, for the terminal. Control characters are escaped.
    #[doc(hidden)]
    pub fn summary(&self) -> String {
        let text = format!("{} {}", fingerprint(&self.bytes), Printable(self.comment.as_bytes()));
        text.trim_end().to_owned()
    }
}

/// The line of a `.pub` file, without a line end.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = KeyData::Ed25519(Ed25519PublicKey(self.bytes));
        let key = ssh_key::PublicKey::new(data, self.comment.clone());
        f.write_str(&key.to_openssh().map_err(|_| fmt::Error)?)
    }
}

/// The fingerprint of a public key as OpenSSH shows it: `SHA256:` and base64 without padding
/// (ssh-keygen(1), option -l).
pub fn fingerprint(key: &[u8; 32]) -> String {
    sha256(key).to_string()
}

/// The SHA-256 hash of a public key in the encoding of RFC 8709 §4.
pub(super) fn sha256(key: &[u8; 32]) -> Fingerprint {
    KeyData::Ed25519(Ed25519PublicKey(*key)).fingerprint(HashAlg::Sha256)
}

/// Makes a new key. Returns the text of the private key file, without a passphrase, and the public
/// key.
///
/// # Errors
///
/// If the key cannot be encoded. That does not happen with valid input.
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

/// Reads the public key of a `.pub` file or of a private key file. No passphrase is needed.
///
/// # Errors
///
/// [`TrustError`] if the file cannot be read, has no key, or has several keys.
pub fn read_public_key(path: &Path) -> Result<PublicKey, TrustError> {
    let mut keys = read_public_keys(path)?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (_, count) => Err(TrustError::format(path, format_args!("{} keys, not one", count + 1))),
    }
}

/// Reads all public keys of a file: a private key, `.pub` files, `authorized_clients` or
/// `known_servers`. Returns at least one key.
///
/// # Errors
///
/// [`TrustError`] if the file cannot be read, has no key, or a line is something else.
pub fn read_public_keys(path: &Path) -> Result<Vec<PublicKey>, TrustError> {
    let contents = files::read(path, Role::PublicKey)?;
    if let Some(key) = PublicKey::of_private(&contents.bytes) {
        return Ok(vec![key]);
    }
    let text = contents.text().map_err(|error| TrustError::line(path, error.line, error))?;
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = PublicKey::read(key_of(line));
        let other = |_| TrustError::format(path, describe_other(&contents.bytes));
        keys.push(key.map_err(other)?);
    }
    if keys.is_empty() {
        return Err(TrustError::format(path, "there is no key in it"));
    }
    Ok(keys)
}

/// The part of a line that begins with the type of a key. Options or host names may stand before it.
fn key_of(line: &str) -> &str {
    let mut is_quoted = false;
    let mut is_start = true;
    for (at, c) in line.char_indices() {
        if is_start && !is_quoted && is_key_type(split_word(&line[at..]).0) {
            return &line[at..];
        }
        is_quoted ^= c == '"';
        is_start = matches!(c, ' ' | '\t');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_public_key_may_have_any_blanks_between_its_parts() {
        let spaced = KEY.replace(' ', " \t ");
        let key = PublicKey::read(&format!("{spaced}\t my  key \r\n")).unwrap();
        assert_eq!((key.bytes[31], key.comment.as_str()), (31, "my  key"));
    }

    fn rewrapped(pem: &str, width: usize, end: &str) -> String {
        let digits: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
        let lines: Vec<&str> =
            digits.as_bytes().chunks(width).map(|c| str::from_utf8(c).unwrap()).collect();
        let (begin, close) = (pem.lines().next().unwrap(), pem.lines().last().unwrap());
        format!("{begin}{end}{}{end}{close}{end}", lines.join(end))
    }

    #[test]
    fn a_private_key_may_be_wrapped_at_any_width() {
        let (pem, public) = generate("me", &mut rand::rng()).unwrap();
        for text in [
            pem.to_string(),
            rewrapped(&pem, 64, "\n"),
            rewrapped(&pem, 76, "\r\n"),
            rewrapped(&pem, 1000, "\n"),
            format!("\u{feff}\n\n{}\n\n \n", &*pem),
            rewrapped(&pem, 30, " \n\t"),
            pem.trim_end().to_owned(),
        ] {
            assert_eq!(PublicKey::of_private(text.as_bytes()), Some(public.clone()), "{text}");
        }
        let two = format!("{}{}", &*pem, &*pem);
        assert!(openssh_pem(two.as_bytes()).unwrap_err().contains("2 private keys in one file"));
        let cut = &pem[..200];
        assert!(openssh_pem(cut.as_bytes()).unwrap_err().contains("END is missing"));
    }

    #[test]
    fn the_key_of_a_line_is_found_behind_options_and_names() {
        let line = format!("from=\"ssh-ed25519 x\" a,b sealed {KEY} c");
        assert_eq!(key_of(&line), format!("{KEY} c"));
    }
}
