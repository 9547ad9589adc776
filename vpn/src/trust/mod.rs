//! Keys in files, and the files that say which keys are trusted (PROTOCOL.md §4.8).

mod authorized;
mod keys;
mod known;
mod name;
mod private;
mod psk;

pub use authorized::{AuthorizedClients, ClientList, Grant, ServiceNames};
pub use keys::{
    Pin, PublicKey, described, fingerprint, generate, read_public_key, read_public_keys,
};
pub use known::{Known, KnownServers};
pub use name::{Host, NameError, ServerName, one_port};
pub use private::read_identity;
pub use psk::read_psk;

use std::path::{Path, PathBuf};

use crate::files::{FileError, home, shown};
use vpn_proto::Printable;

/// The folder of the user's files: `$XDG_CONFIG_HOME/vpn`, else `~/.config/vpn`.
pub fn folder() -> Option<PathBuf> {
    // A relative one means nothing, says the specification.
    let set = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = set.or_else(|| Some(home()?.join(".config")))?;
    Some(base.join("vpn"))
}

/// Why a file of keys cannot be used. What a file says is escaped in every message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not in the form that it should have.
    #[error("{}: {}", shown(.path), Printable(.problem.as_bytes()))]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// One line of it is wrong.
    #[error("{}:{line}: {}", shown(.path), Printable(.problem.as_bytes()))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It has a passphrase, and nobody can be asked for it.
    #[error("{}: it has a passphrase, and {reason}", shown(.path))]
    NobodyToAsk {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl IdentityError {
    fn form(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Form { path: path.to_owned(), problem: problem.to_string() }
    }

    fn line(path: &Path, line: usize, problem: impl std::fmt::Display) -> Self {
        Self::Line { path: path.to_owned(), line, problem: problem.to_string() }
    }

    /// What the user can do about it, where the message does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::NobodyToAsk { path, .. } => Some(format!(
                "start it at a terminal, or name a key without one; `ssh-keygen -p -f {}` takes it off",
                shown(path)
            )),
            _ => None,
        }
    }
}
