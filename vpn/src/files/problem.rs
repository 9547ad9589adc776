//! The errors of reading and writing files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::paths::shown;
use super::role::Role;
use crate::output::clause;

/// How long a disk may take to answer. A network disk may never answer.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {} the {} {}: {problem}", self.verb(), .role.name(), shown(.path))]
pub struct FileError {
    /// What the file is for.
    pub role: Role,
    /// The path of the file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: FileProblem,
}

impl FileError {
    pub(crate) fn new(role: Role, path: &Path, problem: FileProblem) -> Self {
        Self { role, path: path.to_owned(), problem }
    }

    /// Whether the file cannot be written. Otherwise it cannot be read, or not be trusted.
    pub fn is_about_writing(&self) -> bool {
        matches!(self.problem, FileProblem::Exists | FileProblem::Unwritable(_) | FileProblem::Link)
    }

    fn verb(&self) -> &'static str {
        match self.problem {
            _ if self.is_about_writing() => "write",
            FileProblem::Permissions { .. }
            | FileProblem::Folder { .. }
            | FileProblem::Owner { .. } => "trust",
            _ => "use",
        }
    }

    /// What the user can do. `None` if the message says it already.
    pub fn hint(&self) -> Option<String> {
        match &self.problem {
            FileProblem::Missing => self.role.remedy_if_missing(&self.path),
            FileProblem::Exists => Some("--force replaces it".to_owned()),
            FileProblem::Owner { .. } => Some(format!(
                "somebody else could change it; if it is yours, `chown \"$(id -u)\" {}`",
                shown(&self.path)
            )),
            FileProblem::NotRegular(kind) if *kind != "a folder" => {
                Some("write its content to a file, and name that".to_owned())
            }
            _ => None,
        }
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// The file is a symbolic link to a missing file.
    #[error("it is a symbolic link to a file that does not exist")]
    Dangling,
    /// The file exists, and it was not said that it may be replaced.
    #[error("it exists already")]
    Exists,
    /// Another user could replace the file, because that user can write to its folder.
    #[error("{}", folder_message(.folder, *.owner))]
    Folder {
        /// The folder that the other user can write to.
        folder: PathBuf,
        /// The user ID of the owner, if the folder belongs to another user.
        owner: Option<u32>,
    },
    /// The system reports an error.
    #[error("{0}")]
    Io(String),
    /// The file is a symbolic link, and would be written.
    #[error("it is a symbolic link; name the file that it points to")]
    Link,
    /// The file does not exist.
    #[error("there is no such file")]
    Missing,
    /// The file is a folder, pipe, device or socket. The text says which.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// The file belongs to another user.
    #[error("it belongs to another user (number {0})", .owner)]
    Owner {
        /// The user ID of the owner.
        owner: u32,
    },
    /// The path is not valid.
    #[error("{0}")]
    Path(String),
    /// Other users can read or change the file.
    #[error("it must not be {what} by others (chmod {mode} {})", shown(.path))]
    Permissions {
        /// `readable` or `writable`.
        what: &'static str,
        /// The octal mode that the file should have.
        mode: &'static str,
        /// The path of the file.
        path: PathBuf,
    },
    /// Another file took the place of the file while it was checked.
    #[error("it was replaced while it was read; try again")]
    Replaced,
    /// The disk does not answer.
    #[error("its disk has not answered for {} seconds", DEADLINE.as_secs())]
    TimedOut,
    /// The file is longer than this number of bytes.
    #[error("it is longer than {} KiB", .0 / 1024)]
    TooLong(u64),
    /// The system reports an error about writing.
    #[error("{0}")]
    Unwritable(String),
}

impl FileProblem {
    /// The problem for an error of reading.
    pub(super) fn of_reading(error: &io::Error) -> Self {
        match error.kind() {
            // `NotADirectory`: a part of the path is a file, so the path does not exist.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Io(io_message(error)),
        }
    }

    /// The problem for an error of writing.
    pub(super) fn of_writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Unwritable("there is no such folder".to_owned()),
            _ => Self::Unwritable(io_message(error)),
        }
    }
}

fn folder_message(folder: &Path, owner: Option<u32>) -> String {
    let folder = shown(folder);
    match owner {
        Some(owner) => format!("its folder {folder} belongs to another user (number {owner})"),
        None => format!("others can write to its folder {folder} (chmod go-w {folder})"),
    }
}

/// The message for a system error about a file. It has no error number. Errors about other things use
/// [`crate::output::Reason`].
pub fn io_message(error: &io::Error) -> String {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::StorageFull => "no space is left on the disk",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only",
        io::ErrorKind::IsADirectory => "it is a folder",
        io::ErrorKind::NotADirectory => "a part of its path is not a folder",
        io::ErrorKind::InvalidFilename => "its name is too long",
        _ => return clause(&error.to_string()),
    };
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_system_errors_have_no_numbers() {
        for number in 1..134 {
            let message = io_message(&io::Error::from_raw_os_error(number));
            assert!(!message.contains("os error") && !message.is_empty(), "{message}");
        }
    }
}
