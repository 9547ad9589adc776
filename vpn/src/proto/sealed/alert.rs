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
    /// A code that this version does not know.
    Unknown(u16),
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
            Self::Unknown(code) => code,
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut payload = self.code().to_be_bytes().to_vec();
        if let Self::Draining(hint) = self {
            payload.extend_from_slice(&hint.to_be_bytes());
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
            Self::Unknown(code) => write!(f, "alert {code}"),
        }
    }
}
