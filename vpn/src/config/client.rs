//! `client.toml` in the user's folder: servers with a name, and the client's flags for each of them.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::problem::{ConfigError, Fault, Problem};
use super::table::{RawTable, parse};
use super::values::{self, resolved};
use crate::files::{self, FileProblem, Role};
use crate::service::{Endpoint, Forwards, LocalForward, RemoteForward, parse_socks};
use crate::trust::{Host, Pin, ServerName, merge_ports};

/// One table `[[server]]`. Flags of the command line replace its values. Relative paths start from
/// the folder of `client.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// The name of the entry, for `--host`.
    pub name: Host,
    /// The host to connect to.
    pub host: Host,
    /// The TCP port to connect to.
    pub port: Option<u16>,
    /// Whether to speak the sealed profile.
    pub sealed: bool,
    /// The file with the client's private key. The path `none` means that the client shows no key.
    pub identity: Option<PathBuf>,
    /// The file with the pre-shared key.
    pub psk: Option<PathBuf>,
    /// The key that the server must have.
    pub server_key: Option<Pin>,
    /// The configuration with the ciphers to offer.
    pub config: Option<PathBuf>,
    /// The forwards. Those of the command line come on top.
    pub forwards: Forwards,
    /// Whether to connect again when the connection is lost.
    pub reconnect: Option<bool>,
    /// How many sessions carry the channels.
    pub carriers: Option<u8>,
}

/// The entries of `client.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientEntries(Vec<ClientEntry>);

const NAME: &str = "server";
const KEYS: [&str; 13] = [
    "name",
    "host",
    "port",
    "sealed",
    "identity",
    "psk",
    "server_key",
    "config",
    "forward",
    "remote_forward",
    "socks",
    "reconnect",
    "carriers",
];
/// How many sessions may carry the channels of a client.
const CARRIERS: RangeInclusive<u64> = 1..=16;

