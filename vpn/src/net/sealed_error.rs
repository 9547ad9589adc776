//! Errors of the sealed profile over a socket.

use std::io;

use crate::output::Reason;
use vpn_proto::sealed::SealedError;

/// Why a sealed handshake or session over a socket ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedIoError {
    /// The socket failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(io::Error),
    /// We are the server, the queue for computations is full, and the client was told so.
    #[error("turned away: too many key exchanges wait for their turn")]
    Full,
    /// We are the client, and the server closed the connection before it sent anything.
    #[error("closed without an answer: the server's key or PSK is another one, or it is busy")]
    NoAnswer,
    /// Nothing came from the peer for too long.
    #[error("the peer has fallen silent")]
    Silent,
    /// The protocol failed.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The deadline of the handshake has passed.
    #[error("the handshake was not over in time")]
    TimedOut,
}

impl From<io::Error> for SealedIoError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
