//! The error of the library.

use std::error::Error as StdError;
use std::{fmt, io};

use crate::config::ConfigError;
use crate::files::FileError;
use crate::net::ListenError;
use crate::session::{Blame, ClientError, TransferError};
use crate::trust::{NameError, TrustError};
use vpn_suite::RegistryError;

/// The error of the library. [`Error::blame`] says who has to act.
///
/// Its text is one line. Causes are in [`source`](StdError::source).
#[derive(Debug)]
pub struct Error {
    blame: Blame,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// An error of a lower layer, with its own text.
    Lower(Box<dyn StdError + Send + Sync>),
    /// The text of an error of this layer.
    Words(String),
}

impl Error {
    /// Who or what is to blame, and so who has to act.
    pub fn blame(&self) -> Blame {
        self.blame
    }

    pub(super) fn new(blame: Blame, words: impl Into<String>) -> Self {
        Self { blame, cause: Cause::Words(words.into()) }
    }

    /// The error of linked suites that cannot be used.
    pub(super) fn registry(error: RegistryError) -> Self {
        Self::lower(Blame::Usage, error)
    }

    /// What a read or a write of a channel says.
    pub(super) fn of_channel(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::lower(Blame::Peer, error),
        }
    }

    fn lower(blame: Blame, error: impl StdError + Send + Sync + 'static) -> Self {
        Self { blame, cause: Cause::Lower(Box::new(error)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Lower(error) => fmt::Display::fmt(error, f),
            Cause::Words(words) => f.write_str(words),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Cause::Lower(error) => error.source(),
            Cause::Words(_) => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.blame {
            Blame::Busy => io::ErrorKind::ResourceBusy,
            Blame::Denied | Blame::Policy | Blame::ServerKey => io::ErrorKind::PermissionDenied,
            Blame::Interrupted => io::ErrorKind::Interrupted,
            Blame::Network => io::ErrorKind::NotConnected,
            Blame::Peer => io::ErrorKind::ConnectionAborted,
            Blame::Usage => io::ErrorKind::InvalidInput,
            Blame::Local | Blame::Negotiation => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::lower(error.blame(), error)
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        Self::lower(error.blame(), error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::lower(Blame::Usage, error)
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let blame = if error.is_about_writing() { Blame::Local } else { Blame::Usage };
        Self::lower(blame, error)
    }
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::File(error) => error.into(),
            error => Self::lower(Blame::Usage, error),
        }
    }
}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Self {
        Self::lower(Blame::Network, error)
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::lower(Blame::Usage, error)
    }
}
