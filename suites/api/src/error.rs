//! The errors of suites and of the registry.

use crate::KeySizes;

/// The errors of a suite and of its keyed ciphers. Of the key they contain only the length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// The initialisation vector is not one block long.
    #[error("an IV of {got} bytes is not one block of {block_size} bytes")]
    IvLength {
        /// The length given, in bytes.
        got: usize,
        /// The length needed, in bytes.
        block_size: usize,
    },
    /// The length of the key is not one of the suite's key sizes.
    #[error("{suite} has no keys of {} bits (it has {expected})", .got.saturating_mul(8))]
    KeyLength {
        /// The suite, or the block cipher if it was keyed without a suite.
        suite: &'static str,
        /// The length given, in bytes.
        got: usize,
        /// The accepted sizes, in bits.
        expected: KeySizes,
    },
    /// The data is not a whole number of blocks.
    #[error("{len} bytes are not a whole number of blocks of {block_size} bytes")]
    Misaligned {
        /// The length given, in bytes.
        len: usize,
        /// The block size, in bytes.
        block_size: usize,
    },
    /// The length of the key is right, but the cipher is known to be insecure with this key.
    #[error("{suite} refuses a weak key: {reason}")]
    WeakKey {
        /// The suite.
        suite: &'static str,
        /// Why the key is weak.
        reason: &'static str,
    },
}

/// The errors of a registry. Each is a mistake in a suite or in what the program links.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The block size is not a divisor of 16.
    #[error("cipher suite {suite}: block size {got} is not a divisor of 16 bytes")]
    BlockSize {
        /// The suite.
        suite: &'static str,
        /// The declared block size, in bytes.
        got: usize,
    },
    /// Two names or aliases are equal if case is ignored.
    #[error("the name {name} is claimed twice, by cipher suites {first} and {second}")]
    Duplicate {
        /// The name as the second suite spells it.
        name: &'static str,
        /// The first suite with this name.
        first: &'static str,
        /// The second suite with this name. It is the first one again if a suite repeats a name.
        second: &'static str,
    },
    /// There are no suites.
    #[error("no cipher suite is linked into this program")]
    Empty,
    /// A declared key size is not a valid [`KeySize`](crate::KeySize).
    #[error("cipher suite {suite}: key sizes {declared} are not all multiples of 8 up to 4096")]
    KeySizes {
        /// The suite.
        suite: &'static str,
        /// The declared sizes, in bits.
        declared: KeySizes,
    },
    /// A name or an alias has the wrong length or a character that is not allowed on the wire.
    #[error("cipher suite {suite}: name {name:?} is not 1 to 26 of A-Z a-z 0-9 _ + . -")]
    Name {
        /// The name of the suite.
        suite: &'static str,
        /// The invalid name or alias.
        name: &'static str,
    },
    /// The suite has no key sizes.
    #[error("cipher suite {suite} has no key sizes")]
    NoKeySizes {
        /// The suite.
        suite: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_was_got_and_what_was_expected() {
        let expected = KeySizes::List(&[128, 192]);
        for (error, message) in [
            (
                SuiteError::KeyLength { suite: "TOY", got: 5, expected },
                "TOY has no keys of 40 bits (it has 128, 192)",
            ),
            (
                SuiteError::WeakKey { suite: "TOY", reason: "all zeros" },
                "TOY refuses a weak key: all zeros",
            ),
            (
                SuiteError::Misaligned { len: 17, block_size: 16 },
                "17 bytes are not a whole number of blocks of 16 bytes",
            ),
            (
                SuiteError::IvLength { got: 8, block_size: 16 },
                "an IV of 8 bytes is not one block of 16 bytes",
            ),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }
}
