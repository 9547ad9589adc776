//! Errors of the classic profile.

use vpn_suite::SuiteError;

use super::dialect::LineEnd;
use super::negotiate::OfferError;
use super::opener::OpenError;
use crate::dh::PublicValueError;
use crate::text::Printable;

/// The form of a proposal, for messages.
const PROPOSAL_FORM: &str = "ProposedCiphers:NAME:[BITS,...],...";
/// The form of a choice, for messages.
const CHOICE_FORM: &str = "ChosenCipher:NAME:BITS";
/// The form of a public value, for messages.
const SHARE_FORM: &str = "DHMKE:NUMBER";

/// The reason why a handshake of the classic profile failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The choice of the server has the wrong form.
    #[error("the server's choice is not {CHOICE_FORM}: {}", excerpt(.got))]
    Choice {
        /// The bytes received.
        got: Vec<u8>,
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection while it owed us {awaited}")]
    Closed {
        /// The message that was expected next.
        awaited: &'static str,
    },
    /// The caller used the methods of the handshake in a wrong order.
    #[error("the handshake was driven out of order")]
    Internal,
    /// The public value of the peer has the wrong form.
    #[error("the peer's public value is not {SHARE_FORM}: {}", excerpt(.got))]
    KeyShare {
        /// The bytes received.
        got: Vec<u8>,
    },
    /// The public value of the peer has more digits than the prime.
    #[error("the peer's public value has more than {limit} digits")]
    KeyShareTooLong {
        /// The number of decimal digits of the prime.
        limit: usize,
    },
    /// The suite needs a longer key than the classic profile can derive.
    #[error("{suite} with {bits} bits needs a longer key than the classic profile derives")]
    KeyTooLong {
        /// The name of the suite.
        suite: &'static str,
        /// The key size in bits.
        bits: u32,
    },
    /// The client offers no cipher that is enabled here.
    #[error("no cipher in common: the client offers {}, enabled here are {enabled}", Printable(.offered.as_bytes()))]
    NoSuiteInCommon {
        /// The line end of the client, for the answer.
        line_end: LineEnd,
        /// The list of the client.
        offered: String,
        /// The list of this side.
        enabled: String,
    },
    /// The server chose a cipher that was not offered.
    #[error("the server chose {choice}, which was not offered (on offer: {offered})")]
    NotOffered {
        /// The choice of the server.
        choice: String,
        /// The list of this side.
        offered: String,
    },
    /// The proposal of the client has the wrong form.
    #[error("not a proposal: {reason}: {}", excerpt(.got))]
    Offer {
        /// The first mistake in it.
        reason: OfferError,
        /// The bytes received.
        got: Vec<u8>,
    },
    /// The public value of the peer failed a check.
    #[error("the peer's public value is refused: {0}")]
    PublicValue(PublicValueError),
    /// The server refused and gave a reason.
    #[error("the server refused: {}", excerpt(.text))]
    Refused {
        /// The text of the server.
        text: Vec<u8>,
    },
    /// A suite refused the derived key.
    #[error("the derived key cannot be used: {0}")]
    Suite(SuiteError),
    /// A handshake message is too long.
    #[error("a handshake message of more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

impl HandshakeError {
    /// The refusal of a server with this text.
    pub(super) fn refused(text: &[u8]) -> Self {
        Self::Refused { text: text.trim_ascii_end().to_vec() }
    }

    /// The text that a server sends to its client. `None` if the protocol has no text for this
    /// error.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::NoSuiteInCommon { .. } => Some("Could not agree on a cipher".to_owned()),
            Self::Offer { .. } => Some(format!("Expected {PROPOSAL_FORM}")),
            Self::KeyShare { .. } | Self::KeyShareTooLong { .. } => {
                Some(format!("Expected {SHARE_FORM}"))
            }
            Self::PublicValue(reason) => Some(format!("Expected another public value: {reason}")),
            Self::TooLong { limit } => Some(format!("Expected at most {limit} bytes")),
            Self::Suite(_) | Self::KeyTooLong { .. } => {
                Some("The derived key cannot be used; try again".to_owned())
            }
            Self::Choice { .. }
            | Self::Closed { .. }
            | Self::Internal
            | Self::NotOffered { .. }
            | Self::Refused { .. } => None,
        }
    }
}

impl From<SuiteError> for HandshakeError {
    fn from(error: SuiteError) -> Self {
        Self::Suite(error)
    }
}

