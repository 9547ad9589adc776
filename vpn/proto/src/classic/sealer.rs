//! Seals classic messages: pads, encrypts and authenticates them (PROTOCOL.md §3.5).

use std::fmt;

use vpn_suite::{CbcEncryptor, SuiteError};
use zeroize::Zeroizing;

use super::dialect::{Chaining, MacRule};
use super::keys::SessionKeys;
use super::mac::RunningMac;
use super::tag::{self, TAG_DIGITS};
use crate::suite::SuiteId;

/// A text is padded with zero bytes to a multiple of this many bytes, for every block size.
pub const PAD_TO: usize = 16;

/// Encrypts and authenticates the messages of one direction, in order.
pub struct Sealer {
    cipher: Box<dyn CbcEncryptor>,
    chaining: Chaining,
    iv: Zeroizing<Vec<u8>>,
    first_iv: Zeroizing<Vec<u8>>,
    mac: RunningMac,
}

impl Sealer {
    /// Creates a sealer.
    ///
    /// # Errors
    ///
    /// If the suite refuses the key, for example a weak one.
    pub fn new(
        id: SuiteId,
        keys: &SessionKeys,
        mac: MacRule,
        chaining: Chaining,
    ) -> Result<Self, SuiteError> {
        Ok(Self {
            cipher: id.suite.encryptor(&keys.key)?,
            chaining,
            iv: keys.iv.clone(),
            first_iv: keys.iv.clone(),
            mac: RunningMac::new(mac, &keys.key),
        })
    }

    /// Seals a text into the next message: the padded text, encrypted, then its tag.
    ///
    /// Zero bytes at the end of the text are lost: they look like padding.
    ///
    /// # Errors
    ///
    /// Only if the block size of the suite does not divide [`PAD_TO`]. The registry refuses such
    /// suites.
    pub fn seal(&mut self, text: &[u8]) -> Result<Vec<u8>, SuiteError> {
        let padded = text.len().next_multiple_of(PAD_TO);
        let mut message = Vec::with_capacity(padded + TAG_DIGITS);
        message.extend_from_slice(text);
        message.resize(padded, 0);
        if self.chaining == Chaining::Restart {
            self.iv.clone_from(&self.first_iv);
        }
        self.cipher.encrypt(&mut self.iv, &mut message)?;
        self.mac.update(&message);
        tag::encode(&self.mac.end_message(), &mut message);
        Ok(message)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("mac", &self.mac).finish_non_exhaustive()
    }
}
