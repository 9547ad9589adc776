//! The configuration, checked against the linked suites and resolved.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use vpn_suite::Registry;

use super::ciphers::enable;
use super::file;
use super::toml::Located;
use crate::files::{self, Contents, FileError, FileProblem, NotText, Role, shown};
use crate::net::Network;
use crate::net::limits::Limits;
use crate::service;
use vpn_proto::classic::{
    Chaining, ClassicParams, Dialect, DialectPlan, LineEnd, MacRule, ReplyForm, Strip, Telling,
    Timing,
};
use vpn_proto::sealed::Kex;
use vpn_proto::{EnabledSuite, Group, Printable, Separator};

/// The file that server and client read when no other is named.
pub const DEFAULT_PATH: &str = "server_cipher.toml";
/// What holds when [`DEFAULT_PATH`] does not exist: the file as it is shipped.
pub const BUILT_IN: &str = include_str!("../../../server_cipher.toml");

/// A configuration with which server and client can work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it came from.
    pub source: Source,
    /// The suites enabled, in order of preference.
    pub enabled: Arc<[EnabledSuite]>,
    /// The lines where their keys are listed, in the same order.
    pub key_lines: Vec<usize>,
    /// How classic peers speak.
    pub plan: DialectPlan,
    /// How long silence has to last to mean something.
    pub timing: Timing,
    /// The address to listen on, if the file names one.
    pub host: Option<String>,
    /// The port to listen on, if the file names one.
    pub port: Option<u16>,
    /// What a peer may use up.
    pub limits: Limits,
    /// Whom the limits of single sources do not concern.
    pub exempt: Vec<Network>,
    /// The table `[sealed]`.
    pub sealed: SealedSettings,
    /// Why the table `[sealed]` is not to be trusted, if that is so: others could have written it.
    pub distrust: Option<FileError>,
}

/// The sealed profile as a configuration has it; the command line comes first. Paths are relative to
/// the configuration's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedSettings {
    /// The server's private key.
    pub identity: Option<PathBuf>,
    /// Who may come in.
    pub authorized_clients: Option<PathBuf>,
    /// Shared keys.
    pub psk: Vec<PathBuf>,
    /// Whether the gate is required.
    pub is_gate_required: bool,
    /// The service that is offered, by the name of its server's end; the usual one if none is set.
    pub service: Option<&'static str>,
    /// Whether the classic profile is spoken too, if that is said.
    pub classic: Option<bool>,
    /// Whether suites with 64-bit blocks are used.
    pub allow_64bit: bool,
    /// The key exchanges, best first; none for all of them.
    pub kex: Vec<Kex>,
    /// Each setting of the table, in order of lines.
    pub set: Vec<Set>,
}

/// A setting that a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
}

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `dialect` of the table `[classic]`.
    pub dialect: Option<String>,
    /// `group` of the table `[classic]`.
    pub group: Option<u8>,
}

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default of this program; [`DEFAULT_PATH`] does not exist.
    BuiltIn,
    /// This file.
    File(PathBuf),
}

