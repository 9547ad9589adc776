//! Shared keys in hexadecimal.

use std::path::Path;

use zeroize::Zeroizing;

use super::{IdentityError, private};
use crate::files::{self, Role};
use vpn_proto::Printable;
use vpn_proto::sealed::Psk;

/// Reads a PSK: at least 32 bytes in hexadecimal; blanks and line ends between the digits do not
/// count.
///
/// # Errors
///
/// If others could read or replace it, or it is something else.
pub fn read_psk(path: &Path) -> Result<Psk, IdentityError> {
    let contents = files::read(path, Role::Psk)?;
    let text = contents.text().map_err(|error| IdentityError::line(path, error.line, error))?;
    if text.contains("-----BEGIN") || text.contains("ssh-ed25519") {
        let what = "it is a key, not a PSK; --identity takes private keys";
        return Err(IdentityError::form(path, what));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let (mut count, mut high) = (0usize, 0);
    for (number, line) in (1..).zip(text.lines()) {
        for (column, c) in (1..).zip(line.chars()) {
            if c.is_whitespace() {
                continue;
            }
            let Some(digit) = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()) else {
                // A secret is not shown, only what cannot be part of one.
                let problem = match c {
                    'x' | 'X' if count == 1 => "leave out the 0x".to_owned(),
                    '#' => "there are no comments in a PSK; take it out".to_owned(),
                    c if c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=') => format!(
                        "column {column} is no hexadecimal digit (0 to 9, a to f); `openssl rand \
                         -hex 32` makes a PSK"
                    ),
                    c => format!(
                        "'{}' in column {column} is no hexadecimal digit",
                        Printable(c.encode_utf8(&mut [0; 4]).as_bytes())
                    ),
                };
                return Err(IdentityError::line(path, number, problem));
            };
            if count.is_multiple_of(2) {
                high = digit << 4;
            } else {
                bytes.push(high | digit);
            }
            count += 1;
        }
    }
    let least = Psk::MIN_BYTES;
    let problem = if count == 0 {
        "it is empty; `openssl rand -hex 32` makes a PSK".to_owned()
    } else if !count.is_multiple_of(2) {
        format!("an odd number of hexadecimal digits ({count}): one is missing")
    } else if bytes.len() < least {
        format!("too short: {} bytes, at least {least} are needed", bytes.len())
    } else if bytes.iter().all(|b| *b == 0) {
        "all zero is no secret; `openssl rand -hex 32` makes a PSK".to_owned()
    } else {
        match Psk::new(bytes) {
            Some(psk) => return Ok(psk),
            None => "it cannot be used".to_owned(),
        }
    };
    Err(match private::what_it_is(&contents.bytes) {
        Some(what) if what.contains("UTF-16") => IdentityError::form(path, what),
        _ => IdentityError::form(path, problem),
    })
}
