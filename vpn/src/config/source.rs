//! Where a configuration comes from: a file, or the default that is built in.

use std::path::{Path, PathBuf};

/// The file that server and client read if `--config` names no other.
pub const DEFAULT_PATH: &str = "server_cipher.toml";
/// The configuration that is used if [`DEFAULT_PATH`] does not exist: the file as it is shipped.
pub const BUILT_IN: &str = include_str!("../../../server_cipher.toml");

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The built-in default, [`BUILT_IN`].
    BuiltIn,
    /// The file at this path.
    File(PathBuf),
}

impl Source {
    /// The path that error messages show.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::BuiltIn => Path::new("built-in server_cipher.toml"),
            Self::File(path) => path,
        }
    }

    /// The folder that relative paths in the configuration start from.
    pub(super) fn folder(&self) -> &Path {
        self.path().parent().unwrap_or_else(|| Path::new(""))
    }
}
