//! Records (PROTOCOL.md §4.5): CBC, then HMAC-SHA256 over sequence number, length and ciphertext.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use vpn_suite::{CbcDecryptor, CbcEncryptor, CipherSuite};
use zeroize::Zeroizing;

use super::error::SealedError;

/// The longest payload of a record in bytes.
pub const MAX_PAYLOAD: usize = 16384;
/// The longest record in bytes, behind its length field.
pub const MAX_RECORD: usize = 16432;
/// The bytes of a tag.
const TAG: usize = 32;
/// The bytes before the payload inside: type and length.
const INNER_HEADER: usize = 3;
/// No sequence number gets this far.
const MAX_SEQUENCE: u64 = 1 << 48;

type HmacSha256 = Hmac<Sha256>;

/// Types of records.
pub(super) mod content {
    pub(crate) const ALERT: u8 = 0x15;
    pub(crate) const HANDSHAKE: u8 = 0x16;
    pub(crate) const DATA: u8 = 0x17;
    pub(crate) const KEY_UPDATE: u8 = 0x18;
    pub(crate) const PING: u8 = 0x19;
    pub(crate) const PONG: u8 = 0x1a;
    pub(crate) const OPEN: u8 = 0x1b;
    pub(crate) const OPEN_REPLY: u8 = 0x1c;
    pub(crate) const EOF: u8 = 0x1d;
}

/// The keyed ciphers and the keyed HMAC of one direction and epoch.
pub struct RecordKeys {
    encryptor: Box<dyn CbcEncryptor>,
    decryptor: Box<dyn CbcDecryptor>,
    iv_cipher: Box<dyn CbcEncryptor>,
    block: usize,
    mac: HmacSha256,
}

impl RecordKeys {
    pub(super) fn new(
        suite: &dyn CipherSuite,
        key: &[u8],
        iv_key: &[u8],
        mac: &[u8; 32],
    ) -> Result<Self, SealedError> {
        Ok(Self {
            encryptor: suite.encryptor(key)?,
            decryptor: suite.decryptor(key)?,
            iv_cipher: suite.encryptor(iv_key)?,
            block: suite.block_size(),
            mac: HmacSha256::new_from_slice(mac).expect("HMAC takes keys of any length"),
        })
    }

    /// The IV of a record: its sequence number, encrypted as one block under a key of its own.
    fn iv(&self, sequence: u64) -> Result<Vec<u8>, SealedError> {
        let mut iv = vec![0; self.block];
        let number = sequence.to_be_bytes();
        let start = self.block.checked_sub(number.len()).ok_or(SealedError::Internal)?;
        iv[start..].copy_from_slice(&number);
        let mut zero = vec![0; self.block];
        self.iv_cipher.encrypt(&mut zero, &mut iv)?;
        Ok(iv)
    }

    fn tag(&self, sequence: u64, length_and_ciphertext: &[u8]) -> [u8; TAG] {
        let mut mac = self.mac.clone();
        mac.update(&sequence.to_be_bytes());
        mac.update(length_and_ciphertext);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKeys(..)")
    }
}

/// Seals the records of one direction, in order.
#[derive(Debug)]
pub struct RecordSealer {
    keys: RecordKeys,
    sequence: u64,
    blocks: u64,
}

impl RecordSealer {
    /// Starts at sequence number 0.
    pub fn new(keys: RecordKeys) -> Self {
        Self { keys, sequence: 0, blocks: 0 }
    }

    /// Goes on under other keys; the sequence continues.
    pub(super) fn rekey(&mut self, keys: RecordKeys) {
        self.keys = keys;
        self.blocks = 0;
    }

    /// Blocks encrypted under the present key.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The block size in bytes.
    pub(super) fn block(&self) -> usize {
        self.keys.block
    }

