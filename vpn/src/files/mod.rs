//! Files that a user names: one way to read them, one way to write them.
//!
//! [`read`] is the only function of the program that reads a user's file. It takes regular files only,
//! at most [`Role::most`] bytes, opens them once, and checks owner and modes on that descriptor. It has
//! a deadline, because a network disk may never answer. [`write_new`] and [`write_pair`] replace files
//! so that a failure leaves the old ones whole; [`append_line`] adds to a file that people edit.

mod read;
#[cfg(unix)]
mod trust;
mod write;

pub use read::{Contents, NotText, Stamp, read};
pub(crate) use read::{look_here, read_here, text_of};
pub use write::{NewFile, append_line, create_folder, open_append, write_new, write_pair};

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::output::small;
use vpn_proto::Printable;

/// A disk that has not answered by then is taken for one that never will.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The list of clients that a server lets in.
    AuthorizedClients,
    /// The servers to which the client's user has given names.
    ClientToml,
    /// The ciphers and other settings.
    Config,
    /// A private key.
    Identity,
    /// Where the keys of sessions are logged.
    KeyLog,
    /// The keys of servers met before.
    KnownServers,
    /// A shared key.
    Psk,
    /// A key whose fingerprint is asked for.
    PublicKey,
}

/// What others must not be able to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Anything: nothing is decided by it.
    None,
    /// Change it.
    Unchanged,
    /// Read it.
    Secret,
}

impl Role {
    /// How messages call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::AuthorizedClients => "list of authorized clients",
            Self::ClientToml => "client.toml",
            Self::Config => "configuration",
            Self::Identity => "private key",
            Self::KeyLog => "key log",
            Self::KnownServers => "list of known servers",
            Self::Psk => "PSK",
            Self::PublicKey => "key",
        }
    }

    /// What is to be done if it does not exist.
    fn remedy(self, path: &Path) -> Option<String> {
        let path = shown(path);
        Some(match self {
            Self::AuthorizedClients => "give it a line for each client: the text of the client's \
                                        .pub file; --authorized-clients names it"
                .to_owned(),
            Self::Identity => {
                format!("`vpn keygen --out {path}` makes one; --identity names another")
            }
            Self::Psk => format!(
                "`(umask 077; openssl rand -hex 32 > {path})` makes one; --psk names another"
            ),
            Self::Config | Self::ClientToml | Self::KeyLog | Self::KnownServers => return None,
            Self::PublicKey => return None,
        })
    }

    /// What others must not be able to do with it.
    pub fn care(self) -> Care {
        match self {
            Self::Identity | Self::Psk | Self::KeyLog => Care::Secret,
            Self::AuthorizedClients | Self::ClientToml | Self::KnownServers => Care::Unchanged,
            // A configuration is trusted only as far as it has a table `[sealed]`; see `Contents`.
            Self::Config | Self::PublicKey => Care::None,
        }
    }

    /// The most bytes that are read of it.
    pub fn most(self) -> u64 {
        match self {
            // Some 150,000 clients.
            Self::AuthorizedClients => 16 * 1024 * 1024,
            _ => 1024 * 1024,
        }
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {} the {} {}: {problem}", self.verb(), .role.noun(), shown(.path))]
pub struct FileError {
    /// What it is for.
    pub role: Role,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: FileProblem,
}

impl FileError {
    pub(crate) fn new(role: Role, path: &Path, problem: FileProblem) -> Self {
        Self { role, path: path.to_owned(), problem }
    }

    /// Whether it is about a file that was to be written.
    pub fn is_about_writing(&self) -> bool {
        matches!(self.problem, FileProblem::Exists | FileProblem::Unwritable(_) | FileProblem::Link)
    }

    fn verb(&self) -> &'static str {
        match self.problem {
            _ if self.is_about_writing() => "write",
            FileProblem::Distrusted { .. } | FileProblem::Folder { .. } => "trust",
            FileProblem::Owner { .. } => "trust",
            _ => "use",
        }
    }

    /// What the user can do about it, where the message does not say it.
    pub fn hint(&self) -> Option<String> {
        match &self.problem {
            FileProblem::Missing => self.role.remedy(&self.path),
            FileProblem::Exists => Some("--force replaces it".to_owned()),
            FileProblem::Owner { .. } => Some(format!(
                "somebody else could change it; if it is yours, `chown \"$(id -u)\" {}`",
                shown(&self.path)
            )),
            FileProblem::NotRegular(what) if *what != "a folder" => {
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
    /// Others could change or read it.
    #[error("it must not be {what} by others (chmod {mode} {})", shown(.path))]
    Distrusted {
        /// `readable` or `writable`.
        what: &'static str,
        /// The mode that it should have.
        mode: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is there, and nobody said that it may be replaced.
    #[error("it exists already")]
    Exists,
    /// Others could put another file in its place.
    #[error("{}", folder_words(.folder, *.owner))]
    Folder {
        /// The folder that lets them.
        folder: PathBuf,
        /// Whose it is, if that is why.
        owner: Option<u32>,
    },
    /// The system says no.
    #[error("{0}")]
    Io(String),
    /// It is a symbolic link where a file is to be written.
    #[error("it is a symbolic link; name the file that it points to")]
    Link,
    /// It is a symbolic link to what does not exist.
    #[error("it is a symbolic link to a file that does not exist")]
    Dangling,
    /// It does not exist.
    #[error("there is no such file")]
    Missing,
    /// Its path cannot be read as one.
    #[error("{0}")]
    Path(String),
    /// It is a pipe, a device, a folder or a socket.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It belongs to somebody else.
    #[error("it belongs to another user (number {0})", .owner)]
    Owner {
        /// The number of that user.
        owner: u32,
    },
    /// Another file took its place while it was looked at.
    #[error("it was replaced while it was read; try again")]
    Replaced,
    /// Its disk does not answer.
    #[error("its disk has not answered for {} seconds", DEADLINE.as_secs())]
    TimedOut,
    /// There is more of it than such a file has.
    #[error("it is longer than {} KiB", .0 / 1024)]
    TooLong(u64),
    /// The system does not let us write it.
    #[error("{0}")]
    Unwritable(String),
}

fn folder_words(folder: &Path, owner: Option<u32>) -> String {
    let folder = shown(folder);
    match owner {
        Some(owner) => format!("its folder {folder} belongs to another user (number {owner})"),
        None => format!("others can write to its folder {folder} (chmod go-w {folder})"),
    }
}

/// The path itself, with `~/` as the home folder.
fn place(path: &Path, role: Role) -> Result<PathBuf, FileError> {
    expand(path).map_err(|words| FileError::new(role, path, FileProblem::Path(words)))
}

impl FileProblem {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            // Nothing can be where a part of the path is no folder.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Io(plain(error)),
        }
    }

    fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Unwritable("there is no such folder".to_owned()),
            _ => Self::Unwritable(plain(error)),
        }
    }
}

