//! What every table of the configuration has in common.

use std::ops::Range;

use vpn_suite::Registry;

use super::problem::{Fault, line_at};
use super::source::Source;
use super::table::RawTable;

/// One table of `server_cipher.toml`. The type that implements this holds the checked values.
pub(super) trait Section: Sized {
    /// The name of the table, without brackets.
    const NAME: &'static str;
    /// All keys that the table may have.
    const KEYS: &'static [&'static str];
    /// Whether the file may have several of these tables, written `[[NAME]]`.
    const IS_LIST: bool = false;

    /// Takes the table out of the file and checks it. Flags of the command line replace its values.
    ///
    /// A table that is not in the file has no keys; it is an error only if a table is required.
    fn read(file: &mut RawTable<'_>, context: &Context<'_>) -> Result<Self, Fault>;

    /// Whether the values decide who may connect or what they may do. The server refuses such values
    /// if other users could have written the file.
    fn needs_trust(&self) -> bool {
        false
    }
}

/// What a table may need to know to check its values.
pub(super) struct Context<'a> {
    /// The text of the file.
    pub(super) text: &'a str,
    /// Where the text comes from.
    pub(super) source: &'a Source,
    /// The ciphers that this program is linked with.
    pub(super) registry: &'a Registry,
    /// The flags that replace values of the file.
    pub(super) overrides: &'a Overrides,
}

impl Context<'_> {
    /// The number of the line where a value begins. The first line is 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        line_at(self.text, span.start)
    }
}

/// The flags of the command line that replace values of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--dialect` replaces `dialect` of `[classic]`.
    pub dialect: Option<String>,
    /// `--group` replaces `group` of `[classic]`.
    pub group: Option<u8>,
}
