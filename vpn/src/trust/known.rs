//! `known_servers`: the keys of the servers that a client has met (PROTOCOL.md §4.8).
//!
//! A line is `HOST[:PORT][,HOST…] sealed ssh-ed25519 AAAA…`. The default port is left out. The format
//! follows OpenSSH's known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): several lines for one host are
//! several keys that it may have. Patterns, hashed names and markers are not supported.

use std::path::{Path, PathBuf};

use super::error::TrustError;
use super::format::split_word;
use super::keys::PublicKey;
use super::name::ServerName;
use crate::files::{self, FileProblem, Role};

/// The contents of the file when it was read.
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

/// A key that a server may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The Ed25519 public key.
    pub key: [u8; 32],
    /// The number of its line in the file. The first line is 1.
    pub line: usize,
}

impl KnownServers {
    /// An empty list without a file. Nothing can be added to it.
    pub fn without_file() -> Self {
        Self::default()
    }

    /// Reads the file. If there is no such file, the list is empty. A symbolic link to a missing file
    /// is an error.
    ///
    /// # Errors
    ///
    /// [`TrustError`] if the file exists and cannot be read, other users could change it, or a line is
    /// wrong. A line that can never match a server is wrong too.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let with = |entries| Self { path: Some(path.to_owned()), entries };
        let contents = match files::read(path, Role::KnownServers) {
            Err(error) if error.problem == FileProblem::Missing => return Ok(with(Vec::new())),
            contents => contents?,
        };
        if let Err(error) = contents.text()
            && error.is_utf16
        {
            return Err(TrustError::line(path, error.line, error));
        }
        let bytes = contents.bytes.as_slice();
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            // A comment may have any encoding.
            let line = String::from_utf8_lossy(line);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            let wrong = |problem: String| TrustError::line(path, number, problem);
            check_line_ends(line).map_err(wrong)?;
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                entries.push(parse(line, number).map_err(wrong)?);
            }
        }
        Ok(with(entries))
    }

    /// The keys that this server may have. Empty if the server is not known.
    pub fn keys(&self, name: &ServerName) -> Vec<KnownKey> {
        let is_it = |entry: &&Entry| entry.names.contains(name);
        let known = |entry: &Entry| KnownKey { key: entry.key, line: entry.line };
        self.entries.iter().filter(is_it).map(known).collect()
    }

    /// Whether this may be a server with a known key. The client does not speak the classic profile
    /// with such a server. Zones are ignored, as [`ServerName::may_be`] explains.
    pub fn may_know(&self, name: &ServerName) -> bool {
        self.entries.iter().flat_map(|entry| &entry.names).any(|known| known.may_be(name))
    }

    /// Adds a server and its key to the file. The list in memory does not change.
    ///
    /// # Errors
    ///
    /// [`TrustError`] if there is no file or it cannot be written. A failure leaves the old text whole.
    pub fn add(&self, name: &ServerName, key: [u8; 32]) -> Result<(), TrustError> {
        let path = self.path.as_deref().ok_or_else(|| {
            let problem = "there is no home folder; name a file with --known-servers";
            TrustError::format(Path::new("known_servers"), problem)
        })?;
        let key = PublicKey { bytes: key, comment: String::new() }.to_string();
        let line = format!("{name} sealed {}", key.trim_end());
        Ok(files::append_line(path, Role::KnownServers, &line)?)
    }

    /// The path of the file, for messages.
    pub fn shown(&self) -> String {
        files::shown(self.path.as_deref().unwrap_or_else(|| Path::new("known_servers")))
    }
}

/// Refuses line ends other than those of Unix and Windows. Text editors show a new line there, so the
/// user would believe that the text behind it counts.
fn check_line_ends(line: &str) -> Result<(), String> {
    let is_end =
        |c: char| matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    match line.contains(is_end) {
        true => Err("there is another kind of line end inside this line; save the file with the \
                     line ends of Unix"
            .to_owned()),
        false => Ok(()),
    }
}

/// Reads a line. The error is the message for the user.
fn parse(line: &str, number: usize) -> Result<Entry, String> {
    let (names, rest) = split_word(line);
    if let Some(marker) = names.strip_prefix('@') {
        return Err(format!("the marker '@{marker}' is not supported; take the line out"));
    }
    let (profile, key) = split_word(rest);
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn names(line: &str) -> Vec<String> {
        parse(line, 1).unwrap().names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_may_have_any_blanks_and_spellings_of_a_host() {
        assert_eq!(names(&format!("LocalHost. sealed {KEY} comment here")), ["localhost"]);
        assert_eq!(names(&format!("127.0.0.1:4600\t \tsealed  {KEY}")), ["127.0.0.1"]);
        assert_eq!(names(&format!("a,B:1,[::1]:2 sealed {KEY}")), ["a", "b:1", "[::1]:2"]);
    }

    #[test]
    fn a_line_that_can_never_match_is_refused() {
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
