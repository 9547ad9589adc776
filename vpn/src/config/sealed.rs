//! The table `[sealed]`: keys, clients and services of the sealed profile (PROTOCOL.md §4). The flags
//! of `vpn server` and `vpn client` replace its values.

use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::problem::Fault;
use super::section::{Context, Section};
use super::table::RawTable;
use super::values::{choice, one_of, path, resolved};
use crate::service;
use vpn_proto::EnabledSuite;
use vpn_proto::sealed::Kex;

/// The values of `[sealed]`. Relative paths start from the folder of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedTable {
    /// The file with the private key of the server.
    pub identity: Option<PathBuf>,
    /// The file that lists the clients that may connect.
    pub authorized_clients: Option<PathBuf>,
    /// The files with pre-shared keys.
    pub psk: Vec<PathBuf>,
    /// Whether `gate` is `required`: a client must prove in its first message that it knows the key
    /// of the server or a PSK (PROTOCOL.md §4.7).
    pub is_gate_required: bool,
    /// The service that the server offers, by the name of its server end. `None` means the usual one.
    pub service: Option<&'static str>,
    /// Whether the server speaks the classic profile too, if the file has the key.
    pub classic: Option<bool>,
    /// Whether ciphers with 64-bit blocks are allowed.
    pub allow_64bit: bool,
    /// The key exchanges, the best one first. An empty list means all of them.
    pub kex: Vec<Kex>,
    /// The keys that the file has, in the order of their lines.
    pub lines: Vec<KeyLine>,
}

/// A key of a table and its line in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    /// The name of the key.
    pub key: String,
    /// The number of the line. The first line is 1.
    pub line: usize,
}

impl Section for SealedTable {
    const NAME: &'static str = "sealed";
    const KEYS: &'static [&'static str] = &[
        "identity",
        "authorized_clients",
        "psk",
        "gate",
        "service",
        "classic",
        "allow_64bit",
        "kex",
    ];

    fn read(file: &mut RawTable<'_>, context: &Context<'_>) -> Result<Self, Fault> {
        let table = &mut file.table(Self::NAME, Self::KEYS)?;
        let folder = context.source.folder();
        let line = |(key, span)| KeyLine { key, line: context.line(&span) };
        let mut lines: Vec<KeyLine> = table.spans().into_iter().map(line).collect();
        lines.sort_by_key(|key| key.line);
        let psk = table.texts("psk")?.unwrap_or_default();
        let gates = [("optional", false), ("required", true)];
        let services: Vec<_> = service::ends().map(|(name, _)| (name, name)).collect();
        Ok(Self {
            identity: path(table, "identity", folder)?,
            authorized_clients: path(table, "authorized_clients", folder)?,
            psk: psk.iter().map(|name| resolved(name, folder)).collect::<Result<_, _>>()?,
            is_gate_required: choice(table, "gate", &gates)?.unwrap_or(false),
            service: choice(table, "service", &services)?,
            classic: table.flag("classic")?,
            allow_64bit: table.flag("allow_64bit")?.unwrap_or(false),
            kex: kex(&table.texts("kex")?.unwrap_or_default())?,
            lines,
        })
    }

    fn needs_trust(&self) -> bool {
        !self.lines.is_empty()
    }
}

impl SealedTable {
    /// The suites among these that sealed sessions may use. Those with 64-bit blocks need this
    /// table's `allow_64bit`, or the caller's.
    pub fn suites(&self, enabled: &[EnabledSuite], allow_64bit: bool) -> Arc<[EnabledSuite]> {
        let allow_64bit = allow_64bit || self.allow_64bit;
        let is_allowed = |suite: &&EnabledSuite| allow_64bit || suite.suite.block_size() > 8;
        enabled.iter().filter(is_allowed).cloned().collect()
    }

    /// The key exchanges, the best one first: the caller's, or else those of this table, or else all.
    pub fn key_exchanges(&self, named: &[Kex]) -> Vec<Kex> {
        let lists = [named, self.kex.as_slice()];
        let list = lists.into_iter().find(|list| !list.is_empty());
        list.map_or_else(|| Kex::ALL.to_vec(), <[Kex]>::to_vec)
    }
}

/// Reads a list of key exchanges. A name that is listed again is left out.
fn kex(names: &[Spanned<String>]) -> Result<Vec<Kex>, Fault> {
    let possible = Kex::ALL.map(|kex| (kex.name(), kex));
    let mut list = Vec::new();
    for name in names {
        let kex = one_of(name, "kex", &possible)?;
        if !list.contains(&kex) {
            list.push(kex);
        }
    }
    Ok(list)
}
