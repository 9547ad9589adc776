//! Alerts (PROTOCOL.md §4.5).

use std::fmt;

/// Why a side says that a session ends, or soon will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The regular end.
    CloseNotify,
    /// Authentication failed, for whatever reason.
    AccessDenied,
    /// The peer broke the protocol.
    ProtocolError,
    /// There is no room.
    Busy,
    /// It took too long.
    Timeout,
    /// The server is going to stop, in so many milliseconds.
    Draining(u32),
    /// A limit of this side.
    Policy,
    /// Another session took its place.
    Replaced,
    /// Not everything was handed over.
    Undelivered(Undelivered),
    /// A code that this version does not know.
    Unknown(u16),
}

/// What was not handed over, seen from the side that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// What it received: it could not write all of it.
    Output,
    /// What it was to send: it could not read all of it.
    Input,
    /// It does not say.
    Unspecified,
}

impl Undelivered {
    fn code(self) -> Option<u8> {
        match self {
            Self::Output => Some(1),
            Self::Input => Some(2),
            Self::Unspecified => None,
        }
    }

    fn decode(detail: &[u8]) -> Self {
        match detail {
            [1] => Self::Output,
            [2] => Self::Input,
            // What a later version may say more is no reason to misunderstand the rest.
            _ => Self::Unspecified,
        }
    }
}

impl Alert {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::CloseNotify => 0,
            Self::AccessDenied => 1,
            Self::ProtocolError => 2,
            Self::Busy => 3,
            Self::Timeout => 4,
            Self::Draining(_) => 5,
            Self::Policy => 6,
            Self::Replaced => 7,
            Self::Undelivered(_) => 8,
            Self::Unknown(code) => code,
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut payload = self.code().to_be_bytes().to_vec();
        match self {
            Self::Draining(hint) => payload.extend_from_slice(&hint.to_be_bytes()),
            Self::Undelivered(what) => payload.extend(what.code()),
            _ => {}
        }
        payload
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (code, rest) = payload.split_first_chunk::<2>()?;
        Some(match (u16::from_be_bytes(*code), rest) {
            (0, []) => Self::CloseNotify,
            (1, []) => Self::AccessDenied,
            (2, []) => Self::ProtocolError,
            (3, []) => Self::Busy,
            (4, []) => Self::Timeout,
            (5, hint) => Self::Draining(u32::from_be_bytes(hint.try_into().ok()?)),
            (6, []) => Self::Policy,
            (7, []) => Self::Replaced,
            (0..=7, _) => return None,
            (8, detail) => Self::Undelivered(Undelivered::decode(detail)),
            (code, _) => Self::Unknown(code),
        })
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseNotify => f.write_str("close_notify"),
            Self::AccessDenied => f.write_str("access_denied"),
            Self::ProtocolError => f.write_str("protocol_error"),
            Self::Busy => f.write_str("busy"),
            Self::Timeout => f.write_str("timeout"),
            Self::Draining(hint) => write!(f, "draining in {hint} ms"),
            Self::Policy => f.write_str("policy"),
            Self::Replaced => f.write_str("replaced"),
            Self::Undelivered(_) => f.write_str("undelivered"),
            Self::Unknown(code) => write!(f, "alert {code}"),
        }
    }
}
