//! The configuration, checked against the linked suites and resolved.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use vpn_suite::{CipherSuite, KeySize, Registry};

use super::file;
use crate::net::Network;
use crate::net::limits::{Limits, SourceLimits};
use crate::proto::classic::{
    Chaining, ClassicParams, Dialect, DialectPlan, LineEnd, MacRule, ReplyForm, SHARED_KEY_LEN,
    Strip, Telling, Timing,
};
use crate::proto::sealed::Kex;
use crate::proto::{EnabledSuite, Group, Printable, Separator};

/// The file that server and client read when no other is named.
pub const DEFAULT_PATH: &str = "server_cipher.toml";
/// What holds when [`DEFAULT_PATH`] does not exist: the file as it is shipped.
pub const BUILT_IN: &str = include_str!("../../../server_cipher.toml");
/// The port of the protocol.
pub const DEFAULT_PORT: u16 = 4600;
/// No configuration is longer than this; what is longer is something else.
const MAX_FILE: u64 = 1024 * 1024;

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
    /// What sealed sessions are for.
    pub pipe: PipeEnd,
    /// Whether the classic profile is not spoken.
    pub is_sealed_only: bool,
    /// Whether suites with 64-bit blocks are used.
    pub allow_64bit: bool,
    /// The key exchanges, best first; none for all of them.
    pub kex: Vec<Kex>,
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
                Err(ConfigError::Missing { .. }) => {
                    let folder = std::env::current_dir().unwrap_or_default();
                    log::info!(
                        "no {DEFAULT_PATH} in {}: using the built-in default",
                        folder.display()
                    );
                    Self::parse(BUILT_IN, Source::BuiltIn, registry, overrides)
                }
                loaded => loaded,
            },
        }
    }

    fn from_file(
        path: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing { path: path.to_owned() },
            kind => ConfigError::Unreadable { path: path.to_owned(), kind },
        };
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        if meta.len() > MAX_FILE {
            return Err(ConfigError::TooLong { path: path.to_owned(), len: meta.len() });
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let line = line_of_bytes(e.as_bytes(), at);
            ConfigError::at(path, line, Problem::NotUtf8)
        })?;
        log::debug!("configuration: {}", path.display());
        Self::parse(&text, Source::File(path.to_owned()), registry, overrides)
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
        let mut file: file::File = toml::from_str(text).map_err(|error| {
            let problem = Problem::Syntax(one_line(error.message()));
            at(error.span().unwrap_or_default(), problem)
        })?;
        if source == Source::BuiltIn {
            // A program may be built without some of the suites that are usual.
            let is_linked = |name: &str| registry.find_ignoring_case(name).is_some();
            file.supported_cipher.retain(|c| is_linked(c.get_ref().name.get_ref()));
            if file.supported_cipher.is_empty() {
                let linked = registry.names().collect::<Vec<_>>().join(", ");
                return Err(at(0..0, Problem::NothingBuiltIn { linked }));
            }
        }
        let enabled = enable(&file.supported_cipher, registry).map_err(|(s, p)| at(s, p))?;
        let line_of = |keys: &Spanned<_>| line_of_bytes(text.as_bytes(), keys.span().start);
        let key_lines = file.supported_cipher.iter().map(|c| line_of(&c.get_ref().keys)).collect();
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
            let l = &file.limits;
            if let Some(ms) = number(file.classic.quiet_ms.as_ref(), "quiet_ms", 1..=60_000)? {
                timing.quiet = Duration::from_millis(ms);
                timing.settled = timing.settled.min(timing.quiet);
            }
            if let Some(s) = number(l.message_seconds.as_ref(), "message_seconds", 1..=86_400)? {
                timing.message = Duration::from_secs(s);
            }
            if let Some(s) = number(l.handshake_seconds.as_ref(), "handshake_seconds", 1..=86_400)?
            {
                limits.handshake = Duration::from_secs(s);
            }
            if let Some(s) = number(l.idle_seconds.as_ref(), "idle_seconds", 1..=31_536_000)? {
                limits.idle = Duration::from_secs(s);
            }
            if let Some(n) = number(l.sessions.as_ref(), "sessions", 1..=1_000_000)? {
                limits.sessions = to_usize(n);
            }
            if let Some(n) = number(l.message_bytes.as_ref(), "message_bytes", 16..=16_777_216)? {
                limits.message = to_usize(n);
            }
            if let Some(n) = number(l.dh_workers.as_ref(), "dh_workers", 1..=256)? {
                limits.dh_workers = to_usize(n);
            }
            if let Some(n) = number(l.queue.as_ref(), "queue", 1..=65_536)? {
                limits.queue = to_usize(n);
            }
            let seconds = |value: &Option<Spanned<i64>>, key, least, into: &mut Duration| {
                if let Some(s) = number(value.as_ref(), key, least..=86_400)? {
                    *into = Duration::from_secs(s);
                }
                Ok::<_, Located>(())
            };
            seconds(&l.first_byte_seconds, "first_byte_seconds", 1, &mut limits.first_byte)?;
            let handshake = &mut limits.sealed_handshake;
            seconds(&l.sealed_handshake_seconds, "sealed_handshake_seconds", 1, handshake)?;
            seconds(&l.keepalive_seconds, "keepalive_seconds", 1, &mut limits.keepalive)?;
            if let Some(n) =
                number(l.message_memory.as_ref(), "message_memory", 4_194_304..=1 << 36)?
            {
                limits.message_memory = to_usize(n);
            }
            // Never later than the profile wants.
            if let Some(n) = number(l.rekey_bytes.as_ref(), "rekey_bytes", 65_536..=1 << 36)? {
                limits.rekey.0 = Some(n);
            }
            if let Some(s) = number(l.rekey_seconds.as_ref(), "rekey_seconds", 1..=3600)? {
                limits.rekey.1 = Some(Duration::from_secs(s));
            }
            let sources = &mut limits.sources;
            let SourceLimits { penalty_authentication, penalty_none, .. } = sources;
            let key = "penalty_authentication_seconds";
            seconds(&l.penalty_authentication_seconds, key, 0, penalty_authentication)?;
            seconds(&l.penalty_none_seconds, "penalty_none_seconds", 0, penalty_none)?;
            let SourceLimits { penalty_protocol, penalty_cap, penalty_min, .. } = sources;
            seconds(&l.penalty_protocol_seconds, "penalty_protocol_seconds", 0, penalty_protocol)?;
            seconds(&l.penalty_cap_seconds, "penalty_cap_seconds", 0, penalty_cap)?;
            seconds(&l.penalty_min_seconds, "penalty_min_seconds", 0, penalty_min)?;
            if let Some(n) = number(l.half_open.as_ref(), "half_open", 1..=1_000_000)? {
                sources.half_open = to_usize(n);
            }
            if let Some(n) = number(l.new_per_minute.as_ref(), "new_per_minute", 1..=1_000_000)? {
                sources.new_per_minute = u32::try_from(n).unwrap_or(u32::MAX);
            }
            if let Some(three) = &l.early_drop {
                sources.early_drop = early_drop(three)?;
            }
            let p = number(file.server.port.as_ref(), "port", 0..=65_535)?;
            port = p.and_then(|p| u16::try_from(p).ok());
            Ok(())
        };
        numbers().map_err(|(s, p)| at(s, p))?;
        let sealed = sealed(&file.sealed, path).map_err(|(s, p)| at(s, p))?;
        let exempt = exempt(file.limits.exempt.as_deref()).map_err(|(s, p)| at(s, p))?;
        let host = file.server.host;
        Ok(Self { source, enabled, key_lines, plan, timing, host, port, limits, exempt, sealed })
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
                format!("add {bits} to keys in {}:{line}", path.display())
            }
            (Source::File(path), None) => format!(
                "add to {}: [[supported_cipher]] name = \"{name}\", keys = [{bits}]",
                path.display()
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

/// What a server joins a client's pipe to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PipeEnd {
    /// Nothing: there is no such service.
    #[default]
    None,
    /// Its standard input and output; it serves one session and ends.
    Stdio,
    /// Whatever comes is thrown away, for measurements.
    Discard,
    /// Zeros until the client goes, for measurements.
    Generate,
}

