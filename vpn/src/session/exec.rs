//! The commands that a server may run for its clients.
//!
//! A client asks for a command by its name only. The server's configuration says what the name means, so
//! the client adds no arguments, and no shell reads its bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The greatest length of a command's name.
const NAME_LENGTH: usize = 64;

/// A command with all its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCommand {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments. No shell reads them.
    pub arguments: Vec<String>,
    /// The folder to start it in. `None` means the folder of the server.
    pub folder: Option<PathBuf>,
}

/// Commands by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecCommands(BTreeMap<String, ExecCommand>);

impl ExecCommands {
    /// Whether a command may have this name: 1 to 64 letters `a` to `z`, digits, dots, underscores and
    /// hyphens.
    pub fn is_name(name: &str) -> bool {
        let is_possible =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
        (1..=NAME_LENGTH).contains(&name.len()) && name.bytes().all(is_possible)
    }

    /// The command of this name.
    pub fn find(&self, name: &str) -> Option<&ExecCommand> {
        self.0.get(name)
    }

    /// The names of all commands, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, ExecCommand)> for ExecCommands {
    fn from_iter<I: IntoIterator<Item = (String, ExecCommand)>>(commands: I) -> Self {
        Self(commands.into_iter().collect())
    }
}