/// The reason why an established session of the classic profile failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The HMAC of a message does not match its ciphertext, or the message was cut.
    #[error("bad HMAC: {pending} bytes that no HMAC vouches for")]
    BadHmac {
        /// The number of bytes without a valid HMAC.
        pending: usize,
    },
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The ciphertext before an HMAC is not a whole number of blocks.
    #[error("bad message: {ciphertext} bytes of ciphertext are not whole blocks of {block} bytes")]
    Misaligned {
        /// The length of the ciphertext in bytes.
        ciphertext: usize,
        /// The block size in bytes.
        block: usize,
    },
    /// A message could not be opened.
    #[error("bad message: {0}")]
    Open(OpenError),
    /// The server refused and gave a reason.
    #[error("the server refused: {}", excerpt(.text))]
    Refused {
        /// The text of the server.
        text: Vec<u8>,
    },
    /// The cipher suite failed.
    #[error("the cipher failed: {0}")]
    Suite(SuiteError),
    /// A text is longer than the peer can read.
    #[error("a text of {len} bytes is too long: the peer takes {limit}")]
    TextTooLong {
        /// The length of the text in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message did not end in time.
    #[error("bad message: {pending} bytes and then no end of it")]
    TimedOut {
        /// The number of bytes received of the message.
        pending: usize,
    },
    /// The connection ended inside a message.
    #[error("the connection ended inside a message, {pending} bytes in")]
    Truncated {
        /// The number of bytes received of the message.
        pending: usize,
    },
}

impl SessionError {
    /// The text that a server sends to its client. `None` if the protocol has no text for this
    /// error.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::BadHmac { .. } => Some("Bad HMAC".to_owned()),
            Self::Misaligned { block, .. } => {
                Some(format!("Expected ciphertext in whole blocks of {block} bytes"))
            }
            Self::Open(OpenError::TooLong { limit }) => {
                Some(format!("Expected an HMAC within {limit} bytes"))
            }
            Self::TimedOut { .. } => Some("Expected the rest of a message".to_owned()),
            Self::Closed
            | Self::Open(_)
            | Self::Refused { .. }
            | Self::Suite(_)
            | Self::TextTooLong { .. }
            | Self::Truncated { .. } => None,
        }
    }
}

impl From<SuiteError> for SessionError {
    fn from(error: SuiteError) -> Self {
        Self::Suite(error)
    }
}

/// The first bytes from a peer, quoted and escaped.
fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 80;
    match text.get(..SHOWN) {
        Some(start) if text.len() > SHOWN => {
            format!("'{}' and {} bytes more", Printable(start), text.len() - SHOWN)
        }
        _ if text.is_empty() => "nothing".to_owned(),
        _ => format!("'{}'", Printable(text)),
    }
}

#[cfg(test)]
mod tests {
    use vpn_suite::SuiteError;

    use super::*;

    /// A peer must not move the cursor: this text has an escape sequence and a line end.
    const HOSTILE: &[u8] = b"\x1b[2J\nx";
    const ESCAPED: &str = "'\\x1b[2J\\nx'";

