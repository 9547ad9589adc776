//! The trait a cipher implements to take part.

use std::fmt;

use crate::{CbcCipher, CbcDecryptor, CbcEncryptor, KeySize, KeySizes, SuiteError};

/// A block cipher in CBC mode that can be negotiated by name and key size.
///
/// An implementation is stateless: it describes the cipher and makes keyed ones. What it declares
/// must hold exactly; `testkit::check` tests that.
pub trait CipherSuite: Send + Sync {
    /// Returns the name, as it stands on the wire: 1 to 26 of `A-Z a-z 0-9 _ + . -`.
    fn name(&self) -> &'static str;

    /// Returns further names accepted in configuration and from peers; none unless overridden.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the key sizes accepted.
    fn key_sizes(&self) -> KeySizes;

    /// Returns the block size in bytes, a divisor of 16; also the length of an IV.
    fn block_size(&self) -> usize;

    /// Tells whether time and memory access are independent of key and data.
    ///
    /// Ciphers that look up tables with secret indices are not. There is no default: the author of
    /// a suite must say it, and users are told.
    fn is_constant_time(&self) -> bool;

    /// Tells what speed to expect of it.
    fn speed(&self) -> SpeedClass {
        SpeedClass::Software
    }

    /// Makes the cipher keyed with `key`, whose length is one of [`key_sizes`](Self::key_sizes):
    /// [`encryptor`](Self::encryptor) and [`decryptor`](Self::decryptor) see to that.
    ///
    /// # Errors
    ///
    /// [`SuiteError::WeakKey`] if the cipher is known to fail with this key.
    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError>;

    /// Makes an encryptor keyed with `key`.
    ///
    /// # Errors
    ///
    /// [`SuiteError::KeyLength`] unless the key's length is one of [`key_sizes`](Self::key_sizes),
    /// and those of [`keyed`](Self::keyed).
    fn encryptor(&self, key: &[u8]) -> Result<Box<dyn CbcEncryptor>, SuiteError> {
        check_key_length(self, key)?;
        Ok(self.keyed(key)?)
    }

    /// Makes a decryptor keyed with `key`.
    ///
    /// # Errors
    ///
    /// Those of [`encryptor`](Self::encryptor), for the same keys.
    fn decryptor(&self, key: &[u8]) -> Result<Box<dyn CbcDecryptor>, SuiteError> {
        check_key_length(self, key)?;
        Ok(self.keyed(key)?)
    }
}

/// How fast a cipher is on a current processor, in orders of magnitude; `vpn speed` measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpeedClass {
    /// Most processors have instructions for it: gigabytes a second.
    Hardware,
    /// Many tens of megabytes a second, up to hundreds.
    Software,
    /// A few tens of megabytes a second at most.
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

/// Checks a key's length against the sizes its suite declares.
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
