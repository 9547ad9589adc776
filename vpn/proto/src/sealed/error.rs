//! Why a sealed handshake or session ends before its time.

use vpn_suite::SuiteError;

use super::alert::Alert;
use super::kex::KexError;

/// Why a sealed handshake or session ends before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The peer could not be authenticated; the reason is for our log alone.
    #[error("authentication failed: {0}")]
    Authentication(&'static str),
    /// A record whose tag is not that of its bytes.
    #[error("a record was altered, repeated or left out")]
    BadRecord,
    /// The connection ended without close_notify.
    #[error("the connection was cut: the peer did not say that it was the end")]
    Cut,
    /// The gate of a ClientHello does not match.
    #[error("the gate does not match")]
    Gate,
    /// A call in an order that the driver should not use.
    #[error("the session was driven out of order")]
    Internal,
    /// The peer's share cannot be used.
    #[error("the key exchange failed: {0}")]
    Kex(#[from] KexError),
    /// Bytes that are no message.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Nothing in common.
    #[error("no {what} in common: the peer has {theirs}, enabled here are {ours}")]
    NothingInCommon {
        /// `cipher suite` or `key exchange`.
        what: &'static str,
        /// The peer's list.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The server has no room.
    #[error("the server is busy")]
    Busy,
    /// The peer ended the session and said why.
    #[error("the peer ended the session: {0}")]
    Alert(Alert),
    /// The server wants another key exchange than the one a share was sent for.
    #[error("the server wants another key exchange: {theirs}")]
    KexRetry {
        /// Its key exchanges.
        theirs: String,
        /// Its suites.
        suites: String,
    },
    /// A limit of the profile.
    #[error("a limit of the session is reached: {0}")]
    Limit(&'static str),
    /// The server selected no PSK where only a PSK would authenticate.
    #[error("PSK not accepted: the server did not prove that it has the same one")]
    PskNotAccepted,
    /// The server has another key than the one expected; it proved that it has that one.
    #[error("the server has another key than the one expected")]
    ServerKey {
        /// The key that it has.
        got: [u8; 32],
    },
    /// A ClientHello whose gate value was accepted before.
    #[error("its ClientHello is a repeated one")]
    Replayed,
    /// A suite refused a derived key.
    #[error("a derived key cannot be used: {0}")]
    Suite(#[from] SuiteError),
    /// A message that is not this state's.
    #[error("message {got:02x} where {expected:02x} should be")]
    Unexpected {
        /// The one expected.
        expected: u8,
        /// The one that came.
        got: u8,
    },
}