impl PipeEnd {
    /// All of them, by the name of the service that a user asks for.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("message", Self::None),
        ("pipe", Self::Stdio),
        ("discard", Self::Discard),
        ("generate", Self::Generate),
    ];

    /// The name of the service.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, end)| *end == self);
        named.map_or("", |(name, _)| name)
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, end)| *end)
    }
}

type Located = (Range<usize>, Problem);

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

fn early_drop(value: &Spanned<[i64; 3]>) -> Result<(usize, u32, usize), Located> {
    let [start, rate, full] = *value.get_ref();
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

fn enable(
    listed: &[Spanned<file::SupportedCipher>],
    registry: &Registry,
) -> Result<Arc<[EnabledSuite]>, Located> {
    if listed.is_empty() {
        return Err((0..0, Problem::NoCiphers));
    }
    let mut enabled: Vec<EnabledSuite> = Vec::new();
    for cipher in listed {
        let cipher = cipher.get_ref();
        let name = cipher.name.get_ref();
        let Some(suite) = registry.find_ignoring_case(name) else {
            let linked = registry.names().collect::<Vec<_>>().join(", ");
            return Err((
                cipher.name.span(),
                Problem::UnknownCipher { name: name.clone(), linked },
            ));
        };
        if enabled.iter().any(|e| e.suite.name() == suite.name()) {
            let (found, suite) = (name.clone(), suite.name());
            return Err((cipher.name.span(), Problem::CipherTwice { found, suite }));
        }
        let mut sizes: Vec<KeySize> = Vec::new();
        for bits in cipher.keys.get_ref() {
            let found = *bits.get_ref();
            let size = u32::try_from(found)
                .ok()
                .and_then(KeySize::from_bits)
                .filter(|s| suite.key_sizes().contains(*s));
            let Some(size) = size else {
                let (suite, possible) = (suite.name(), suite.key_sizes().to_string());
                return Err((bits.span(), Problem::UnknownSize { suite, found, possible }));
            };
            if size.bytes() > SHARED_KEY_LEN {
                return Err((bits.span(), Problem::SizeTooLong { suite: suite.name(), found }));
            }
            if sizes.contains(&size) {
                return Err((bits.span(), Problem::SizeTwice { suite: suite.name(), found }));
            }
            sizes.push(size);
        }
        if sizes.is_empty() {
            let (suite, possible) = (suite.name(), suite.key_sizes().to_string());
            return Err((cipher.keys.span(), Problem::NoSizes { suite, possible }));
        }
        let wire_name = spelt(suite, name);
        enabled.push(EnabledSuite { suite, wire_name, sizes });
    }
    Ok(enabled.into())
}

/// The suite's own spelling of a name or alias that a user wrote in any case.
fn spelt(suite: &dyn CipherSuite, name: &str) -> &'static str {
    let aliases = suite.aliases().iter().copied();
    aliases.into_iter().find(|a| a.eq_ignore_ascii_case(name)).unwrap_or_else(|| suite.name())
}

