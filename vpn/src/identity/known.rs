//! `known_servers`: which key a server had when it was first met.
//!
//! A line is `host[:port] sealed ssh-ed25519 AAAA…`; the port is left out if it is the usual one.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::keys::PublicKey;
use super::{IdentityError, check_mode, create_folder};
use crate::config::DEFAULT_PORT;
use crate::net::endpoint;

/// The file, as it was when it was read.
#[derive(Clone, Debug)]
pub struct KnownServers {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    host: String,
    key: [u8; 32],
    line: usize,
}

/// What is known of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It had this key.
    Known {
        /// The key.
        key: [u8; 32],
        /// The line that says so.
        line: usize,
    },
    /// It was never met.
    Unknown,
}

impl KnownServers {
    /// Reads the file; one that does not exist knows nobody.
    ///
    /// # Errors
    ///
    /// If others could write it, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => {
                check_mode(path, 0o022, "writable", "644")?;
                text.map_err(IdentityError::io(path))?
            }
        };
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let entry = match (words.next(), words.next(), words.next()) {
                (Some(host), Some("sealed"), Some(key)) => {
                    let host = host.to_owned();
                    PublicKey::parse(key).map(|key| Entry { host, key: key.bytes, line: number })
                }
                _ => None,
            };
            entries.push(entry.ok_or_else(|| IdentityError::Line {
                path: path.to_owned(),
                line: number,
                problem: "expected HOST[:PORT] sealed ssh-ed25519 KEY".to_owned(),
            })?);
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// What is known of this server.
    pub fn standing(&self, host: &str, port: u16) -> Standing {
        let name = name_of(host, port);
        let found = self.entries.iter().find(|entry| entry.host == name);
        found
            .map_or(Standing::Unknown, |entry| Standing::Known { key: entry.key, line: entry.line })
    }

    /// Remembers a server.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn remember(&self, host: &str, port: u16, key: [u8; 32]) -> Result<(), IdentityError> {
        if let Some(folder) = self.path.parent().filter(|f| !f.as_os_str().is_empty()) {
            create_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(&self.path).map_err(IdentityError::io(&self.path))?;
        let key = PublicKey { bytes: key, comment: String::new() }.to_string();
        let line = format!("{} sealed {}\n", name_of(host, port), key.trim_end());
        file.write_all(line.as_bytes()).map_err(IdentityError::io(&self.path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn name_of(host: &str, port: u16) -> String {
    if port == DEFAULT_PORT { host.to_owned() } else { endpoint(host, port) }
}
