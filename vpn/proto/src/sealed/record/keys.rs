//! The keys of the records of one direction, and the position in their sequence.

use std::fmt;

use vpn_crypto::kernels::MacKernel;
use vpn_crypto::mac::{MacKey, TAG};
use vpn_suite::{CbcCipher, CbcEncryptor, CipherSuite, Lane, check_key_length};

use super::format::MAX_SEQUENCE;
use crate::sealed::error::SealedError;

/// The largest block size of all suites in bytes.
const MAX_BLOCK: usize = 16;

/// The ciphers and the HMAC key of one direction and epoch.
pub struct RecordKeys {
    /// It encrypts and decrypts. A session has four of these, and each takes a kibibyte or more.
    pub(super) cipher: Box<dyn CbcCipher>,
    iv_cipher: Box<dyn CbcEncryptor>,
    /// The block size in bytes.
    pub(super) block: usize,
    pub(super) mac: MacKey,
}

impl RecordKeys {
    pub(in crate::sealed) fn new(
        suite: &dyn CipherSuite,
        key: &[u8],
        iv_key: &[u8],
        mac: &[u8; 32],
    ) -> Result<Self, SealedError> {
        let block = suite.block_size();
        if block > MAX_BLOCK {
            // The registry refuses such suites.
            return Err(SealedError::Internal);
        }
        check_key_length(suite, key)?;
        Ok(Self {
            cipher: suite.keyed(key)?,
            iv_cipher: suite.encryptor(iv_key)?,
            block,
            mac: MacKey::new(mac, MacKernel::choose()),
        })
    }

    /// The names of the kernels of cipher and HMAC, for `vpn speed`.
    pub fn kernel(&self) -> String {
        format!("{}, {}", CbcEncryptor::kernel(&*self.cipher), self.mac.kernel().name())
    }

    /// The IV of a record: its sequence number as one block, encrypted under a separate key.
    pub(super) fn iv(&self, sequence: u64) -> Result<Iv, SealedError> {
        let mut iv = self.numbered(sequence)?;
        let mut zero = Iv::ZERO;
        self.iv_cipher.encrypt(zero.bytes(self.block), iv.bytes(self.block))?;
        Ok(iv)
    }

    /// The IVs of the next records, all at once.
    pub(super) fn ivs(&self, first: u64, count: usize) -> Result<Vec<Iv>, SealedError> {
        let mut ivs = (first..)
            .take(count)
            .map(|sequence| self.numbered(sequence))
            .collect::<Result<Vec<Iv>, SealedError>>()?;
        let mut zeros = vec![Iv::ZERO; count];
        let mut lanes: Vec<Lane<'_>> = ivs
            .iter_mut()
            .zip(&mut zeros)
            .map(|(iv, zero)| Lane { iv: zero.bytes(self.block), blocks: iv.bytes(self.block) })
            .collect();
        self.iv_cipher.encrypt_lanes(&mut lanes)?;
        Ok(ivs)
    }

    /// A block that ends with a sequence number.
    fn numbered(&self, sequence: u64) -> Result<Iv, SealedError> {
        let mut iv = Iv::ZERO;
        let start = self.block.checked_sub(size_of::<u64>()).ok_or(SealedError::Internal)?;
        iv.bytes(self.block)[start..].copy_from_slice(&sequence.to_be_bytes());
        Ok(iv)
    }
}

impl fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKeys(..)")
    }
}

/// An IV. Only the first bytes are used: one block.
#[derive(Clone)]
pub(super) struct Iv([u8; MAX_BLOCK]);

impl Iv {
    const ZERO: Self = Self([0; MAX_BLOCK]);

    pub(super) fn bytes(&mut self, block: usize) -> &mut [u8] {
        &mut self.0[..block]
    }
}

/// One direction of a connection: its keys, and how far they are used.
#[derive(Debug)]
pub(in crate::sealed) struct Direction {
    pub(super) keys: RecordKeys,
    /// The sequence number of the next record.
    pub(super) sequence: u64,
    /// The number of blocks under the current key.
    pub(in crate::sealed) blocks: u64,
}

impl Direction {
    /// Starts at sequence number 0.
    pub(super) fn new(keys: RecordKeys) -> Self {
        Self { keys, sequence: 0, blocks: 0 }
    }

    /// Continues with other keys. The sequence numbers go on.
    pub(in crate::sealed) fn rekey(&mut self, keys: RecordKeys) {
        self.keys = keys;
        self.blocks = 0;
    }

    /// Counts records that were sealed or opened.
    pub(super) fn advance(&mut self, records: usize, blocks: usize) {
        self.sequence += records as u64;
        self.blocks += blocks as u64;
    }

    /// Checks that there are sequence numbers for the next records.
    pub(super) fn check_sequence(&self, records: usize) -> Result<(), SealedError> {
        if self.sequence.saturating_add(records as u64) > MAX_SEQUENCE {
            return Err(SealedError::Limit("the number of records"));
        }
        Ok(())
    }

    /// The tags of the next records, in their order. A text is the length field and the ciphertext.
    pub(super) fn tags<'a>(&self, texts: impl Iterator<Item = &'a [u8]>) -> Vec<[u8; TAG]> {
        let messages: Vec<(u64, &[u8])> = (self.sequence..).zip(texts).collect();
        let mut tags = vec![[0; TAG]; messages.len()];
        self.keys.mac.tags(&messages, &mut tags);
        tags
    }
}
