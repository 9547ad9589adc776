//! Private keys in OpenSSH's format, and the files that people name in their place.

use std::path::Path;

use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use super::IdentityError;
use super::keys::{PublicKey, other_kind};
use super::known::word;
use crate::files::{self, Role, shown};
use vpn_proto::sealed::Identity;

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// Reads a private key; asks for the passphrase if it has one.
///
/// # Errors
///
/// If others could read or replace it, it is no Ed25519 key, or the passphrase does not fit.
pub fn read_identity(
    path: &Path,
    passphrase: impl FnOnce() -> std::io::Result<String>,
) -> Result<Identity, IdentityError> {
    let contents = match files::read(path, Role::Identity) {
        // Others may read a public key; what it is says more than that they may.
        Err(error @ files::FileError { problem: files::FileProblem::Distrusted { .. }, .. }) => {
            let public = files::read(path, Role::PublicKey).ok();
            let other = public.filter(|c| !matches!(normal(&c.bytes), Ok(Some(_))));
            return Err(match other.and_then(|c| slip(path, &c.bytes)) {
                Some(slip) => slip,
                None => error.into(),
            });
        }
        contents => contents?,
    };
    let mut key = match normal(&contents.bytes) {
        Ok(Some(pem)) => PrivateKey::from_openssh(pem.as_bytes()).map_err(|_| damaged(path))?,
        Ok(None) => return Err(slip(path, &contents.bytes).unwrap_or_else(|| damaged(path))),
        Err(problem) => return Err(IdentityError::form(path, problem)),
    };
    if key.key_data().ed25519().is_none() && !key.is_encrypted() {
        return Err(other_type(path, &key));
    }
    if key.is_encrypted() {
        if key.public_key().key_data().ed25519().is_none() {
            return Err(other_type(path, &key));
        }
        let words = passphrase().map_err(|error| IdentityError::NobodyToAsk {
            path: path.to_owned(),
            reason: match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "none was given".to_owned(),
                _ => "there is no terminal to ask for it".to_owned(),
            },
        })?;
        let words = Zeroizing::new(words);
        key = key.decrypt(words.as_bytes()).map_err(|error| {
            IdentityError::form(
                path,
                match error {
                    ssh_key::Error::Encrypted | ssh_key::Error::AlgorithmUnsupported { .. } => {
                        "it is encrypted in a way that is not known here; `ssh-keygen -p -Z \
                         aes256-ctr` changes that"
                    }
                    _ => "the passphrase does not fit",
                },
            )
        })?;
    }
    match key.key_data().ed25519() {
        Some(pair) => Ok(Identity::from_seed(&pair.private.to_bytes())),
        None => Err(other_type(path, &key)),
    }
}

fn damaged(path: &Path) -> IdentityError {
    IdentityError::form(path, "the private key is cut off or damaged; copy the whole file")
}

fn other_type(path: &Path, key: &PrivateKey) -> IdentityError {
    let name = key.algorithm();
    let kind = other_kind(name.as_str()).unwrap_or("a key of another type");
    IdentityError::form(
        path,
        format_args!("{kind}; only ssh-ed25519 works here (`vpn keygen` makes one)"),
    )
}

/// A key in OpenSSH's format as the parser wants it, however it is wrapped and whatever stands around
/// it; `None` if it is something else.
fn normal(bytes: &[u8]) -> Result<Option<Zeroizing<String>>, String> {
    let Ok(text) = files::text_of(bytes) else { return Ok(None) };
    let Some(start) = text.find(BEGIN) else { return Ok(None) };
    let rest = &text[start + BEGIN.len()..];
    let Some(end) = rest.find(END) else {
        return Err("the private key is cut off: its line END is missing".to_owned());
    };
    let count = text.matches(BEGIN).count();
    if count > 1 {
        return Err(format!("{count} private keys in one file; keep one of them"));
    }
    let mut pem = Zeroizing::new(String::with_capacity(2 * text.len() + 128));
    pem.push_str(BEGIN);
    let digits = rest[..end].chars().filter(|c| !c.is_ascii_whitespace());
    for (at, digit) in digits.enumerate() {
        if at % 70 == 0 {
            pem.push('\n');
        }
        pem.push(digit);
    }
    pem.push('\n');
    pem.push_str(END);
    pem.push('\n');
    Ok(Some(pem))
}