    #[expect(clippy::too_many_lines, reason = "a table of all errors")]
    #[test]
    fn handshake_errors_are_one_line_and_quote_the_peer() {
        let got = HOSTILE.to_vec();
        let text = || "A\n".to_owned();
        let weak = || SuiteError::WeakKey { suite: "DES", reason: "all zeros" };
        let all = [
            (
                HandshakeError::Choice { got: got.clone() },
                format!("the server's choice is not ChosenCipher:NAME:BITS: {ESCAPED}"),
                None,
            ),
            (
                HandshakeError::Closed { awaited: "a proposal" },
                "the peer closed the connection while it owed us a proposal".to_owned(),
                None,
            ),
            (HandshakeError::Internal, "the handshake was driven out of order".to_owned(), None),
            (
                HandshakeError::KeyShare { got: got.clone() },
                format!("the peer's public value is not DHMKE:NUMBER: {ESCAPED}"),
                Some("Expected DHMKE:NUMBER".to_owned()),
            ),
            (
                HandshakeError::KeyShareTooLong { limit: 617 },
                "the peer's public value has more than 617 digits".to_owned(),
                Some("Expected DHMKE:NUMBER".to_owned()),
            ),
            (
                HandshakeError::KeyTooLong { suite: "X", bits: 1024 },
                "X with 1024 bits needs a longer key than the classic profile derives".to_owned(),
                Some("The derived key cannot be used; try again".to_owned()),
            ),
            (
                HandshakeError::NoSuiteInCommon {
                    line_end: LineEnd::Lf,
                    offered: text(),
                    enabled: "AES:[256]".to_owned(),
                },
                "no cipher in common: the client offers A\\n, enabled here are AES:[256]"
                    .to_owned(),
                Some("Could not agree on a cipher".to_owned()),
            ),
            (
                HandshakeError::NotOffered { choice: "B8".to_owned(), offered: "A:[8]".to_owned() },
                "the server chose B8, which was not offered (on offer: A:[8])".to_owned(),
                None,
            ),
            (
                HandshakeError::Offer { reason: OfferError::Entry, got: got.clone() },
                format!("not a proposal: a cipher is written NAME:[SIZES]: {ESCAPED}"),
                Some("Expected ProposedCiphers:NAME:[BITS,...],...".to_owned()),
            ),
            (
                HandshakeError::PublicValue(PublicValueError::OutOfRange),
                "the peer's public value is refused: the public value is not between 3 and p-2"
                    .to_owned(),
                Some(
                    "Expected another public value: the public value is not between 3 and p-2"
                        .to_owned(),
                ),
            ),
            (HandshakeError::refused(b"no\r\n"), "the server refused: 'no'".to_owned(), None),
            (
                HandshakeError::from(weak()),
                "the derived key cannot be used: DES refuses a weak key: all zeros".to_owned(),
                Some("The derived key cannot be used; try again".to_owned()),
            ),
            (
                HandshakeError::TooLong { limit: 4096 },
                "a handshake message of more than 4096 bytes".to_owned(),
                Some("Expected at most 4096 bytes".to_owned()),
            ),
        ];
        for (error, display, refusal) in all {
            assert_eq!((error.to_string(), error.refusal()), (display, refusal));
            assert!(!error.to_string().contains(['\n', '\r', '\x1b']));
        }
    }

    #[test]
    fn session_errors_are_one_line_and_quote_the_peer() {
        let weak = || SuiteError::WeakKey { suite: "DES", reason: "all zeros" };
        let limit = OpenError::TooLong { limit: 65536 };
        let all = [
            (
                SessionError::BadHmac { pending: 80 },
                "bad HMAC: 80 bytes that no HMAC vouches for".to_owned(),
                Some("Bad HMAC"),
            ),
            (SessionError::Closed, "the server closed the connection".to_owned(), None),
            (
                SessionError::Misaligned { ciphertext: 17, block: 16 },
                "bad message: 17 bytes of ciphertext are not whole blocks of 16 bytes".to_owned(),
                Some("Expected ciphertext in whole blocks of 16 bytes"),
            ),
            (
                SessionError::Open(limit),
                "bad message: no HMAC within the longest message of 65536 bytes".to_owned(),
                Some("Expected an HMAC within 65536 bytes"),
            ),
            (
                SessionError::Open(OpenError::Suite(weak())),
                "bad message: the cipher failed".to_owned(),
                None,
            ),
            (
                SessionError::Refused { text: HOSTILE.to_vec() },
                format!("the server refused: {ESCAPED}"),
                None,
            ),
            (
                SessionError::from(weak()),
                "the cipher failed: DES refuses a weak key: all zeros".to_owned(),
                None,
            ),
            (
                SessionError::TextTooLong { len: 5000, limit: 4032 },
                "a text of 5000 bytes is too long: the peer takes 4032".to_owned(),
                None,
            ),
            (
                SessionError::TimedOut { pending: 3 },
                "bad message: 3 bytes and then no end of it".to_owned(),
                Some("Expected the rest of a message"),
            ),
            (
                SessionError::Truncated { pending: 3 },
                "the connection ended inside a message, 3 bytes in".to_owned(),
                None,
            ),
        ];
        for (error, display, refusal) in all {
            assert_eq!((error.to_string(), error.refusal().as_deref()), (display, refusal));
            assert!(!error.to_string().contains(['\n', '\r', '\x1b']));
        }
    }

    #[test]
    fn an_excerpt_is_short() {
        assert_eq!(excerpt(b""), "nothing");
        assert_eq!(excerpt(&[b'a'; 80]), format!("'{}'", "a".repeat(80)));
        assert_eq!(excerpt(&[b'a'; 90]), format!("'{}' and 10 bytes more", "a".repeat(80)));
    }
}
