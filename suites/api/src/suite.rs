//! The trait of a cipher suite.

use std::fmt;

use crate::{CbcCipher, CbcDecryptor, CbcEncryptor, KeySize, KeySizes, SuiteError};

/// A block cipher in CBC mode that can be negotiated by name and key size.
///
/// An implementation has no state. It describes the cipher and makes keyed ciphers. What it
/// declares must be exact; `testkit::check` tests that. [`suite!`](crate::suite!) is the short way
/// to implement the trait.
pub trait CipherSuite: Send + Sync {
    /// Returns the name on the wire: 1 to 26 of the characters `A-Z a-z 0-9 _ + . -`.
    fn name(&self) -> &'static str;

    /// Returns other names that configuration and peers may use. The default is none.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the accepted key sizes.
    fn key_sizes(&self) -> KeySizes;

    /// Returns the block size in bytes, which is also the length of an IV. It must divide 16.
    fn block_size(&self) -> usize;

    /// Returns whether time and memory access are independent of key and data.
    ///
    /// They are not if the cipher looks up tables with secret indices. There is no default: the
    /// author of a suite must state it, and the program shows it to users.
    fn is_constant_time(&self) -> bool;

    /// Returns the expected speed.
    fn speed(&self) -> SpeedClass {
        SpeedClass::Software
    }

    /// Returns the names of the kernels that this processor can run, the fastest first. The default
    /// is `generic` alone.
    ///
    /// A suite with more kernels uses [`choose_kernel`](crate::choose_kernel) when it keys a cipher.
    fn kernels(&self) -> Vec<&'static str> {
        vec!["generic"]
    }

    /// Makes a cipher keyed with `key`.
    ///
    /// The length of `key` must be one of [`key_sizes`](Self::key_sizes).
    /// [`encryptor`](Self::encryptor) and [`decryptor`](Self::decryptor) check that before the
    /// call.
    ///
    /// # Errors
    ///
    /// [`SuiteError::WeakKey`] if the cipher is known to be insecure with this key.
    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError>;

    /// Makes an encryptor keyed with `key`.
    ///
    /// # Errors
    ///
    /// [`SuiteError::KeyLength`] unless the key's length is one of [`key_sizes`](Self::key_sizes),
    /// and the errors of [`keyed`](Self::keyed).
    fn encryptor(&self, key: &[u8]) -> Result<Box<dyn CbcEncryptor>, SuiteError> {
        check_key_length(self, key)?;
        Ok(self.keyed(key)?)
    }

    /// Makes a decryptor keyed with `key`.
    ///
    /// # Errors
    ///
    /// The errors of [`encryptor`](Self::encryptor), for the same keys.
    fn decryptor(&self, key: &[u8]) -> Result<Box<dyn CbcDecryptor>, SuiteError> {
        check_key_length(self, key)?;
        Ok(self.keyed(key)?)
    }
}

/// The order of magnitude of a cipher's speed on a current processor. `vpn speed` measures the
/// speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpeedClass {
    /// Gigabytes per second: most processors have instructions for the cipher.
    Hardware,
    /// Many tens to hundreds of megabytes per second.
    Software,
    /// At most a few tens of megabytes per second.
    Slow,
}

impl fmt::Display for SpeedClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
            Self::Slow => "slow",
        })
    }
}

/// Shows the name.
impl fmt::Debug for dyn CipherSuite + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Checks a key's length against the key sizes of the suite.
///
/// # Errors
///
/// [`SuiteError::KeyLength`] if the length is not one of them.
pub fn check_key_length<S>(suite: &S, key: &[u8]) -> Result<(), SuiteError>
where
    S: CipherSuite + ?Sized,
{
    let expected = suite.key_sizes();
    match KeySize::from_bytes(key.len()) {
        Some(size) if expected.contains(size) => Ok(()),
        _ => Err(SuiteError::KeyLength { suite: suite.name(), got: key.len(), expected }),
    }
}
