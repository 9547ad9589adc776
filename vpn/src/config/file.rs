//! The shape of `server_cipher.toml` as it is written, before anything is checked.

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) supported_cipher: Vec<Spanned<SupportedCipher>>,
    #[serde(default)]
    pub(super) classic: Classic,
    #[serde(default)]
    pub(super) sealed: Sealed,
    #[serde(default)]
    pub(super) server: Server,
    #[serde(default)]
    pub(super) limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SupportedCipher {
    pub(super) name: Spanned<String>,
    pub(super) keys: Spanned<Vec<Spanned<i64>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    pub(super) identity: Option<String>,
    pub(super) authorized_clients: Option<String>,
    #[serde(default)]
    pub(super) psk: Vec<String>,
    pub(super) gate: Option<Spanned<String>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) classic: Option<bool>,
    pub(super) allow_64bit: Option<bool>,
    pub(super) kex: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) host: Option<String>,
    pub(super) port: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) handshake_seconds: Option<Spanned<i64>>,
    pub(super) message_seconds: Option<Spanned<i64>>,
    pub(super) idle_seconds: Option<Spanned<i64>>,
    pub(super) sessions: Option<Spanned<i64>>,
    pub(super) message_bytes: Option<Spanned<i64>>,
    pub(super) dh_workers: Option<Spanned<i64>>,
    pub(super) queue: Option<Spanned<i64>>,
    pub(super) first_byte_seconds: Option<Spanned<i64>>,
    pub(super) sealed_handshake_seconds: Option<Spanned<i64>>,
    pub(super) keepalive_seconds: Option<Spanned<i64>>,
    pub(super) message_memory: Option<Spanned<i64>>,
    pub(super) rekey_bytes: Option<Spanned<i64>>,
    pub(super) rekey_seconds: Option<Spanned<i64>>,
    pub(super) half_open: Option<Spanned<i64>>,
    pub(super) new_per_minute: Option<Spanned<i64>>,
    pub(super) penalty_authentication_seconds: Option<Spanned<i64>>,
    pub(super) penalty_none_seconds: Option<Spanned<i64>>,
    pub(super) penalty_protocol_seconds: Option<Spanned<i64>>,
    pub(super) penalty_cap_seconds: Option<Spanned<i64>>,
    pub(super) penalty_min_seconds: Option<Spanned<i64>>,
    pub(super) early_drop: Option<Spanned<[i64; 3]>>,
    pub(super) exempt: Option<Vec<Spanned<String>>>,
}
