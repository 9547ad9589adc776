//! Ed25519 keys in OpenSSH's format, and PSKs in hexadecimal.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use rand::CryptoRng;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::{IdentityError, check_mode};
use crate::proto::sealed::{Identity, Psk};

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
        let key = ssh_key::PublicKey::from_openssh(line).ok()?;
        let bytes = key.key_data().ed25519()?.0;
        Some(Self { bytes, comment: key.comment().to_owned() })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = KeyData::Ed25519(Ed25519PublicKey(self.bytes));
        let key = ssh_key::PublicKey::new(data, self.comment.clone());
        f.write_str(&key.to_openssh().map_err(|_| fmt::Error)?)
    }
}

/// `SHA256:` and base64, as OpenSSH shows keys.
pub fn fingerprint(key: &[u8; 32]) -> String {
    let data = KeyData::Ed25519(Ed25519PublicKey(*key));
    data.fingerprint(HashAlg::Sha256).to_string()
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

/// Writes a file that was not there, or may be replaced, for its owner alone if it is secret.
///
/// # Errors
///
/// [`IdentityError::Exists`] unless `may_replace`.
pub fn write_new(
    path: &Path,
    text: &str,
    is_secret: bool,
    may_replace: bool,
) -> Result<(), IdentityError> {
    if may_replace {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IdentityError::io(path)(error));
            }
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if is_secret { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _ = is_secret;
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
        _ => IdentityError::io(path)(error),
    })?;
    file.write_all(text.as_bytes()).map_err(IdentityError::io(path))
}

/// Reads a private key; asks for the passphrase if it has one.
///
/// # Errors
///
/// If others could read it, it is no Ed25519 key, or the passphrase does not fit.
pub fn read_identity(
    path: &Path,
    passphrase: impl FnOnce() -> std::io::Result<String>,
) -> Result<Identity, IdentityError> {
    check_mode(path, 0o077, "readable", "600")?;
    let text = Zeroizing::new(std::fs::read(path).map_err(IdentityError::io(path))?);
    let mut key = PrivateKey::from_openssh(text.as_slice())
        .map_err(|error| IdentityError::form(path, format_args!("not a private key: {error}")))?;
    if key.is_encrypted() {
        let words = Zeroizing::new(passphrase().map_err(IdentityError::io(path))?);
        key = key
            .decrypt(words.as_bytes())
            .map_err(|_| IdentityError::form(path, "the passphrase does not fit"))?;
    }
    match key.key_data().ed25519() {
        Some(pair) => Ok(Identity::from_seed(&pair.private.to_bytes())),
        None => {
            Err(IdentityError::form(path, format_args!("an {} key, not Ed25519", key.algorithm())))
        }
    }
}

/// Reads the public key of a `.pub` file, or of a private key that needs no passphrase for that.
///
/// # Errors
///
/// If it is neither.
pub fn read_public_key(path: &Path) -> Result<PublicKey, IdentityError> {
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(IdentityError::io(path))?);
    if let Some(key) = PublicKey::parse(text.trim_end()) {
        return Ok(key);
    }
    // The public half of a private key is not encrypted.
    let key = PrivateKey::from_openssh(text.as_bytes()).ok();
    let public = key.as_ref().map(PrivateKey::public_key);
    match public.and_then(|p| Some((p.key_data().ed25519()?.0, p.comment()))) {
        Some((bytes, comment)) => Ok(PublicKey { bytes, comment: comment.to_owned() }),
        None => Err(IdentityError::form(path, "not an Ed25519 key in OpenSSH's format")),
    }
}

/// Reads a PSK: at least 32 bytes in hexadecimal.
///
/// # Errors
///
/// If others could read it, or it is something else.
pub fn read_psk(path: &Path) -> Result<Psk, IdentityError> {
    check_mode(path, 0o077, "readable", "600")?;
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(IdentityError::io(path))?);
    let problem = || IdentityError::form(path, "a PSK is at least 32 bytes in hexadecimal");
    let digits = text.trim_ascii().as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(problem());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(problem());
        };
        bytes.push(high << 4 | low);
    }
    Psk::new(bytes).ok_or_else(problem)
}