/// The public half of a private key in OpenSSH's format, which is not encrypted.
pub(super) fn public_half(bytes: &[u8]) -> Option<PublicKey> {
    let pem = normal(bytes).ok()??;
    let key = PrivateKey::from_openssh(pem.as_bytes()).ok()?;
    let public = key.public_key();
    let bytes = public.key_data().ed25519()?.0;
    Some(PublicKey { bytes, comment: public.comment().to_owned() })
}

/// The error for a file that is no private key in OpenSSH's format, if it is something known.
fn slip(path: &Path, bytes: &[u8]) -> Option<IdentityError> {
    let Ok(text) = files::text_of(bytes) else {
        return what_it_is(bytes).map(|what| IdentityError::form(path, what));
    };
    let is_public = |line: &str| {
        let kind = word(line).0;
        PublicKey::read(line).is_ok() || other_kind(kind).is_some()
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    if text.lines().any(is_public) {
        let half = path.extension().is_some_and(|e| e == "pub").then(|| path.with_extension(""));
        let problem = match half {
            Some(half) => format!("it is the public half; name {}", shown(&half)),
            None if lines.count() == 1 => "it is the public half of a key; name the private one, \
                                           whose name lacks .pub"
                .to_owned(),
            None => "it is a list of public keys; name a private key".to_owned(),
        };
        return Some(IdentityError::form(path, problem));
    }
    what_it_is(bytes).map(|what| IdentityError::form(path, what))
}

/// What a file is that is not in OpenSSH's format, and what to do with it.
pub(super) fn what_it_is(bytes: &[u8]) -> Option<String> {
    let text = match files::text_of(bytes) {
        Ok(text) => text.trim(),
        Err(error) if error.is_utf16 => return Some(error.to_string()),
        Err(_) => return Some("binary data, not a key in OpenSSH's format".to_owned()),
    };
    if text.is_empty() {
        return Some("it is empty".to_owned());
    }
    let converted = "`ssh-keygen -p -f FILE` writes it in OpenSSH's format if it is an Ed25519 key";
    let other = "only ssh-ed25519 works here (`vpn keygen` makes one)";
    let has = |part: &str| text.contains(part);
    Some(if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("-----BEGIN PRIVATE KEY-----") {
        format!("a private key in PKCS#8 form, not OpenSSH's; {converted}")
    } else if has("-----BEGIN RSA PRIVATE KEY-----") {
        format!("an RSA key; {other}")
    } else if has("-----BEGIN EC PRIVATE KEY-----") {
        format!("an ecdsa key; {other}")
    } else if has("-----BEGIN DSA PRIVATE KEY-----") {
        format!("a DSA key; {other}")
    } else if text.starts_with("PuTTY-User-Key-File") {
        "a key of PuTTY; in PuTTYgen choose Conversions, Export OpenSSH key".to_owned()
    } else if has("BEGIN SSH2 PUBLIC KEY") || has("-----BEGIN PUBLIC KEY-----") {
        "a public key in another form than OpenSSH's; name the private key".to_owned()
    } else if has("-----BEGIN CERTIFICATE-----") {
        "a certificate, not a key; `vpn keygen` makes a key".to_owned()
    } else if has("AGE-SECRET-KEY-") {
        "a key of age; `vpn keygen` makes one for this program".to_owned()
    } else if has("[[supported_cipher]]") || has("[[server]]") {
        "a configuration, not a key".to_owned()
    } else if text.len() >= 64 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'\n') {
        "hexadecimal digits, as a PSK has: --psk takes them".to_owned()
    } else if has("OPENSSH PRIVATE KEY") {
        "the private key is cut off or damaged; copy the whole file".to_owned()
    } else {
        "not a key in OpenSSH's format; `vpn keygen` or `ssh-keygen -t ed25519` makes one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::generate;

    fn rewrapped(pem: &str, width: usize, end: &str) -> String {
        let digits: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
        let lines: Vec<&str> =
            digits.as_bytes().chunks(width).map(|c| str::from_utf8(c).unwrap()).collect();
        format!("{BEGIN}{end}{}{end}{END}{end}", lines.join(end))
    }

    #[test]
    fn a_key_is_read_however_it_is_wrapped() {
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
            assert_eq!(public_half(text.as_bytes()), Some(public.clone()), "{text}");
        }
        let two = format!("{}{}", &*pem, &*pem);
        assert!(normal(two.as_bytes()).unwrap_err().contains("2 private keys in one file"));
        let cut = &pem[..200];
        assert!(normal(cut.as_bytes()).unwrap_err().contains("END is missing"));
    }
}