impl ClientEntries {
    /// Reads the file. If there is no such file, there are no entries.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read, other users could change it, or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let contents = match files::read(path, Role::ClientToml) {
            Err(error) if error.problem == FileProblem::Missing => return Ok(Self::default()),
            contents => contents?,
        };
        let text = contents
            .text()
            .map_err(|error| ConfigError::at(path, error.line, Problem::NotText(error)))?;
        Self::parse_text(text, path)
    }

    /// Reads the text of the file at `path`.
    pub(crate) fn parse_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse(text, path).map_err(|fault| fault.in_file(path, text))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Fault> {
        let mut file = parse(text, &[NAME], &[NAME])?;
        let mut entries: Vec<ClientEntry> = Vec::new();
        for (span, mut table) in file.tables(NAME, &KEYS)? {
            let entry = ClientEntry::read(&span, &mut table, path)?;
            if entries.iter().any(|other| other.name == entry.name) {
                let name = entry.name.to_string();
                return Err(Fault::new(span, Problem::DuplicateServer { name }));
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// The entry with this name.
    pub fn named(&self, name: &Host) -> Option<&ClientEntry> {
        self.0.iter().find(|entry| entry.name == *name)
    }

    /// The name of an entry that requires the sealed profile and may be about this server. An entry
    /// without a port is about all ports of its host.
    pub fn sealed(&self, server: &ServerName) -> Option<&Host> {
        let is_it = |entry: &&ClientEntry| {
            let port = entry.port.unwrap_or_else(|| server.port());
            entry.sealed && ServerName::new(entry.host.clone(), port).may_be(server)
        };
        self.0.iter().find(is_it).map(|entry| &entry.name)
    }
}

impl ClientEntry {
    /// Reads one table. `span` is where it begins, and `path` is the file.
    fn read(span: &Range<usize>, table: &mut RawTable<'_>, path: &Path) -> Result<Self, Fault> {
        let name = read_name(span, table)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let psk = values::path(table, "psk", folder)?;
        let config = values::path(table, "config", folder)?;
        let identity = match table.text("identity")? {
            // As `--identity none`: the client shows no key.
            Some(text) if text.get_ref() == "none" => Some(PathBuf::from("none")),
            text => text.map(|text| resolved(&text, folder)).transpose()?,
        };
        let (host, port) = read_host(table, &name)?;
        let server_key = match table.text("server_key")? {
            None => None,
            Some(text) => {
                let pin = Pin::parse(text.get_ref());
                let wrong = |m| Fault::message(text.span(), format!("server_key: {m}"));
                Some(pin.map_err(wrong)?)
            }
        };
        let forwards = read_forwards(table, folder)?;
        let reconnect = table.flag("reconnect")?;
        let carriers = values::number(table, "carriers", CARRIERS)?;
        let carriers = carriers.and_then(|n| u8::try_from(n).ok());
        let sealed_only = [
            ("forward", !forwards.local.is_empty()),
            ("remote_forward", !forwards.remote.is_empty()),
            ("socks", !forwards.socks.is_empty()),
            ("reconnect", reconnect.is_some()),
            ("carriers", carriers.is_some()),
        ];
        let sealed_only = sealed_only.into_iter().find_map(|(key, is_set)| is_set.then_some(key));
        // The classic profile has no keys and no forwards. It would ignore these silently.
        let has_keys = identity.is_some() || psk.is_some() || server_key.is_some();
        let sealed = match table.flag("sealed")? {
            Some(false) if has_keys => {
                let message = "sealed = false, but there are keys; take out identity, psk and \
                               server_key, or write sealed = true";
                return Err(Fault::message(span.clone(), message));
            }
            Some(false) if let Some(key) = sealed_only => {
                let message = format!(
                    "sealed = false, but {key} is for the sealed profile; take it out, or write \
                     sealed = true"
                );
                return Err(Fault::message(span.clone(), message));
            }
            sealed => sealed.unwrap_or_else(|| has_keys || sealed_only.is_some()),
        };
        Ok(Self {
            name,
            host,
            port,
            sealed,
            identity,
            psk,
            server_key,
            config,
            forwards,
            reconnect,
            carriers,
        })
    }
}

/// Reads `name`. It is a host name or an address, without a port.
fn read_name(span: &Range<usize>, table: &mut RawTable<'_>) -> Result<Host, Fault> {
    let Some(text) = table.text("name")? else {
        let message = "this [[server]] has no name; add a line name = \"…\", for --host";
        return Err(Fault::message(span.clone(), message));
    };
    match parse_host(&text)? {
        (name, None) => Ok(name),
        (_, Some(port)) => {
            let message = format!("a name has no port; write port = {port} on a line of its own");
            Err(Fault::message(text.span(), message))
        }
    }
}

/// Reads `port` and `host`. The default of `host` is the name of the entry. `host` may have a port.
fn read_host(table: &mut RawTable<'_>, name: &Host) -> Result<(Host, Option<u16>), Fault> {
    let port = values::port(table, "port")?;
    let Some(text) = table.text("host")? else { return Ok((name.clone(), port)) };
    let (host, own_port) = parse_host(&text)?;
    let port = merge_ports(text.get_ref(), own_port, port)
        .map_err(|error| Fault::message(text.span(), error.to_string()))?;
    Ok((host, port))
}

/// Reads `forward`, `remote_forward` and `socks`. Relative paths start from `folder`.
fn read_forwards(table: &mut RawTable<'_>, folder: &Path) -> Result<Forwards, Fault> {
    let local = table.texts("forward")?.unwrap_or_default();
    let remote = table.texts("remote_forward")?.unwrap_or_default();
    let socks = table.text_or_texts("socks")?;
    Ok(Forwards {
        local: each(&local, "forward", |spec| LocalForward::parse_in(spec, folder))?,
        remote: each(&remote, "remote_forward", |spec| RemoteForward::parse_in(spec, folder))?,
        socks: each::<Endpoint>(&socks, "socks", parse_socks)?,
    })
}

/// Parses each text of a list. An error names the text.
fn each<T>(
    texts: &[Spanned<String>],
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Fault> {
    let parse = |text: &Spanned<String>| {
        let wrong = |m| Fault::message(text.span(), format!("{key} '{}': {m}", text.get_ref()));
        parse(text.get_ref()).map_err(wrong)
    };
    texts.iter().map(parse).collect()
}

fn parse_host(text: &Spanned<String>) -> Result<(Host, Option<u16>), Fault> {
    Host::parse(text.get_ref()).map_err(|error| Fault::message(text.span(), error.to_string()))
}
