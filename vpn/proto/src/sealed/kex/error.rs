//! Errors of a key exchange.

/// The reason why a key share cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KexError {
    /// The ML-KEM encapsulation key failed the check of FIPS 203 §7.2.
    #[error("the ML-KEM key is not one")]
    KemKey,
    /// The share has the wrong size.
    #[error("a share of {got} bytes where {expected} were expected")]
    Length {
        /// The expected size in bytes.
        expected: usize,
        /// The size in bytes.
        got: usize,
    },
    /// The public value is not 2 <= y <= p-2 (RFC 7919 §5.1).
    #[error("the public value is outside the group")]
    OutOfRange,
    /// The X25519 result is zero: the public key is a point of small order (RFC 7748 §6.1).
    #[error("the X25519 result is zero")]
    ZeroResult,
}