/// The words of a system's error about a file; other errors have those of [`crate::output::Reason`].
pub fn plain(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::StorageFull => "no space is left on the disk",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only",
        io::ErrorKind::IsADirectory => "it is a folder",
        io::ErrorKind::NotADirectory => "a part of its path is not a folder",
        io::ErrorKind::InvalidFilename => "its name is too long",
        _ => return small(&error.to_string()),
    };
    words.to_owned()
}

/// A path as messages show it: with everything escaped that could move a cursor or hide text.
pub fn shown(path: &Path) -> String {
    Printable(path.as_os_str().as_encoded_bytes()).to_string()
}

/// The home folder: `$HOME`, or else what the system's list of users says.
pub fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The path that a setting means: `~/` is the home folder; other relative paths are beside the file
/// that has the setting.
///
/// # Errors
///
/// What is wrong, if it begins with another `~` or there is no home folder.
pub fn resolve(folder: &Path, name: &Path) -> Result<PathBuf, String> {
    let expanded = expand(name)?;
    Ok(folder.join(expanded))
}

/// The path that a user means, with `~/` as the home folder.
///
/// # Errors
///
/// As [`resolve`].
pub fn expand(name: &Path) -> Result<PathBuf, String> {
    let bytes = name.as_os_str().as_encoded_bytes();
    if !bytes.starts_with(b"~") {
        return Ok(name.to_owned());
    }
    let mut parts = name.components();
    let first = parts.next().map(|part| part.as_os_str().to_owned());
    if first.is_some_and(|first| first == "~") {
        let home = home().ok_or("there is no home folder for ~; write the whole path")?;
        return Ok(home.join(parts.as_path()));
    }
    Err(format!("'{}': only ~/ is known; write the whole path", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_folder() {
        let home = home().unwrap();
        assert_eq!(resolve(Path::new("/etc"), Path::new("~/x/y")).unwrap(), home.join("x/y"));
        assert_eq!(resolve(Path::new("/etc"), Path::new("x")).unwrap(), Path::new("/etc/x"));
        assert_eq!(resolve(Path::new("/etc"), Path::new("/x~")).unwrap(), Path::new("/x~"));
        let error = resolve(Path::new("/etc"), Path::new("~root/x")).unwrap_err();
        assert!(error.contains("write the whole path"), "{error}");
    }

    #[test]
    fn words_of_the_system_have_no_numbers() {
        for number in 1..134 {
            let words = plain(&io::Error::from_raw_os_error(number));
            assert!(!words.contains("os error") && !words.is_empty(), "{words}");
        }
    }
}
