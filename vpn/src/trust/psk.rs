//! Pre-shared keys (PSKs) in hexadecimal.

use std::path::Path;

use zeroize::Zeroizing;

use super::error::TrustError;
use crate::files::{self, Role};
use vpn_proto::Printable;
use vpn_proto::sealed::Psk;

/// Reads a PSK: at least [`Psk::MIN_BYTES`] bytes in hexadecimal. Blanks and line ends between the
/// digits are ignored.
///
/// # Errors
///
/// [`TrustError`] if other users could read or replace the file, or it is not a PSK.
pub fn read_psk(path: &Path) -> Result<Psk, TrustError> {
    let contents = files::read(path, Role::Psk)?;
    let text = contents.text().map_err(|error| TrustError::line(path, error.line, error))?;
    if text.contains("-----BEGIN") || text.contains("ssh-ed25519") {
        let problem = "it is a key, not a PSK; --identity takes private keys";
        return Err(TrustError::format(path, problem));
    }
    let digits = hex_digits(text).map_err(|(line, p)| TrustError::line(path, line, p))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    bytes.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    let problem = if digits.is_empty() {
        "it is empty; `openssl rand -hex 32` makes a PSK".to_owned()
    } else if !digits.len().is_multiple_of(2) {
        format!("an odd number of hexadecimal digits ({}): one is missing", digits.len())
    } else if bytes.len() < Psk::MIN_BYTES {
        format!("too short: {} bytes, at least {} are needed", bytes.len(), Psk::MIN_BYTES)
    } else if bytes.iter().all(|b| *b == 0) {
        "all zero is no secret; `openssl rand -hex 32` makes a PSK".to_owned()
    } else {
        match Psk::new(bytes) {
            Some(psk) => return Ok(psk),
            None => "it cannot be used".to_owned(),
        }
    };
    Err(TrustError::format(path, problem))
}

/// The values of the hexadecimal digits of a text. The error has the number of the line, from 1.
fn hex_digits(text: &str) -> Result<Zeroizing<Vec<u8>>, (usize, String)> {
    // A vector that grows would leave copies of the secret in memory.
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    for (number, line) in (1..).zip(text.lines()) {
        for (column, c) in (1..).zip(line.chars()) {
            if c.is_whitespace() {
                continue;
            }
            match c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()) {
                Some(digit) => digits.push(digit),
                None => return Err((number, not_a_digit(c, column, digits.len()))),
            }
        }
    }
    Ok(digits)
}

/// The message about a character that is no hexadecimal digit. It shows the character only if it
/// cannot be part of a secret. `count` is the number of digits before it.
fn not_a_digit(c: char, column: usize, count: usize) -> String {
    match c {
        'x' | 'X' if count == 1 => "leave out the 0x".to_owned(),
        '#' => "there are no comments in a PSK; take it out".to_owned(),
        c if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') => format!(
            "column {column} is no hexadecimal digit (0 to 9, a to f); `openssl rand -hex 32` makes \
             a PSK"
        ),
        c => format!(
            "'{}' in column {column} is no hexadecimal digit",
            Printable(c.encode_utf8(&mut [0; 4]).as_bytes())
        ),
    }
}
