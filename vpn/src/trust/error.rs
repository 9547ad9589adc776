//! The errors of key files and of the files that say which keys are trusted.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::files::{FileError, shown};
use vpn_proto::Printable;

/// Why a file of keys cannot be used. Messages escape the control characters of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file as a whole has the wrong format.
    #[error("{}: {}", shown(.path), Printable(.problem.as_bytes()))]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}: {}", shown(.path), Printable(.problem.as_bytes()))]
    Line {
        /// The path of the file.
        path: PathBuf,
        /// The number of the line. The first line is 1.
        line: usize,
        /// What is wrong in this line.
        problem: String,
    },
    /// The private key needs a passphrase, and the user did not give one.
    #[error("{}: it has a passphrase, and {reason}", shown(.path))]
    NoPassphrase {
        /// The path of the file.
        path: PathBuf,
        /// Why there is no passphrase.
        reason: String,
    },
}

impl TrustError {
    pub(super) fn format(path: &Path, problem: impl Display) -> Self {
        Self::Format { path: path.to_owned(), problem: problem.to_string() }
    }

    pub(super) fn line(path: &Path, line: usize, problem: impl Display) -> Self {
        Self::Line { path: path.to_owned(), line, problem: problem.to_string() }
    }

    /// What the user can do. `None` if the message says it already.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::NoPassphrase { path, .. } => Some(format!(
                "start it at a terminal, or name a key without one; `ssh-keygen -p -f {}` takes it off",
                shown(path)
            )),
            Self::Format { .. } | Self::Line { .. } => None,
        }
    }
}
