//! Why a client's session ended before its time.

use std::io;
use std::time::Duration;

use super::transfer::TransferError;
use crate::net::{ClassicIoError, DialError, SealedIoError};
use crate::output::Reason;
use crate::term::ConsoleClosed;
use vpn_proto::SessionError;
use vpn_proto::classic::Advice;

/// Why a client ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A failure that a setting of the dialect may mend.
    #[error("{error}")]
    Advised {
        /// The failure.
        error: Box<Self>,
        /// The setting.
        advice: Box<Advice>,
    },
    /// The server has no room now.
    #[error("the server is busy: {0}")]
    Busy(String),
    /// Standard output is closed.
    #[error(transparent)]
    Console(#[from] ConsoleClosed),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is no session.
    #[error(transparent)]
    Handshake(ClassicIoError),
    /// The texts cannot be read.
    #[error("cannot read the next text: {}", Reason(.0))]
    Input(io::Error),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The connection failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// The server stays silent.
    #[error("no reply within {} seconds", .0.as_secs())]
    NoReply(Duration),
    /// The server does not let us have the service.
    #[error("the server refuses the service: {0}")]
    NotPermitted(String),
    /// A byte stream ended before its end.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The sealed session is over, or there is none.
    #[error(transparent)]
    Sealed(#[from] SealedIoError),
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server is not the one that it should be.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl ClientError {
    /// The same with what may mend it, if something is known that may.
    pub(super) fn advised(self, advice: Option<Advice>) -> Self {
        match advice {
            Some(advice) => Self::Advised { error: Box::new(self), advice: Box::new(advice) },
            None => self,
        }
    }
}

/// The server is not the one that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Untrusted {
    /// Why, with fingerprints.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// What a client thinks of the server that it has met.
pub type Verdict = Result<(), Untrusted>;
