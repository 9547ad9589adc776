//! Errors of the sealed profile.

use vpn_suite::SuiteError;

use super::alert::Alert;
use super::kex::KexError;

/// The reason why a handshake or a session of the sealed profile failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The peer is not authenticated. The reason is for the log only and is never sent.
    #[error("authentication failed: {0}")]
    Authentication(&'static str),
    /// The tag of a record is wrong.
    #[error("a record was altered, repeated or left out")]
    BadRecord,
    /// The connection ended without a close_notify.
    #[error("the connection was cut: the peer did not say that it was the end")]
    Cut,
    /// The gate of a ClientHello matches no key of this side.
    #[error("the gate does not match")]
    Gate,
    /// The caller used the methods in a wrong order.
    #[error("the session was driven out of order")]
    Internal,
    /// The key share of the peer cannot be used.
    #[error("the key exchange failed: {0}")]
    Kex(#[from] KexError),
    /// A message has the wrong form. The text names the part.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The two sides have no suite or no key exchange in common.
    #[error("no {what} in common: the peer has {theirs}, enabled here are {ours}")]
    NothingInCommon {
        /// `cipher suite` or `key exchange`.
        what: &'static str,
        /// The list of the peer.
        theirs: String,
        /// The list of this side.
        ours: String,
    },
    /// The server is busy.
    #[error("the server is busy")]
    Busy,
    /// The peer ended the session with this alert.
    #[error("the peer ended the session: {0}")]
    Alert(Alert),
    /// The server needs a share for another key exchange.
    #[error("the server wants another key exchange: {theirs}")]
    KexRetry {
        /// The key exchanges of the server.
        theirs: String,
        /// The suites of the server.
        suites: String,
    },
    /// A limit of the profile is reached.
    #[error("a limit of the session is reached: {0}")]
    Limit(&'static str),
    /// The server does not have the PSK of this client.
    #[error("PSK not accepted: the server did not prove that it has the same one")]
    PskNotAccepted,
    /// The server has another key than the expected one. It proved that it has this key.
    #[error("the server has another key than the one expected")]
    ServerKey {
        /// The public key of the server.
        got: [u8; 32],
    },
    /// The gate of a ClientHello was accepted before.
    #[error("its ClientHello is a repeated one")]
    Replayed,
    /// The suite refused a derived key.
    #[error("a derived key cannot be used: {0}")]
    Suite(#[from] SuiteError),
    /// The message has a type that is not allowed now.
    #[error("message {got:02x} where {expected:02x} should be")]
    Unexpected {
        /// The expected type.
        expected: u8,
        /// The received type.
        got: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_of_plain_text() {
        let weak = SuiteError::WeakKey { suite: "DES", reason: "all zeros" };
        let (theirs, ours) = ("a, b".to_owned(), "c".to_owned());
        let suites = || "aes-256-cbc".to_owned();
        let all = [
            (
                SealedError::Authentication("no PSK matches"),
                "authentication failed: no PSK matches",
            ),
            (SealedError::BadRecord, "a record was altered, repeated or left out"),
            (SealedError::Cut, "the connection was cut: the peer did not say that it was the end"),
            (SealedError::Gate, "the gate does not match"),
            (SealedError::Internal, "the session was driven out of order"),
            (
                SealedError::Kex(KexError::Length { expected: 32, got: 5 }),
                "the key exchange failed: a share of 5 bytes where 32 were expected",
            ),
            (
                SealedError::Kex(KexError::KemKey),
                "the key exchange failed: the ML-KEM key is not one",
            ),
            (
                SealedError::Kex(KexError::OutOfRange),
                "the key exchange failed: the public value is outside the group",
            ),
            (
                SealedError::Kex(KexError::ZeroResult),
                "the key exchange failed: the X25519 result is zero",
            ),
            (SealedError::Malformed("padding"), "malformed: padding"),
            (
                SealedError::NothingInCommon { what: "cipher suite", theirs: theirs.clone(), ours },
                "no cipher suite in common: the peer has a, b, enabled here are c",
            ),
            (SealedError::Busy, "the server is busy"),
            (SealedError::Alert(Alert::Timeout), "the peer ended the session: timeout"),
            (
                SealedError::KexRetry { theirs, suites: suites() },
                "the server wants another key exchange: a, b",
            ),
            (SealedError::Limit("x"), "a limit of the session is reached: x"),
            (
                SealedError::PskNotAccepted,
                "PSK not accepted: the server did not prove that it has the same one",
            ),
            (
                SealedError::ServerKey { got: [7; 32] },
                "the server has another key than the one expected",
            ),
            (SealedError::Replayed, "its ClientHello is a repeated one"),
            (
                SealedError::from(weak),
                "a derived key cannot be used: DES refuses a weak key: all zeros",
            ),
            (SealedError::Unexpected { expected: 0x17, got: 3 }, "message 03 where 17 should be"),
        ];
        for (error, display) in all {
            assert_eq!(error.to_string(), display);
        }
    }
}
