//! Keys in files, and the files that say which keys are trusted (PROTOCOL.md §4.8).

mod authorized;
mod keys;
mod known;

pub use authorized::{AuthorizedClients, Grant};
pub use keys::{
    PublicKey, fingerprint, generate, read_identity, read_psk, read_public_key, write_new,
};
pub use known::{KnownServers, Standing};

use std::path::{Path, PathBuf};

/// The folder of the user's files: `$XDG_CONFIG_HOME/vpn`, else `~/.config/vpn`.
pub fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(base.join("vpn"))
}

/// Makes a folder for its owner alone, unless it is there.
///
/// # Errors
///
/// What the system says.
pub fn create_folder(folder: &Path) -> Result<(), IdentityError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(IdentityError::io(folder))
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// It exists, and nobody said that it may be overwritten.
    #[error("{} exists already", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is not in the form that it should have.
    #[error("{}: {problem}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system says no.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One line of it is wrong.
    #[error("{}:{line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Others than its owner could change or read it.
    #[error("{} must not be {what} by others (chmod {mode} {})", .path.display(), .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// `readable` or `writable`.
        what: &'static str,
        /// The mode it should have.
        mode: &'static str,
    },
}

impl IdentityError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn form(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Form { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// Refuses a file that has any of these permission bits.
#[cfg(unix)]
fn check_mode(
    path: &Path,
    bits: u32,
    what: &'static str,
    mode: &'static str,
) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).map_err(IdentityError::io(path))?;
    if meta.is_file() && meta.permissions().mode() & bits != 0 {
        return Err(IdentityError::Permissions { path: path.to_owned(), what, mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: u32, _: &'static str, _: &'static str) -> Result<(), IdentityError> {
    Ok(())
}
