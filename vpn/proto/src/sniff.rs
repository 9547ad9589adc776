//! The profile of a connection, from its first byte (PROTOCOL.md §4.1).

use crate::classic::negotiate::PROPOSAL_HEAD;
use crate::sealed::PREFACE;

/// One of the two profiles, which share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The connection starts with a proposal in text.
    Classic,
    /// The connection starts with the preface of the sealed profile.
    Sealed,
}

impl Profile {
    /// The profile that starts with this byte. `None` if neither profile does.
    pub fn of_first_byte(byte: u8) -> Option<Self> {
        if byte == PREFACE[0] {
            return Some(Self::Sealed);
        }
        (PROPOSAL_HEAD.as_bytes().first() == Some(&byte)).then_some(Self::Classic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_names_the_profile() {
        assert_eq!(Profile::of_first_byte(b'P'), Some(Profile::Classic));
        assert_eq!(Profile::of_first_byte(0xf5), Some(Profile::Sealed));
        assert_eq!(Profile::of_first_byte(b'G'), None);
    }
}
