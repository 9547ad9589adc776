//! Why a suite refuses a key or a buffer, and why a registry refuses a suite.

use crate::KeySizes;

/// Why a suite, or a cipher it keyed, refused a call; never says anything of the key but its length.
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
    /// The key has a length that the suite does not declare.
    #[error("{suite} has no keys of {} bits (it has {expected})", .got.saturating_mul(8))]
    KeyLength {
        /// The suite, or the block cipher where no suite was asked first.
        suite: &'static str,
        /// The length given, in bytes.
        got: usize,
        /// The sizes accepted, in bits.
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
    /// The key has the right length, but the cipher is known to fail with it.
    #[error("{suite} refuses a weak key: {reason}")]
    WeakKey {
        /// The suite.
        suite: &'static str,
        /// What is wrong with the key.
        reason: &'static str,
    },
}

/// Why a set of suites is no registry: a mistake of whoever wrote or linked them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The block size is zero, above 16, or no divisor of 16.
    #[error("cipher suite {suite}: block size {got} is not a divisor of 16 bytes")]
    BlockSize {
        /// The suite.
        suite: &'static str,
        /// The block size it declares, in bytes.
        got: usize,
    },
    /// Two names or aliases are the same but for the case of their letters.
    #[error("the name {name} is claimed twice, by cipher suites {first} and {second}")]
    Duplicate {
        /// The name, as the second suite writes it.
        name: &'static str,
        /// The suite that has it already.
        first: &'static str,
        /// The suite that wants it too; the same one if it repeats itself.
        second: &'static str,
    },
    /// There is not a single suite.
    #[error("no cipher suite is linked into this program")]
    Empty,
    /// Some number among the key sizes is no [`KeySize`](crate::KeySize).
    #[error("cipher suite {suite}: key sizes {declared} are not all multiples of 8 up to 4096")]
    KeySizes {
        /// The suite.
        suite: &'static str,
        /// What it declares, in bits.
        declared: KeySizes,
    },
    /// A name or an alias would not survive on the wire.
    #[error("cipher suite {suite}: name {name:?} is not 1 to 26 of A-Z a-z 0-9 _ + . -")]
    Name {
        /// The suite, by its name.
        suite: &'static str,
        /// The name or alias at fault.
        name: &'static str,
    },
    /// No key size is declared.
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
