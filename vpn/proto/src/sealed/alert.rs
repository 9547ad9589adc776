//! Alerts: `code 2 | detail` (PROTOCOL.md §4.5).

use std::fmt;

/// The reason why a side ends a session, or will end it soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The regular end.
    CloseNotify,
    /// Authentication failed. The reason is not sent.
    AccessDenied,
    /// The peer sent something that the protocol does not allow.
    ProtocolError,
    /// The server is busy.
    Busy,
    /// The peer was too slow.
    Timeout,
    /// The server will stop in this many milliseconds.
    Draining(u32),
    /// A limit of the sender is reached.
    Policy,
    /// Another session replaced this one.
    Replaced,
    /// Not all data was delivered.
    Undelivered(Undelivered),
    /// This version does not know the code.
    Unknown(u16),
}

/// The data that was not delivered, from the view of the sender of the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The sender could not write all data that it received.
    Output,
    /// The sender could not read all data that it had to send.
    Input,
    /// The alert does not say.
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
            // A later version may add details.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every alert with its code, the detail after the code, and its text.
    const ALL: [(Alert, u16, &[u8], &str); 12] = [
        (Alert::CloseNotify, 0, &[], "close_notify"),
        (Alert::AccessDenied, 1, &[], "access_denied"),
        (Alert::ProtocolError, 2, &[], "protocol_error"),
        (Alert::Busy, 3, &[], "busy"),
        (Alert::Timeout, 4, &[], "timeout"),
        (Alert::Draining(0x1234), 5, &[0, 0, 0x12, 0x34], "draining in 4660 ms"),
        (Alert::Policy, 6, &[], "policy"),
        (Alert::Replaced, 7, &[], "replaced"),
        (Alert::Undelivered(Undelivered::Output), 8, &[1], "undelivered"),
        (Alert::Undelivered(Undelivered::Input), 8, &[2], "undelivered"),
        (Alert::Undelivered(Undelivered::Unspecified), 8, &[], "undelivered"),
        (Alert::Unknown(999), 999, &[], "alert 999"),
    ];

    #[test]
    fn every_alert_is_decoded_as_it_was_encoded() {
        for (alert, code, detail, text) in ALL {
            let payload = [&code.to_be_bytes(), detail].concat();
            assert_eq!((alert.encode(), alert.to_string()), (payload.clone(), text.to_owned()));
            assert_eq!(Alert::decode(&payload), Some(alert));
        }
    }

    #[test]
    fn wrong_details_of_known_alerts_are_refused() {
        for payload in [&[][..], &[0], &[0, 0, 0], &[0, 5], &[0, 5, 1, 2, 3], &[0, 7, 9]] {
            assert_eq!(Alert::decode(payload), None, "{payload:?}");
        }
        let later = Alert::Undelivered(Undelivered::Unspecified);
        assert_eq!(Alert::decode(&[0, 8, 3]), Some(later));
        assert_eq!(Alert::decode(&[0, 9, 1, 2]), Some(Alert::Unknown(9)));
    }
}
