//! Which profile a connection begins with (PROTOCOL.md §4.1).

use super::negotiate::PROPOSAL_HEAD;
use super::sealed::PREFACE;

/// One of the profiles that share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A proposal in text.
    Classic,
    /// The preface of the sealed profile.
    Sealed,
}

impl Profile {
    /// What the first byte of a connection says; whoever begins with another one speaks neither.
    pub fn of_first_byte(byte: u8) -> Option<Self> {
        if byte == PREFACE[0] {
            return Some(Self::Sealed);
        }
        (PROPOSAL_HEAD.as_bytes().first() == Some(&byte)).then_some(Self::Classic)
    }
}
