//! The errors of configuration files.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use super::source::DEFAULT_PATH;
use crate::files::{FileError, NotText, shown};
use vpn_proto::Printable;

/// Why a configuration file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of the file is wrong.
    #[error("{}:{line}: {}", shown(.path), Printable(.problem.to_string().as_bytes()))]
    Problem {
        /// The path of the file.
        path: PathBuf,
        /// The number of the line. The first line is 1.
        line: usize,
        /// What is wrong in this line.
        problem: Problem,
    },
}

impl ConfigError {
    pub(super) fn at(path: &Path, line: usize, problem: Problem) -> Self {
        Self::Problem { path: path.to_owned(), line, problem }
    }
}

/// What is wrong in a line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages explain the variants and their fields")]
pub enum Problem {
    #[error("cipher '{found}' is listed twice (it is {suite})")]
    DuplicateCipher { found: String, suite: &'static str },
    #[error("{suite} {found} is listed twice")]
    DuplicateKeySize { suite: &'static str, found: i64 },
    #[error("server '{name}' is described twice")]
    DuplicateServer { name: String },
    #[error("early_drop is [START, PERCENT, FULL], with START below FULL, as in [64, 30, 256]")]
    EarlyDrop,
    #[error("{suite} {found}: the classic profile derives keys of at most 512 bits")]
    KeySizeTooLong { suite: &'static str, found: i64 },
    /// Any other problem, described in full.
    #[error("{0}")]
    Message(String),
    #[error("'{found}' is no address or network")]
    Network { found: String },
    #[error(
        "no [[supported_cipher]] table, so nothing could be agreed on; `vpn suites --show-config` \
         prints an example"
    )]
    NoCiphers,
    #[error("the list of keys of {suite} is empty (possible: {possible})")]
    NoKeySizes { suite: &'static str, possible: String },
    #[error("none of its ciphers is linked; list some of {linked} in a {DEFAULT_PATH}")]
    NothingBuiltIn { linked: String },
    #[error("{0}")]
    NotText(NotText),
    #[error("{key} = {found} is not between {} and {}", .range.start(), .range.end())]
    OutOfRange { key: &'static str, found: i64, range: RangeInclusive<u64> },
    #[error("unknown cipher '{name}' (linked: {linked}){remedy}")]
    UnknownCipher { name: String, linked: String, remedy: String },
    #[error("{suite} has no key of {found} bits (possible: {possible}){remedy}")]
    UnknownKeySize { suite: &'static str, found: i64, possible: String, remedy: String },
    #[error("{key} = '{found}' is unknown (possible: {possible})")]
    UnknownValue { key: &'static str, found: String, possible: String },
}

/// A problem and the bytes of the text that have it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) problem: Problem,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, problem: Problem) -> Self {
        Self { span, problem }
    }

    /// A fault that needs no variant of [`Problem`]: `message` describes it in full.
    pub(super) fn message(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(span, Problem::Message(message.into()))
    }

    /// A fault that belongs to the whole file. It is reported for line 1.
    pub(super) fn of_file(problem: Problem) -> Self {
        Self::new(0..0, problem)
    }

    /// The error for users. `path` and `text` are the file that has the fault.
    pub(super) fn in_file(self, path: &Path, text: &str) -> ConfigError {
        ConfigError::at(path, line_at(text, self.span.start), self.problem)
    }
}

/// The number of the line that contains this byte. The first line is 1.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    let before = &text.as_bytes()[..byte.min(text.len())];
    before.iter().filter(|b| **b == b'\n').count() + 1
}
