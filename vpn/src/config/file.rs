//! The shape of `server_cipher.toml` as it is written, before anything is checked.

use std::ops::Range;

use toml::Spanned;

use super::settings::Problem;
use super::toml::{Located, Table, parse};

pub(super) struct File {
    pub(super) supported_cipher: Vec<SupportedCipher>,
    pub(super) classic: Classic,
    pub(super) sealed: Sealed,
    pub(super) server: Server,
    pub(super) limits: Limits,
}

pub(super) struct SupportedCipher {
    pub(super) name: Spanned<String>,
    pub(super) keys: Spanned<Vec<Spanned<i64>>>,
}

#[derive(Default)]
pub(super) struct Classic {
    pub(super) dialect: Option<Spanned<String>>,
    pub(super) line_end: Option<Spanned<String>>,
    pub(super) separator: Option<Spanned<String>>,
    pub(super) mac: Option<Spanned<String>>,
    pub(super) reply: Option<Spanned<String>>,
    pub(super) cbc: Option<Spanned<String>>,
    pub(super) strip: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<i64>>,
    pub(super) quiet_ms: Option<Spanned<i64>>,
}

#[derive(Default)]
pub(super) struct Sealed {
    /// What is set, and where.
    pub(super) places: Vec<(String, Range<usize>)>,
    pub(super) identity: Option<Spanned<String>>,
    pub(super) authorized_clients: Option<Spanned<String>>,
    pub(super) psk: Vec<Spanned<String>>,
    pub(super) gate: Option<Spanned<String>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) classic: Option<bool>,
    pub(super) allow_64bit: Option<bool>,
    pub(super) kex: Option<Vec<Spanned<String>>>,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) host: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
}

/// The table `[limits]`.
pub(super) struct Limits(Vec<(&'static str, Spanned<i64>)>, pub(super) LimitLists);

#[derive(Default)]
pub(super) struct LimitLists {
    pub(super) early_drop: Option<Spanned<Vec<Spanned<i64>>>>,
    pub(super) exempt: Option<Vec<Spanned<String>>>,
}

/// The settings of `[limits]` that are numbers.
const NUMBERS: [&str; 20] = [
    "handshake_seconds",
    "message_seconds",
    "idle_seconds",
    "sessions",
    "message_bytes",
    "dh_workers",
    "queue",
    "first_byte_seconds",
    "sealed_handshake_seconds",
    "keepalive_seconds",
    "message_memory",
    "rekey_bytes",
    "rekey_seconds",
    "half_open",
    "new_per_minute",
    "penalty_authentication_seconds",
    "penalty_none_seconds",
    "penalty_protocol_seconds",
    "penalty_cap_seconds",
    "penalty_min_seconds",
];

impl Limits {
    /// A number of the table, if it is set.
    pub(super) fn get(&self, key: &str) -> Option<&Spanned<i64>> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, number)| number)
    }
}

impl File {
    /// Reads the text of a configuration.
    pub(super) fn read(text: &str) -> Result<Self, Located> {
        let tables = ["supported_cipher", "classic", "sealed", "server", "limits"];
        let mut file = parse(text, &tables, "supported_cipher")?;
        let ciphers = file.tables("supported_cipher", &["name", "keys"])?;
        Ok(Self {
            supported_cipher: ciphers
                .into_iter()
                .map(|(span, table)| SupportedCipher::read(span, table))
                .collect::<Result<_, _>>()?,
            classic: Classic::read(&mut file)?,
            sealed: Sealed::read(&mut file)?,
            server: {
                let mut table = file.table("server", &["host", "port"])?;
                Server { host: table.text("host")?, port: table.number("port")? }
            },
            limits: Limits::read(&mut file)?,
        })
    }
}

impl SupportedCipher {
    fn read(span: Range<usize>, mut table: Table<'_>) -> Result<Self, Located> {
        let lacks = |what: &str, line: &str| {
            let words =
                format!("this [[supported_cipher]] has no {what}; add a line such as {line}");
            (span.clone(), Problem::Form(words))
        };
        let name = table.text("name")?.ok_or_else(|| lacks("name", "name = \"AES\""))?;
        let keys = table.numbers("keys", "[128, 192, 256]")?;
        let keys = keys.ok_or_else(|| lacks("keys", "keys = [128, 192, 256]"))?;
        Ok(Self { name, keys })
    }
}

impl Classic {
    fn read(file: &mut Table<'_>) -> Result<Self, Located> {
        let known = [
            "dialect",
            "line_end",
            "separator",
            "mac",
            "reply",
            "cbc",
            "strip",
            "group",
            "quiet_ms",
        ];
        let mut table = file.table("classic", &known)?;
        Ok(Self {
            dialect: table.text("dialect")?,
            line_end: table.text("line_end")?,
            separator: table.text("separator")?,
            mac: table.text("mac")?,
            reply: table.text("reply")?,
            cbc: table.text("cbc")?,
            strip: table.text("strip")?,
            group: table.number("group")?,
            quiet_ms: table.number("quiet_ms")?,
        })
    }
}

impl Sealed {
    fn read(file: &mut Table<'_>) -> Result<Self, Located> {
        let known = [
            "identity",
            "authorized_clients",
            "psk",
            "gate",
            "service",
            "classic",
            "allow_64bit",
            "kex",
        ];
        let mut table = file.table("sealed", &known)?;
        Ok(Self {
            places: table.places(),
            identity: table.text("identity")?,
            authorized_clients: table.text("authorized_clients")?,
            psk: table.texts("psk")?.unwrap_or_default(),
            gate: table.text("gate")?,
            service: table.text("service")?,
            classic: table.flag("classic")?,
            allow_64bit: table.flag("allow_64bit")?,
            kex: table.texts("kex")?,
        })
    }
}

impl Limits {
    fn read(file: &mut Table<'_>) -> Result<Self, Located> {
        let known = [&NUMBERS[..], &["early_drop", "exempt"]].concat();
        let mut table = file.table("limits", &known)?;
        let mut numbers = Vec::new();
        for key in NUMBERS {
            numbers.extend(table.number(key)?.map(|number| (key, number)));
        }
        let early_drop = table.numbers("early_drop", "[64, 30, 256]")?;
        let exempt = table.texts("exempt")?;
        Ok(Self(numbers, LimitLists { early_drop, exempt }))
    }
}
