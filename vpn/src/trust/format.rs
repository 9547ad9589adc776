//! What key files look like: the words of a line, the types of keys, and OpenSSH's format of private
//! keys.

use zeroize::Zeroizing;

use crate::files;

/// The only type of key that is supported: Ed25519 (RFC 8709).
pub(super) const KEY_TYPE: &str = "ssh-ed25519";

/// The message about a private key that cannot be decoded.
pub(super) const DAMAGED: &str = "the private key is cut off or damaged; copy the whole file";

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// Splits a line into its first word and the rest. Words are separated by blanks and tabs.
pub(super) fn split_word(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    match line.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (line, ""),
    }
}

/// A description of a key type that is not supported. `None` if the word is no such type.
pub(super) fn other_key_type(word: &str) -> Option<&'static str> {
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

/// Whether a word is the type of a key, supported or not.
pub(super) fn is_key_type(word: &str) -> bool {
    word == KEY_TYPE || other_key_type(word).is_some()
}

/// Finds the private key in a file and wraps it as the parser expects: lines of 70 characters. The
/// file may wrap it differently, and may have other text around it. `None` if there is no private key
/// in OpenSSH's format.
///
/// The error says that the key is incomplete, or that there are several.
pub(super) fn openssh_pem(bytes: &[u8]) -> Result<Option<Zeroizing<String>>, String> {
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

/// Describes a file that is not a key in OpenSSH's format, and says what to do.
pub(super) fn describe_other(bytes: &[u8]) -> String {
    let text = match files::text_of(bytes) {
        Ok(text) => text.trim(),
        Err(error) if error.is_utf16 => return error.to_string(),
        Err(_) => return "binary data, not a key in OpenSSH's format".to_owned(),
    };
    let has = |part: &str| text.contains(part);
    let unsupported =
        |key: &str| format!("{key}; only {KEY_TYPE} works here (`vpn keygen` makes one)");
    if has("-----BEGIN RSA PRIVATE KEY-----") {
        return unsupported("an RSA key");
    }
    if has("-----BEGIN EC PRIVATE KEY-----") {
        return unsupported("an ecdsa key");
    }
    if has("-----BEGIN DSA PRIVATE KEY-----") {
        return unsupported("a DSA key");
    }
    let is_hexadecimal = || text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'\n');
    let description = if text.is_empty() {
        "it is empty"
    } else if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("-----BEGIN PRIVATE KEY-----") {
        "a private key in PKCS#8 form, not OpenSSH's; `ssh-keygen -p -f FILE` writes it in \
         OpenSSH's format if it is an Ed25519 key"
    } else if text.starts_with("PuTTY-User-Key-File") {
        "a key of PuTTY; in PuTTYgen choose Conversions, Export OpenSSH key"
    } else if has("BEGIN SSH2 PUBLIC KEY") || has("-----BEGIN PUBLIC KEY-----") {
        "a public key in another form than OpenSSH's; name the private key"
    } else if has("-----BEGIN CERTIFICATE-----") {
        "a certificate, not a key; `vpn keygen` makes a key"
    } else if has("AGE-SECRET-KEY-") {
        "a key of age; `vpn keygen` makes one for this program"
    } else if has("[[supported_cipher]]") || has("[[server]]") {
        "a configuration, not a key"
    } else if text.len() >= 64 && is_hexadecimal() {
        "hexadecimal digits, as a PSK has: --psk takes them"
    } else if has("OPENSSH PRIVATE KEY") {
        DAMAGED
    } else {
        "not a key in OpenSSH's format; `vpn keygen` or `ssh-keygen -t ed25519` makes one"
    };
    description.to_owned()
}
