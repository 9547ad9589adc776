//! `client.toml` in the user's folder: what the client's flags would say for servers with a name.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::settings::{ConfigError, Problem, line_of_bytes, one_line};

/// What is written for one server; the command line comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// What `--host` says.
    pub name: String,
    /// Where it is, if that is not its name.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Whether to speak the sealed profile.
    #[serde(default)]
    pub sealed: bool,
    /// The private key to show it; like other files beside `client.toml` unless absolute.
    pub identity: Option<PathBuf>,
    /// The key shared with it.
    pub psk: Option<PathBuf>,
    /// The fingerprint that its key must have.
    pub server_key: Option<String>,
    /// The ciphers to offer it.
    pub config: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: Vec<Spanned<ClientEntry>>,
}

impl ClientEntry {
    /// What the file says for this name; nothing if there is no file or no such name in it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file, the line and what is wrong.
    pub fn find(path: &Path, name: &str) -> Result<Option<Self>, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let (path, kind) = (path.to_owned(), error.kind());
                return Err(ConfigError::Unreadable { path, kind });
            }
        };
        let at = |start: usize, problem| ConfigError::Problem {
            path: path.to_owned(),
            line: line_of_bytes(text.as_bytes(), start),
            problem,
        };
        let file: File = toml::from_str(&text).map_err(|error| {
            let start = error.span().unwrap_or_default().start;
            at(start, Problem::Syntax(one_line(error.message())))
        })?;
        let mut found = None;
        for entry in file.server {
            let start = entry.span().start;
            if entry.get_ref().name == name && found.replace(entry.into_inner()).is_some() {
                return Err(at(start, Problem::ServerTwice { name: name.to_owned() }));
            }
        }
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let beside = |file: PathBuf| folder.join(file);
        Ok(found.map(|entry| Self {
            identity: entry.identity.map(beside),
            psk: entry.psk.map(beside),
            config: entry.config.map(beside),
            ..entry
        }))
    }
}
