//! `known_servers`: which keys a server had when it was first met.
//!
//! A line is `HOST[:PORT][,HOST…] sealed ssh-ed25519 AAAA…`; the port is left out if it is the usual
//! one. Several lines for one host are several keys that it may have, as in OpenSSH.

use std::path::{Path, PathBuf};

use super::IdentityError;
use super::keys::PublicKey;
use super::name::ServerName;
use crate::files::{self, FileProblem, Role};

/// The file, as it was when it was read.
#[derive(Clone, Debug, Default)]
pub struct KnownServers {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    names: Vec<ServerName>,
    key: [u8; 32],
    line: usize,
}

/// A key that a server is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The key.
    pub key: [u8; 32],
    /// The line that says so.
    pub line: usize,
}

impl KnownServers {
    /// Knows nobody, and cannot remember anybody.
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// Reads the file; one that does not exist knows nobody. (A link to a file that does not exist
    /// is an error.)
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read in full: also if others could write it, a line is wrong, or a
    /// line can never match.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let nobody = Self { path: Some(path.to_owned()), entries: Vec::new() };
        let contents = match files::read(path, Role::KnownServers) {
            Err(error) if error.problem == FileProblem::Missing => return Ok(nobody),
            contents => contents?,
        };
        if let Err(error) = contents.text()
            && error.is_utf16
        {
            return Err(IdentityError::line(path, error.line, error));
        }
        let bytes = contents.bytes.as_slice();
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            // A comment may be in whatever encoding.
            let line = String::from_utf8_lossy(line);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            // Other programs take these for the end of a line, and what stands behind it would be lost.
            let is_end = |c: char| {
                matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
            };
            if line.contains(is_end) {
                let problem = "there is another kind of line end inside this line; save the file \
                               with the line ends of Unix";
                return Err(IdentityError::line(path, number, problem));
            }
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = parse(line, number);
            entries.push(entry.map_err(|problem| IdentityError::line(path, number, problem))?);
        }
        Ok(Self { path: Some(path.to_owned()), entries })
    }

    /// The keys of this server.
    pub fn keys(&self, name: &ServerName) -> Vec<Known> {
        let is_it = |entry: &&Entry| entry.names.contains(name);
        let known = |entry: &Entry| Known { key: entry.key, line: entry.line };
        self.entries.iter().filter(is_it).map(known).collect()
    }

    /// Whether this may be a server that has a key: such a one is not talked to in the clear.
    pub fn has(&self, name: &ServerName) -> bool {
        self.entries.iter().flat_map(|entry| &entry.names).any(|known| known.may_be(name))
    }

    /// Remembers a server.
    ///
    /// # Errors
    ///
    /// If the file cannot be written; what it said before is whole then.
    pub fn remember(&self, name: &ServerName, key: [u8; 32]) -> Result<(), IdentityError> {
        let path = self.path.as_deref().ok_or_else(|| {
            let problem = "there is no home folder; name a file with --known-servers";
            IdentityError::form(Path::new("known_servers"), problem)
        })?;
        let key = PublicKey { bytes: key, comment: String::new() }.to_string();
        let line = format!("{name} sealed {}", key.trim_end());
        Ok(files::append_line(path, Role::KnownServers, &line)?)
    }

    /// Where it is, for messages.
    pub fn shown(&self) -> String {
        files::shown(self.path.as_deref().unwrap_or_else(|| Path::new("known_servers")))
    }
}

fn parse(line: &str, number: usize) -> Result<Entry, String> {
    let (names, rest) = word(line);
    if let Some(marker) = names.strip_prefix('@') {
        return Err(format!("the marker '@{marker}' is not supported; take the line out"));
    }
    let (profile, key) = word(rest);
    if profile != "sealed" {
        let form = "expected HOST[:PORT] sealed ssh-ed25519 KEY";
        return Err(match PublicKey::read(rest) {
            Ok(_) => format!("{form}; the word 'sealed' is missing"),
            Err(_) => form.to_owned(),
        });
    }
    let key = PublicKey::read(key)?.bytes;
    let names = names.split(',').map(|name| {
        if name.starts_with('|') {
            return Err("names in hashed form are not supported; write the name itself".to_owned());
        }
        if let Some(name) = name.strip_prefix('!') {
            return Err(format!("'!{name}': exceptions are not supported; take it out"));
        }
        ServerName::parse(name, None).map_err(|error| error.to_string())
    });
    Ok(Entry { names: names.collect::<Result<_, _>>()?, key, line: number })
}

/// The first word of a line, and what stands behind it.
pub(super) fn word(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    match line.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (line, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn names(line: &str) -> Vec<String> {
        parse(line, 1).unwrap().names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_read_however_they_are_spaced_and_spelt() {
        assert_eq!(names(&format!("LocalHost. sealed {KEY} comment here")), ["localhost"]);
        assert_eq!(names(&format!("127.0.0.1:4600\t \tsealed  {KEY}")), ["127.0.0.1"]);
        assert_eq!(names(&format!("a,B:1,[::1]:2 sealed {KEY}")), ["a", "b:1", "[::1]:2"]);
    }

    #[test]
    fn what_can_never_match_is_refused() {
        for (line, words) in [
            (format!("*.example.org sealed {KEY}"), "patterns are not supported"),
            (format!("!a,b sealed {KEY}"), "exceptions are not supported"),
            (format!("|1|abc=|def= sealed {KEY}"), "hashed form"),
            (format!("@revoked a sealed {KEY}"), "the marker '@revoked' is not supported"),
            (format!("a {KEY}"), "the word 'sealed' is missing"),
            ("a sealed".to_owned(), "the key is missing"),
            ("a sealed ssh-ed25519 AAAA".to_owned(), "the key is cut off or damaged"),
            ("a sealed ssh-rsa AAAA".to_owned(), "an RSA key; only ssh-ed25519 works here"),
            (format!("http://a sealed {KEY}"), "leave out 'http://'"),
            ("hello".to_owned(), "expected HOST[:PORT] sealed"),
        ] {
            let error = parse(&line, 1).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