fn sealed(table: &file::Sealed, path: &Path) -> Result<SealedSettings, Located> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let beside = |name: &String| folder.join(name);
    let gates = [("optional", false), ("required", true)];
    Ok(SealedSettings {
        identity: table.identity.as_ref().map(beside),
        authorized_clients: table.authorized_clients.as_ref().map(beside),
        psk: table.psk.iter().map(beside).collect(),
        is_gate_required: pick(&table.gate, "gate", &gates)?.unwrap_or(false),
        pipe: pick(&table.service, "service", &PipeEnd::NAMES)?.unwrap_or_default(),
        is_sealed_only: table.classic == Some(false),
        allow_64bit: table.allow_64bit == Some(true),
        kex: kex(table.kex.as_deref().unwrap_or_default())?,
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

pub(super) fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).collect::<Vec<_>>().join(", ")
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file does not exist.
    #[error("cannot read {}: no such file", .path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {}", .path.display(), Printable(.problem.to_string().as_bytes()))]
    Problem {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// It is too long to be a configuration.
    #[error("{}: {len} bytes are too much for a configuration", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// It cannot be read.
    #[error("cannot read {}: {kind}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        kind: std::io::ErrorKind,
    },
}

impl ConfigError {
    fn at(path: &Path, line: usize, problem: Problem) -> Self {
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
    #[error("no [[supported_cipher]] table: nothing could be agreed on")]
    NoCiphers,
    #[error("none of its ciphers is linked; list some of {linked} in a {DEFAULT_PATH}")]
    NothingBuiltIn { linked: String },
    #[error("the list of keys of {suite} is empty (possible: {possible})")]
    NoSizes { suite: &'static str, possible: String },
    #[error("not UTF-8 text")]
    NotUtf8,
    #[error("{key} = {found} is not between {} and {}", .range.start(), .range.end())]
    Number { key: &'static str, found: i64, range: RangeInclusive<u64> },
    #[error("server '{name}' is described twice")]
    ServerTwice { name: String },
    #[error("{suite} {found}: the classic profile derives keys of at most 512 bits")]
    SizeTooLong { suite: &'static str, found: i64 },
    #[error("{suite} {found} is listed twice")]
    SizeTwice { suite: &'static str, found: i64 },
    #[error("{0}")]
    Syntax(String),
    #[error("unknown cipher '{name}' (linked: {linked})")]
    UnknownCipher { name: String, linked: String },
    #[error("{suite} has no key of {found} bits (possible: {possible})")]
    UnknownSize { suite: &'static str, found: i64, possible: String },
    #[error("{key} = '{found}' is unknown (possible: {possible})")]
    Word { key: &'static str, found: String, possible: String },
}
