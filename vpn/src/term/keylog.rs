//! A file with the keys of sessions, to read recorded traffic (PROTOCOL.md §3.10 and §4.8).

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::files::{FileError, Role, io_message, open_append};
use crate::net::LoggedSecrets;
use vpn_proto::classic::{Chaining, Established};

/// How many digits of a public value identify a session in a recording.
const DIGITS: usize = 40;

/// An open key log. With it, anybody can read the sessions in it.
#[derive(Clone, Debug)]
pub struct KeyLog(Arc<Mutex<File>>);

impl KeyLog {
    /// Opens a file to append to. Only its owner may read it.
    ///
    /// # Errors
    ///
    /// If the file is a symbolic link or cannot be opened, or if others can read it and this cannot
    /// be changed.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self(Arc::new(Mutex::new(open_append(path, Role::KeyLog)?))))
    }

    /// Appends the line of a classic session (PROTOCOL.md §3.10).
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn record(&self, session: &Established) -> io::Result<()> {
        let line = line(session);
        // Each line is one write, so a write that failed before does not damage it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }

    /// Appends secrets of a sealed session to a log, if there is one. A failure is only logged,
    /// because the session is more important.
    pub(crate) fn write(log: Option<&Self>, secrets: &LoggedSecrets<'_>) {
        if let Some(Err(error)) = log.map(|log| log.record_sealed(secrets)) {
            log::error!("cannot write to the key log: {}", io_message(&error));
        }
    }

    /// Appends secrets of a sealed session (PROTOCOL.md §4.8).
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn record_sealed(&self, secrets: &LoggedSecrets<'_>) -> io::Result<()> {
        let mut lines = Zeroizing::new(String::with_capacity(512));
        for (label, secret) in secrets.labels.iter().zip(secrets.secrets) {
            lines.push_str(label);
            lines.push(' ');
            push_hex(&mut lines, &secrets.client_random);
            lines.push(' ');
            push_hex(&mut lines, secret);
            lines.push('\n');
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(lines.as_bytes())
    }
}

fn line(session: &Established) -> Zeroizing<String> {
    // It has room for the whole line: a string that grows leaves copies in memory.
    let mut line = Zeroizing::new(String::with_capacity(512));
    let cbc = match session.dialect.chaining {
        Chaining::Chain => "chain",
        Chaining::Restart => "restart",
    };
    let (suite, bits) = (session.id.suite.name(), session.id.size.bits());
    for part in ["CLASSIC ", tail(&session.client_share), " ", tail(&session.server_share), " "] {
        line.push_str(part);
    }
    line.push_str(&format!("{suite} {bits} {cbc} "));
    push_hex(&mut line, &session.keys.key);
    line.push(' ');
    push_hex(&mut line, &session.keys.iv);
    line.push('\n');
    line
}

/// The last digits of a public value.
fn tail(digits: &str) -> &str {
    &digits[digits.len().saturating_sub(DIGITS)..]
}

/// Appends bytes in lower-case hexadecimal, without a copy that is not wiped.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
        }
    }
}
