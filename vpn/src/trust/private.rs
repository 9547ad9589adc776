//! Private keys in OpenSSH's format (ssh-keygen(1)), and errors about other files that users name
//! instead.

use std::io;
use std::path::Path;

use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use super::error::TrustError;
use super::format::{DAMAGED, KEY_TYPE, describe_other, openssh_pem, other_key_type, split_word};
use super::keys::PublicKey;
use crate::files::{self, FileError, FileProblem, Role, shown};
use vpn_proto::sealed::Identity;

/// Reads an Ed25519 private key. `passphrase` asks the user for the passphrase; it is called only if
/// the key is encrypted.
///
/// # Errors
///
/// [`TrustError`] if other users could read or replace the file, it is not an Ed25519 private key, or
/// the passphrase is missing or wrong.
pub fn read_identity(
    path: &Path,
    passphrase: impl FnOnce() -> io::Result<String>,
) -> Result<Identity, TrustError> {
    let contents = match files::read(path, Role::Identity) {
        Err(error @ FileError { problem: FileProblem::Permissions { .. }, .. }) => {
            return Err(readable_by_others(path, error));
        }
        contents => contents?,
    };
    let pem = match openssh_pem(&contents.bytes) {
        Ok(Some(pem)) => pem,
        Ok(None) => return Err(not_private(path, &contents.bytes)),
        Err(problem) => return Err(TrustError::format(path, problem)),
    };
    let key = PrivateKey::from_openssh(pem.as_bytes());
    let mut key = key.map_err(|_| TrustError::format(path, DAMAGED))?;
    if key.public_key().key_data().ed25519().is_none() {
        return Err(other_type(path, &key));
    }
    if key.is_encrypted() {
        key = decrypt(path, &key, passphrase)?;
    }
    match key.key_data().ed25519() {
        Some(pair) => Ok(Identity::from_seed(&pair.private.to_bytes())),
        None => Err(other_type(path, &key)),
    }
}

fn decrypt(
    path: &Path,
    key: &PrivateKey,
    passphrase: impl FnOnce() -> io::Result<String>,
) -> Result<PrivateKey, TrustError> {
    let passphrase = passphrase().map_err(|error| TrustError::NoPassphrase {
        path: path.to_owned(),
        reason: match error.kind() {
            io::ErrorKind::UnexpectedEof => "none was given".to_owned(),
            _ => "there is no terminal to ask for it".to_owned(),
        },
    })?;
    let passphrase = Zeroizing::new(passphrase);
    key.decrypt(passphrase.as_bytes()).map_err(|error| {
        let problem = match error {
            ssh_key::Error::Encrypted | ssh_key::Error::AlgorithmUnsupported { .. } => {
                "it is encrypted in a way that is not known here; `ssh-keygen -p -Z aes256-ctr` \
                 changes that"
            }
            _ => "the passphrase does not fit",
        };
        TrustError::format(path, problem)
    })
}

/// The error for a file that other users can read. If it is no private key, that is the error: other
/// users may read a public key.
fn readable_by_others(path: &Path, error: FileError) -> TrustError {
    match files::read(path, Role::PublicKey) {
        Ok(contents) if !matches!(openssh_pem(&contents.bytes), Ok(Some(_))) => {
            not_private(path, &contents.bytes)
        }
        _ => error.into(),
    }
}

fn other_type(path: &Path, key: &PrivateKey) -> TrustError {
    let name = key.algorithm();
    let kind = other_key_type(name.as_str()).unwrap_or("a key of another type");
    let problem = format!("{kind}; only {KEY_TYPE} works here (`vpn keygen` makes one)");
    TrustError::format(path, problem)
}

/// The error for a file that is not a private key in OpenSSH's format.
fn not_private(path: &Path, bytes: &[u8]) -> TrustError {
    let is_public = |line: &str| {
        let key_type = split_word(line).0;
        PublicKey::read(line).is_ok() || other_key_type(key_type).is_some()
    };
    let text = files::text_of(bytes).ok().filter(|text| text.lines().any(is_public));
    let Some(text) = text else { return TrustError::format(path, describe_other(bytes)) };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let problem = if path.extension().is_some_and(|e| e == "pub") {
        format!("it is the public half; name {}", shown(&path.with_extension("")))
    } else if lines.count() == 1 {
        "it is the public half of a key; name the private one, whose name lacks .pub".to_owned()
    } else {
        "it is a list of public keys; name a private key".to_owned()
    };
    TrustError::format(path, problem)
}
