//! Who has to act when a session fails. One table has every cause.
//!
//! The matches have no wildcard, so a new cause does not compile until it has its row here.

use std::io::ErrorKind;

use super::error::ClientError;
use super::transfer::TransferError;
use crate::net::{BUSY, ClassicIoError, SealedIoError};
use vpn_proto::sealed::{Alert, SealedError};
use vpn_proto::{HandshakeError, SessionError};

/// Who or what is to blame for a failure, and so who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The server has no room now. Trying again later may help.
    Busy,
    /// The server does not let us in, or does not permit the service.
    Denied,
    /// The user interrupted the program.
    Interrupted,
    /// This machine: a stream cannot be read or written, and the like.
    Local,
    /// The two sides have no cipher, key exchange or key in common.
    Negotiation,
    /// The network: no connection, or no answer in time.
    Network,
    /// The peer closed too early, broke the protocol, or could not pass on every byte.
    Peer,
    /// A rule of this side forbids it.
    Policy,
    /// The server is not the one that was expected.
    ServerKey,
    /// What the user asked for: an argument, a setting, a file.
    Usage,
}

impl ClientError {
    /// Who has to act.
    pub fn blame(&self) -> Blame {
        of_client(self)
    }
}

impl TransferError {
    /// Who has to act.
    pub fn blame(&self) -> Blame {
        of_transfer(self)
    }
}

fn of_client(error: &ClientError) -> Blame {
    match error {
        ClientError::Advised { error, .. } => of_client(error),
        // No message can carry this line, so the user has to change it.
        ClientError::Input(error) if error.kind() == ErrorKind::InvalidData => Blame::Usage,
        ClientError::Console(_) | ClientError::Input(_) => Blame::Local,
        ClientError::Interrupted => Blame::Interrupted,
        ClientError::Untrusted(_) => Blame::ServerKey,
        ClientError::Dial(_) | ClientError::Io(_) | ClientError::NoReply(_) => Blame::Network,
        ClientError::Handshake(ClassicIoError::Full) => Blame::Busy,
        // The classic profile has no code for it, so a server of ours says it with this text.
        ClientError::Handshake(ClassicIoError::Handshake(HandshakeError::Refused { text }))
            if text.starts_with(BUSY) =>
        {
            Blame::Busy
        }
        ClientError::Handshake(ClassicIoError::Handshake(_)) => Blame::Negotiation,
        ClientError::Handshake(ClassicIoError::Io(_) | ClassicIoError::TimedOut) => Blame::Network,
        ClientError::Session(SessionError::TextTooLong { .. }) => Blame::Usage,
        ClientError::Session(_) => Blame::Peer,
        ClientError::Busy(_) => Blame::Busy,
        ClientError::NotPermitted(_) | ClientError::Exec(_) => Blame::Denied,
        ClientError::Listen(_) => Blame::Network,
        ClientError::RemoteListen(_) => Blame::Busy,
        ClientError::Unreachable(_) => Blame::Network,
        ClientError::Transfer(error) => of_transfer(error),
        ClientError::Sealed(error) => of_connection(error),
    }
}

fn of_transfer(error: &TransferError) -> Blame {
    match error {
        TransferError::Input(_) | TransferError::Output(_) | TransferError::ReaderGone => {
            Blame::Local
        }
        TransferError::Cut(_)
        | TransferError::EndedEarly
        | TransferError::Stopped
        | TransferError::Undelivered { .. } => Blame::Peer,
        TransferError::Sealed(error) => of_connection(error),
    }
}

fn of_connection(error: &SealedIoError) -> Blame {
    match error {
        SealedIoError::Io(_)
        | SealedIoError::NoAnswer
        | SealedIoError::Silent
        | SealedIoError::TimedOut => Blame::Network,
        SealedIoError::Full => Blame::Busy,
        SealedIoError::Sealed(error) => of_sealed(error),
    }
}

fn of_sealed(error: &SealedError) -> Blame {
    match error {
        SealedError::Authentication(_) | SealedError::ServerKey { .. } => Blame::ServerKey,
        SealedError::Busy => Blame::Busy,
        SealedError::KexRetry { .. }
        | SealedError::NothingInCommon { .. }
        | SealedError::PskNotAccepted => Blame::Negotiation,
        SealedError::Limit(_) => Blame::Policy,
        SealedError::Alert(alert) => match alert {
            Alert::AccessDenied => Blame::Denied,
            Alert::Busy | Alert::Draining(_) => Blame::Busy,
            Alert::Policy => Blame::Policy,
            Alert::Timeout => Blame::Network,
            Alert::CloseNotify
            | Alert::ProtocolError
            | Alert::Replaced
            | Alert::Undelivered(_)
            | Alert::Unknown(_) => Blame::Peer,
        },
        SealedError::BadRecord
        | SealedError::Cut
        | SealedError::Gate
        | SealedError::Internal
        | SealedError::Kex(_)
        | SealedError::Malformed(_)
        | SealedError::Replayed
        | SealedError::Suite(_)
        | SealedError::Unexpected { .. } => Blame::Peer,
    }
}