impl Settings {
    /// Reads `path`, or [`DEFAULT_PATH`] if that exists, or else the built-in default.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the file, the line, what was found and what is possible.
    pub fn load(
        path: Option<&Path>,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::from_file(path, registry, overrides),
            None => match Self::from_file(Path::new(DEFAULT_PATH), registry, overrides) {
                Err(ConfigError::File(error)) if error.problem == FileProblem::Missing => {
                    let folder = std::env::current_dir().unwrap_or_default();
                    log::info!(
                        "no {DEFAULT_PATH} in {}: using the built-in default",
                        shown(&folder)
                    );
                    Self::parse(BUILT_IN, Source::BuiltIn, registry, overrides)
                }
                loaded => loaded,
            },
        }
    }

    /// The built-in configuration, for the suites that are linked.
    ///
    /// # Errors
    ///
    /// If none of its suites is linked.
    pub fn built_in(registry: &Registry) -> Result<Self, ConfigError> {
        Self::parse(BUILT_IN, Source::BuiltIn, registry, &Overrides::default())
    }

    fn from_file(
        path: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let contents: Contents = files::read(path, Role::Config)?;
        let text = contents
            .text()
            .map_err(|error| ConfigError::at(path, error.line, Problem::NotText(error)))?;
        log::debug!("configuration: {}", shown(path));
        let source = Source::File(path.to_owned());
        let mut settings = Self::parse(text, source, registry, overrides)?;
        if !settings.sealed.set.is_empty() {
            let distrust =
                |problem| FileError { role: Role::Config, path: path.to_owned(), problem };
            settings.distrust = contents.trust.err().map(distrust);
        }
        Ok(settings)
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn parse(
        text: &str,
        source: Source,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let path = match &source {
            Source::BuiltIn => Path::new("built-in server_cipher.toml"),
            Source::File(path) => path,
        };
        let at = |span: Range<usize>, problem: Problem| {
            ConfigError::at(path, line_of_bytes(text.as_bytes(), span.start), problem)
        };
        let mut file = file::File::read(text).map_err(|(s, p)| at(s, p))?;
        if source == Source::BuiltIn {
            // A program may be built without some of the suites that are usual.
            let is_linked = |name: &str| registry.find_ignoring_case(name).is_some();
            file.supported_cipher.retain(|c| is_linked(c.name.get_ref()));
            if file.supported_cipher.is_empty() {
                let linked = registry.names().collect::<Vec<_>>().join(", ");
                return Err(at(0..0, Problem::NothingBuiltIn { linked }));
            }
        }
        let enabled = enable(&file.supported_cipher, registry).map_err(|(s, p)| at(s, p))?;
        let line_of = |keys: &Spanned<_>| line_of_bytes(text.as_bytes(), keys.span().start);
        let key_lines = file.supported_cipher.iter().map(|c| line_of(&c.keys)).collect();
        if let Some(dialect) = &overrides.dialect {
            file.classic.dialect = Some(Spanned::new(0..0, dialect.clone()));
        }
        if let Some(group) = overrides.group {
            file.classic.group = Some(Spanned::new(0..0, group.into()));
        }
        let plan = plan(&file.classic).map_err(|(s, p)| at(s, p))?;
        let mut timing = Timing::default();
        let mut limits = Limits::default();
        let mut port = None;
        let mut numbers = || -> Result<(), Located> {
            if let Some(ms) = number(file.classic.quiet_ms.as_ref(), "quiet_ms", 1..=60_000)? {
                timing.quiet = Duration::from_millis(ms);
                timing.settled = timing.settled.min(timing.quiet);
            }
            let limit = |key, range| number(file.limits.get(key), key, range);
            let seconds = |key, least, most, into: &mut Duration| {
                if let Some(s) = limit(key, least..=most)? {
                    *into = Duration::from_secs(s);
                }
                Ok::<_, Located>(())
            };
            let count = |key, range, into: &mut usize| {
                if let Some(n) = limit(key, range)? {
                    *into = to_usize(n);
                }
                Ok::<_, Located>(())
            };
            const DAY: u64 = 86_400;
            seconds("message_seconds", 1, DAY, &mut timing.message)?;
            seconds("handshake_seconds", 1, DAY, &mut limits.handshake)?;
            seconds("idle_seconds", 1, 365 * DAY, &mut limits.idle)?;
            count("sessions", 1..=1_000_000, &mut limits.sessions)?;
            count("message_bytes", 16..=16_777_216, &mut limits.message)?;
            count("dh_workers", 1..=256, &mut limits.dh_workers)?;
            count("queue", 1..=65_536, &mut limits.queue)?;
            seconds("first_byte_seconds", 1, DAY, &mut limits.first_byte)?;
            seconds("sealed_handshake_seconds", 1, DAY, &mut limits.sealed_handshake)?;
            seconds("keepalive_seconds", 1, DAY, &mut limits.keepalive)?;
            count("message_memory", 4_194_304..=1 << 36, &mut limits.message_memory)?;
            // Never later than the profile wants.
            if let Some(n) = limit("rekey_bytes", 65_536..=1 << 36)? {
                limits.rekey.0 = Some(n);
            }
            if let Some(s) = limit("rekey_seconds", 1..=3600)? {
                limits.rekey.1 = Some(Duration::from_secs(s));
            }
            let sources = &mut limits.sources;
            let authentication = &mut sources.penalty_authentication;
            seconds("penalty_authentication_seconds", 0, DAY, authentication)?;
            seconds("penalty_none_seconds", 0, DAY, &mut sources.penalty_none)?;
            seconds("penalty_protocol_seconds", 0, DAY, &mut sources.penalty_protocol)?;
            seconds("penalty_cap_seconds", 0, DAY, &mut sources.penalty_cap)?;
            seconds("penalty_min_seconds", 0, DAY, &mut sources.penalty_min)?;
            count("half_open", 1..=1_000_000, &mut sources.half_open)?;
            if let Some(n) = limit("new_per_minute", 1..=1_000_000)? {
                sources.new_per_minute = u32::try_from(n).unwrap_or(u32::MAX);
            }
            if let Some(three) = &file.limits.1.early_drop {
                sources.early_drop = early_drop(three)?;
            }
            let p = number(file.server.port.as_ref(), "port", 0..=65_535)?;
            port = p.and_then(|p| u16::try_from(p).ok());
            Ok(())
        };
        numbers().map_err(|(s, p)| at(s, p))?;
        let mut sealed = sealed(&file.sealed, path).map_err(|(s, p)| at(s, p))?;
        sealed.set = file
            .sealed
            .places
            .iter()
            .map(|(key, span)| Set {
                key: key.clone(),
                line: line_of_bytes(text.as_bytes(), span.start),
            })
            .collect();
        sealed.set.sort_by_key(|set| set.line);
        let exempt = exempt(file.limits.1.exempt.as_deref()).map_err(|(s, p)| at(s, p))?;
        let host = file.server.host.map(Spanned::into_inner);
        Ok(Self {
            source,
            enabled,
            key_lines,
            plan,
            timing,
            host,
            port,
            limits,
            exempt,
            sealed,
            distrust: None,
        })
    }

    /// What to change so that a suite of the sealed profile, `aes-256-cbc`, is enabled here: the
    /// very line, as far as there is one.
    pub fn how_to_enable(&self, suite: &str) -> String {
        let parts: Vec<&str> = suite.rsplitn(3, '-').collect();
        let &[_, bits, name] = parts.as_slice() else {
            return format!("enable {suite}");
        };
        let listed = self.enabled.iter().position(|e| e.suite.name().eq_ignore_ascii_case(name));
        let line = listed.and_then(|at| self.key_lines.get(at));
        match (&self.source, line) {
            (Source::File(path), Some(line)) => {
                format!("add {bits} to keys in {}:{line}", shown(path))
            }
            (Source::File(path), None) => format!(
                "add to {}: [[supported_cipher]] name = \"{name}\", keys = [{bits}]",
                shown(path)
            ),
            (Source::BuiltIn, _) => format!(
                "write {DEFAULT_PATH} (`vpn suites --show-config` prints a start) with \
                 [[supported_cipher]] name = \"{name}\", keys = [{bits}]"
            ),
        }
    }

    /// What a classic handshake of either role needs.
    pub fn classic(&self) -> ClassicParams {
        ClassicParams {
            enabled: self.enabled.clone(),
            plan: self.plan,
            timing: self.timing,
            message_limit: self.limits.message,
            telling: Telling::Nothing,
        }
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn number(
    value: Option<&Spanned<i64>>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Located> {
    let Some(value) = value else { return Ok(None) };
    match u64::try_from(*value.get_ref()) {
        Ok(n) if range.contains(&n) => Ok(Some(n)),
        _ => Err((value.span(), Problem::Number { key, found: *value.get_ref(), range })),
    }
}

fn early_drop(value: &Spanned<Vec<Spanned<i64>>>) -> Result<(usize, u32, usize), Located> {
    let numbers: Vec<i64> = value.get_ref().iter().map(|n| *n.get_ref()).collect();
    let [start, rate, full] = *numbers else { return Err((value.span(), Problem::EarlyDrop)) };
    let number = |n: i64| usize::try_from(n).ok();
    match (number(start), u32::try_from(rate), number(full)) {
        (Some(start), Ok(rate @ 0..=100), Some(full)) if start < full => Ok((start, rate, full)),
        _ => Err((value.span(), Problem::EarlyDrop)),
    }
}

/// Unless the configuration says otherwise, this machine: who uses it from here cannot be told apart
/// by address, and one user's mistakes must not lock out the others.
fn exempt(list: Option<&[Spanned<String>]>) -> Result<Vec<Network>, Located> {
    let Some(list) = list else {
        return Ok(["127.0.0.0/8", "::1"].into_iter().filter_map(Network::parse).collect());
    };
    let network = |text: &Spanned<String>| {
        let found = || (text.span(), Problem::Network { found: text.get_ref().clone() });
        Network::parse(text.get_ref()).ok_or_else(found)
    };
    list.iter().map(network).collect()
}

fn sealed(table: &file::Sealed, path: &Path) -> Result<SealedSettings, Located> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let beside = |name: &Spanned<String>| {
        files::resolve(folder, Path::new(name.get_ref()))
            .map_err(|words| (name.span(), Problem::Form(words)))
    };
    let gates = [("optional", false), ("required", true)];
    let services: Vec<_> = service::ends().map(|(name, _)| (name, name)).collect();
    Ok(SealedSettings {
        identity: table.identity.as_ref().map(beside).transpose()?,
        authorized_clients: table.authorized_clients.as_ref().map(beside).transpose()?,
        psk: table.psk.iter().map(beside).collect::<Result<_, _>>()?,
        is_gate_required: pick(&table.gate, "gate", &gates)?.unwrap_or(false),
        service: pick(&table.service, "service", &services)?,
        classic: table.classic,
        allow_64bit: table.allow_64bit == Some(true),
        kex: kex(table.kex.as_deref().unwrap_or_default())?,
        set: Vec::new(),
    })
}

fn kex(names: &[Spanned<String>]) -> Result<Vec<Kex>, Located> {
    let possible = Kex::ALL.map(|kex| (kex.name(), kex));
    let mut list = Vec::new();
    for name in names {
        let found = pick(&Some(name.clone()), "kex", &possible)?;
        list.extend(found.filter(|kex| !list.contains(kex)));
    }
    Ok(list)
}

fn plan(classic: &file::Classic) -> Result<DialectPlan, Located> {
    let mut presets = vec![("auto", DialectPlan::AUTO)];
    presets.extend(Dialect::PRESETS.map(|(name, dialect)| (name, DialectPlan::fixed(dialect))));
    let mut plan = pick(&classic.dialect, "dialect", &presets)?.unwrap_or(DialectPlan::AUTO);
    let ends = [("none", LineEnd::None), ("lf", LineEnd::Lf), ("crlf", LineEnd::CrLf)];
    if let Some(line_end) = pick(&classic.line_end, "line_end", &ends)? {
        plan.base.line_end = line_end;
        plan.follow_line_end = false;
    }
    let separators = [(":", Separator::Colon), (",", Separator::Comma)];
    if let Some(separator) = pick(&classic.separator, "separator", &separators)? {
        plan.base.separator = separator;
        plan.follow_separator = false;
    }
    let macs = [("per-message", MacRule::PerMessage), ("cumulative", MacRule::Cumulative)];
    if let Some(mac) = pick(&classic.mac, "mac", &macs)? {
        plan.base.mac = mac;
        plan.follow_mac = false;
    }
    let replies = [
        ("plain", ReplyForm::Plain),
        ("prefixed", ReplyForm::Prefixed),
        ("filled", ReplyForm::Filled),
    ];
    if let Some(reply) = pick(&classic.reply, "reply", &replies)? {
        plan.base.reply = reply;
    }
    let chainings = [("chain", Chaining::Chain), ("restart", Chaining::Restart)];
    if let Some(chaining) = pick(&classic.cbc, "cbc", &chainings)? {
        plan.base.chaining = chaining;
    }
    let strips = [("both", Strip::Both), ("right", Strip::Right)];
    if let Some(strip) = pick(&classic.strip, "strip", &strips)? {
        plan.base.strip = strip;
    }
    if let Some(n) = number(classic.group.as_ref(), "group", 14..=18)? {
        let group = u8::try_from(n).ok().and_then(Group::from_number);
        plan.base.group = group.unwrap_or(plan.base.group);
    }
    Ok(plan)
}

fn pick<T: Copy>(
    value: &Option<Spanned<String>>,
    key: &'static str,
    possible: &[(&'static str, T)],
) -> Result<Option<T>, Located> {
    let Some(value) = value else { return Ok(None) };
    match possible.iter().find(|(name, _)| name == value.get_ref()) {
        Some((_, found)) => Ok(Some(*found)),
        None => {
            let possible = possible.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let found = value.get_ref().clone();
            Err((value.span(), Problem::Word { key, found, possible }))
        }
    }
}

pub(super) fn line_of_bytes(text: &[u8], at: usize) -> usize {
    text[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something in it is wrong.
    #[error("{}:{line}: {}", shown(.path), Printable(.problem.to_string().as_bytes()))]
    Problem {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
}

impl ConfigError {
    pub(super) fn at(path: &Path, line: usize, problem: Problem) -> Self {
        Self::Problem { path: path.to_owned(), line, problem }
    }
}

/// What is wrong in a line of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it; the fields are what they name")]
pub enum Problem {
    #[error("cipher '{found}' is listed twice (it is {suite})")]
    CipherTwice { found: String, suite: &'static str },
    #[error("early_drop is [START, PERCENT, FULL], with START below FULL, as in [64, 30, 256]")]
    EarlyDrop,
    #[error("'{found}' is no address or network")]
    Network { found: String },
    #[error("{0}")]
    Form(String),
    #[error(
        "no [[supported_cipher]] table, so nothing could be agreed on; `vpn suites --show-config` \
         prints an example"
    )]
    NoCiphers,
    #[error("none of its ciphers is linked; list some of {linked} in a {DEFAULT_PATH}")]
    NothingBuiltIn { linked: String },
    #[error("the list of keys of {suite} is empty (possible: {possible})")]
    NoSizes { suite: &'static str, possible: String },
    #[error("{0}")]
    NotText(NotText),
    #[error("{key} = {found} is not between {} and {}", .range.start(), .range.end())]
    Number { key: &'static str, found: i64, range: RangeInclusive<u64> },
    #[error("server '{name}' is described twice")]
    ServerTwice { name: String },
    #[error("{suite} {found}: the classic profile derives keys of at most 512 bits")]
    SizeTooLong { suite: &'static str, found: i64 },
    #[error("{suite} {found} is listed twice")]
    SizeTwice { suite: &'static str, found: i64 },
    #[error("unknown cipher '{name}' (linked: {linked}){remedy}")]
    UnknownCipher { name: String, linked: String, remedy: String },
    #[error("{suite} has no key of {found} bits (possible: {possible}){remedy}")]
    UnknownSize { suite: &'static str, found: i64, possible: String, remedy: String },
    #[error("{key} = '{found}' is unknown (possible: {possible})")]
    Word { key: &'static str, found: String, possible: String },
}
