//! Why a handshake or a session ends before its time.

use vpn_suite::SuiteError;

use super::classic::{CHOICE_FORM, LineEnd, OpenError, PROPOSAL_FORM, SHARE_FORM};
use super::dh::PublicValueError;
use super::negotiate::OfferError;
use super::text::Printable;

/// Why a handshake stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The server's choice cannot be read.
    #[error("the server's choice is not {CHOICE_FORM}: {}", excerpt(.got))]
    Choice {
        /// What it sent.
        got: Vec<u8>,
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection while it owed us {awaited}")]
    Closed {
        /// What was to come next.
        awaited: &'static str,
    },
    /// A call in an order that the driver of a handshake should not use.
    #[error("the handshake was driven out of order")]
    Internal,
    /// The peer's public value cannot be read.
    #[error("the peer's public value is not {SHARE_FORM}: {}", excerpt(.got))]
    KeyShare {
        /// What it sent.
        got: Vec<u8>,
    },
    /// The peer's public value has more digits than the prime.
    #[error("the peer's public value has more than {limit} digits")]
    KeyShareTooLong {
        /// The digits of the prime.
        limit: usize,
    },
    /// A suite wants more key than the classic profile can derive.
    #[error("{suite} with {bits} bits needs a longer key than the classic profile derives")]
    KeyTooLong {
        /// The suite.
        suite: &'static str,
        /// Its key size in bits.
        bits: u32,
    },
    /// Nothing the client offers is both linked and enabled here.
    #[error("no cipher in common: the client offers {}, enabled here are {enabled}", Printable(.offered.as_bytes()))]
    NoSuiteInCommon {
        /// The client's line end, for the answer.
        line_end: LineEnd,
        /// The client's list.
        offered: String,
        /// Ours.
        enabled: String,
    },
    /// The server chose something that was not on offer.
    #[error("the server chose {choice}, which was not offered (on offer: {offered})")]
    NotOffered {
        /// Its choice.
        choice: String,
        /// Our list.
        offered: String,
    },
    /// The client's proposal cannot be read.
    #[error("not a proposal: {reason}: {}", excerpt(.got))]
    Offer {
        /// The first thing wrong with it.
        reason: OfferError,
        /// What the client sent.
        got: Vec<u8>,
    },
    /// The peer's public value is outside the group.
    #[error("the peer's public value is refused: {0}")]
    PublicValue(PublicValueError),
    /// The peer gave up and said why.
    #[error("the server refused: {}", excerpt(.text))]
    Refused {
        /// Its words.
        text: Vec<u8>,
    },
    /// A suite refused the derived key.
    #[error("the derived key cannot be used: {0}")]
    Suite(SuiteError),
    /// More than a handshake message can have.
    #[error("a handshake message of more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

impl HandshakeError {
    /// What a server tells its client; `None` if the protocol has no words for it.
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

/// Why an established session stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A message whose HMAC is not that of its ciphertext, or that was cut or altered.
    #[error("bad HMAC: {pending} bytes that no HMAC vouches for")]
    BadHmac {
        /// How many bytes were waiting.
        pending: usize,
    },
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// A message with an HMAC behind ciphertext that is not whole blocks.
    #[error("bad message: {ciphertext} bytes of ciphertext are not whole blocks of {block} bytes")]
    Misaligned {
        /// The length of the ciphertext.
        ciphertext: usize,
        /// The block size.
        block: usize,
    },
    /// No HMAC where there should be one by now.
    #[error("bad message: {0}")]
    Open(OpenError),
    /// The server gave up and said why.
    #[error("the server refused: {}", excerpt(.text))]
    Refused {
        /// Its words.
        text: Vec<u8>,
    },
    /// A suite failed.
    #[error("the cipher failed: {0}")]
    Suite(SuiteError),
    /// A text that the peer could not read.
    #[error("a text of {len} bytes is too long: the peer takes {limit}")]
    TextTooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest one in bytes.
        limit: usize,
    },
    /// A message took too long to arrive.
    #[error("bad message: {pending} bytes and then no end of it")]
    TimedOut {
        /// How many bytes had come.
        pending: usize,
    },
    /// The connection ended inside a message.
    #[error("the connection ended inside a message, {pending} bytes in")]
    Truncated {
        /// How many bytes had come.
        pending: usize,
    },
}

impl SessionError {
    /// What a server tells its client; `None` if the protocol has no words for it.
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

/// The beginning of what a peer sent, quoted and escaped.
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
