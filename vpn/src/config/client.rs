//! `client.toml` in the user's folder: what the client's flags would say for servers with a name.

use std::path::{Path, PathBuf};

use super::settings::{ConfigError, Problem, line_of_bytes};
use super::toml::{Located, Table, parse};
use crate::files::{self, FileProblem, Role};
use crate::trust::{Host, Pin, ServerName, one_port};

/// What is written for one server; the command line comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// What `--host` says.
    pub name: Host,
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: Option<u16>,
    /// Whether to speak the sealed profile.
    pub sealed: bool,
    /// The private key to show it; like other files beside `client.toml` unless absolute.
    pub identity: Option<PathBuf>,
    /// The key shared with it.
    pub psk: Option<PathBuf>,
    /// What its key must be.
    pub server_key: Option<Pin>,
    /// The ciphers to offer it.
    pub config: Option<PathBuf>,
}

/// All servers of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientEntries(Vec<ClientEntry>);

const KNOWN: [&str; 8] =
    ["name", "host", "port", "sealed", "identity", "psk", "server_key", "config"];

impl ClientEntries {
    /// Reads the file; one that does not exist describes nobody.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file, the line and what is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let contents = match files::read(path, Role::ClientToml) {
            Err(error) if error.problem == FileProblem::Missing => return Ok(Self::default()),
            contents => contents?,
        };
        let text = contents
            .text()
            .map_err(|error| ConfigError::at(path, error.line, Problem::NotText(error)))?;
        let at = |(span, problem): Located| {
            ConfigError::at(path, line_of_bytes(text.as_bytes(), span.start), problem)
        };
        let mut file = parse(text, &["server"], "server").map_err(at)?;
        let mut entries: Vec<ClientEntry> = Vec::new();
        for (span, table) in file.tables("server", &KNOWN).map_err(at)? {
            let entry = ClientEntry::read(&span, table, path).map_err(at)?;
            if entries.iter().any(|other| other.name == entry.name) {
                let name = entry.name.to_string();
                return Err(at((span, Problem::ServerTwice { name })));
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// The server of this name.
    pub fn named(&self, name: &Host) -> Option<&ClientEntry> {
        self.0.iter().find(|entry| entry.name == *name)
    }

    /// The name of a server that this may be and that is to be spoken to in the sealed profile only.
    pub fn sealed(&self, server: &ServerName) -> Option<&Host> {
        let is_it = |entry: &&ClientEntry| {
            // Without a port it is whatever port is asked for.
            let port = entry.port.unwrap_or_else(|| server.port());
            entry.sealed && ServerName::new(entry.host.clone(), port).may_be(server)
        };
        self.0.iter().find(is_it).map(|entry| &entry.name)
    }
}

impl ClientEntry {
    fn read(
        span: &std::ops::Range<usize>,
        mut table: Table<'_>,
        path: &Path,
    ) -> Result<Self, Located> {
        let form = |span: std::ops::Range<usize>, words: String| (span, Problem::Form(words));
        let Some(name) = table.text("name")? else {
            let words = "this [[server]] has no name; add a line name = \"…\", for --host";
            return Err(form(span.clone(), words.to_owned()));
        };
        let host = |text: &toml::Spanned<String>| {
            Host::parse(text.get_ref()).map_err(|error| form(text.span(), error.to_string()))
        };
        let (label, none) = host(&name)?;
        if let Some(port) = none {
            let words = format!("a name has no port; write port = {port} on a line of its own");
            return Err(form(name.span(), words));
        }
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let mut file = |key| {
            let Some(text) = table.text(key)? else { return Ok(None) };
            let found = files::resolve(folder, Path::new(text.get_ref()));
            found.map(Some).map_err(|words| form(text.span(), words))
        };
        let (psk, config) = (file("psk")?, file("config")?);
        let identity = match table.text("identity")? {
            // As on the command line: no key is shown.
            Some(text) if text.get_ref() == "none" => Some(PathBuf::from("none")),
            Some(text) => Some(
                files::resolve(folder, Path::new(text.get_ref()))
                    .map_err(|words| form(text.span(), words))?,
            ),
            None => None,
        };
        let mut port = None;
        if let Some(number) = table.number("port")? {
            let found = *number.get_ref();
            port = Some(u16::try_from(found).map_err(|_| {
                let problem = Problem::Number { key: "port", found, range: 0..=65_535 };
                (number.span(), problem)
            })?);
        }
        let at = match table.text("host")? {
            None => label.clone(),
            Some(text) => {
                let (at, own) = host(&text)?;
                port = one_port(text.get_ref(), own, port)
                    .map_err(|error| form(text.span(), error.to_string()))?;
                at
            }
        };
        let server_key = match table.text("server_key")? {
            None => None,
            Some(text) => Some(
                Pin::parse(text.get_ref())
                    .map_err(|words| form(text.span(), format!("server_key: {words}")))?,
            ),
        };
        // Keys are for the sealed profile: the classic one would leave them out without a word.
        let has_keys = identity.is_some() || psk.is_some() || server_key.is_some();
        let sealed = match table.flag("sealed")? {
            Some(false) if has_keys => {
                let words = "sealed = false, but there are keys; take out identity, psk and \
                             server_key, or write sealed = true";
                return Err(form(span.clone(), words.to_owned()));
            }
            sealed => sealed.unwrap_or(has_keys),
        };
        Ok(Self { name: label, host: at, port, sealed, identity, psk, server_key, config })
    }
}
