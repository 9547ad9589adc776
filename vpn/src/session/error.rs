//! Why a client's session failed.

use std::io;
use std::time::Duration;

use super::transfer::TransferError;
use crate::net::{ClassicIoError, DialError, SealedIoError};
use crate::output::Reason;
use crate::term::ConsoleClosed;
use vpn_proto::SessionError;
use vpn_proto::classic::Advice;

/// Why a client's session failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A failure, and a setting of the dialect that may help.
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
    /// The client could not connect.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The classic handshake failed.
    #[error(transparent)]
    Handshake(ClassicIoError),
    /// The next text cannot be read.
    #[error("cannot read the next text: {}", Reason(.0))]
    Input(io::Error),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The connection failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// The server does not run the command.
    #[error("{0}")]
    Exec(String),
    /// The server cannot listen for a forward. It may be possible later.
    #[error("the server does not listen: {0}")]
    RemoteListen(String),
    /// The client cannot listen for a forward.
    #[error("{0}")]
    Listen(String),
    /// The server did not reply within this time.
    #[error("no reply within {} seconds", .0.as_secs())]
    NoReply(Duration),
    /// The server does not permit the service.
    #[error("the server refuses the service: {0}")]
    NotPermitted(String),
    /// A transfer of bytes failed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The sealed handshake or the sealed session failed.
    #[error(transparent)]
    Sealed(#[from] SealedIoError),
    /// The classic session failed, or the server ended a session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server cannot reach the target.
    #[error("the server cannot reach the target: {0}")]
    Unreachable(String),
    /// The server has another key than expected, or an unknown one.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl ClientError {
    /// Adds the setting that may help, if there is one.
    pub(super) fn advised(self, advice: Option<Advice>) -> Self {
        match advice {
            Some(advice) => Self::Advised { error: Box::new(self), advice: Box::new(advice) },
            None => self,
        }
    }
}

/// The server has another key than expected, or an unknown one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Untrusted {
    /// Why, with fingerprints.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}