    /// Makes the next record; the inner plaintext is padded to a multiple of `pad_to`, which is one
    /// of the block size.
    ///
    /// # Errors
    ///
    /// [`SealedError::Limit`] if the payload is too long or the sequence at its end.
    pub fn seal(
        &mut self,
        content: u8,
        payload: &[u8],
        pad_to: usize,
    ) -> Result<Vec<u8>, SealedError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(SealedError::Limit("the length of a record"));
        }
        if self.sequence >= MAX_SEQUENCE {
            return Err(SealedError::Limit("the number of records"));
        }
        let inner = (INNER_HEADER + payload.len()).next_multiple_of(pad_to.max(self.keys.block));
        let length = u16::try_from(inner + TAG).map_err(|_| SealedError::Internal)?;
        let mut record = Vec::with_capacity(2 + inner + TAG);
        record.extend_from_slice(&length.to_be_bytes());
        record.push(content);
        let payload_length = u16::try_from(payload.len()).map_err(|_| SealedError::Internal)?;
        record.extend_from_slice(&payload_length.to_be_bytes());
        record.extend_from_slice(payload);
        record.resize(2 + inner, 0);
        let mut iv = self.keys.iv(self.sequence)?;
        self.keys.encryptor.encrypt(&mut iv, &mut record[2..])?;
        let tag = self.keys.tag(self.sequence, &record);
        record.extend_from_slice(&tag);
        self.sequence += 1;
        self.blocks += (inner / self.keys.block) as u64;
        Ok(record)
    }
}

/// Opens the records of one direction, in order.
#[derive(Debug)]
pub struct RecordOpener {
    keys: RecordKeys,
    sequence: u64,
    blocks: u64,
}

/// What was in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its type.
    pub content: u8,
    /// Its payload.
    pub payload: Zeroizing<Vec<u8>>,
}

impl RecordOpener {
    /// Starts at sequence number 0.
    pub fn new(keys: RecordKeys) -> Self {
        Self { keys, sequence: 0, blocks: 0 }
    }

    pub(super) fn rekey(&mut self, keys: RecordKeys) {
        self.keys = keys;
        self.blocks = 0;
    }

    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Opens the next record, length field included.
    ///
    /// Bounds first, then the whole tag in constant time, and only then anything is decrypted.
    ///
    /// # Errors
    ///
    /// [`SealedError::BadRecord`] if the tag does not fit, [`SealedError::Malformed`] if the sender
    /// did not keep to the form.
    pub fn open(&mut self, record: &[u8]) -> Result<Opened, SealedError> {
        let block = self.keys.block;
        let (length, rest) =
            record.split_first_chunk::<2>().ok_or(SealedError::Malformed("record length"))?;
        let is_bounded = rest.len() <= MAX_RECORD && rest.len() >= block + TAG;
        if usize::from(u16::from_be_bytes(*length)) != rest.len()
            || !is_bounded
            || !(rest.len() - TAG).is_multiple_of(block)
        {
            return Err(SealedError::Malformed("record length"));
        }
        if self.sequence >= MAX_SEQUENCE {
            return Err(SealedError::Limit("the number of records"));
        }
        let (sealed, tag) = record.split_at(record.len() - TAG);
        if !bool::from(self.keys.tag(self.sequence, sealed).ct_eq(tag)) {
            return Err(SealedError::BadRecord);
        }
        let mut inner = Zeroizing::new(sealed[2..].to_vec());
        let mut iv = self.keys.iv(self.sequence)?;
        self.keys.decryptor.decrypt(&mut iv, &mut inner)?;
        self.sequence += 1;
        self.blocks += (inner.len() / block) as u64;
        let (content, payload_length) = (inner[0], u16::from_be_bytes([inner[1], inner[2]]));
        let end = INNER_HEADER + usize::from(payload_length);
        let padding = inner.get(end..).ok_or(SealedError::Malformed("inner length"))?;
        if usize::from(payload_length) > MAX_PAYLOAD || padding.iter().any(|byte| *byte != 0) {
            return Err(SealedError::Malformed("padding"));
        }
        inner.truncate(end);
        inner.drain(..INNER_HEADER);
        Ok(Opened { content, payload: inner })
    }
}
