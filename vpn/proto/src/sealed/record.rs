//! Records (PROTOCOL.md §4.5): CBC, then HMAC-SHA256 over sequence number, length and ciphertext.

use std::fmt;

use subtle::ConstantTimeEq;
use vpn_suite::{CbcCipher, CbcEncryptor, CipherSuite, Lane, check_key_length};
use zeroize::{Zeroize, Zeroizing};

use super::error::SealedError;
use vpn_crypto::kernels::MacKernel;
use vpn_crypto::mac::{MacKey, TAG};

/// The longest payload of a record in bytes.
pub const MAX_PAYLOAD: usize = 16384;
/// The longest record in bytes, behind its length field.
pub const MAX_RECORD: usize = 16432;
/// No suite's blocks are longer.
const MAX_BLOCK: usize = 16;
/// The bytes before the payload inside: type and length.
const INNER_HEADER: usize = 3;
/// No sequence number gets this far.
const MAX_SEQUENCE: u64 = 1 << 48;

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
    /// One for both directions: a session has four, and each takes a kibibyte or more.
    cipher: Box<dyn CbcCipher>,
    iv_cipher: Box<dyn CbcEncryptor>,
    block: usize,
    mac: MacKey,
}

impl RecordKeys {
    pub(super) fn new(
        suite: &dyn CipherSuite,
        key: &[u8],
        iv_key: &[u8],
        mac: &[u8; 32],
    ) -> Result<Self, SealedError> {
        let block = suite.block_size();
        if block > MAX_BLOCK {
            // No suite can be registered with such blocks.
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

    /// Which code does the work, for `vpn speed`.
    pub fn kernel(&self) -> String {
        format!("{}, {}", CbcEncryptor::kernel(&*self.cipher), self.mac.kernel().name())
    }

    /// The IV of a record: its sequence number, encrypted as one block under a key of its own.
    fn iv(&self, sequence: u64) -> Result<Iv, SealedError> {
        let mut iv = Iv([0; MAX_BLOCK]);
        let number = sequence.to_be_bytes();
        let start = self.block.checked_sub(number.len()).ok_or(SealedError::Internal)?;
        iv.of(self.block)[start..].copy_from_slice(&number);
        let mut zero = Iv([0; MAX_BLOCK]);
        self.iv_cipher.encrypt(zero.of(self.block), iv.of(self.block))?;
        Ok(iv)
    }

    /// The IVs of the next records, side by side.
    fn ivs(&self, first: u64, count: usize) -> Result<Vec<Iv>, SealedError> {
        let start = self.block.checked_sub(size_of::<u64>()).ok_or(SealedError::Internal)?;
        let mut zeros = vec![Iv([0; MAX_BLOCK]); count];
        let mut ivs = zeros.clone();
        let numbered = (first..).zip(ivs.iter_mut().zip(&mut zeros));
        let mut lanes: Vec<Lane<'_>> = numbered
            .map(|(number, (iv, zero))| {
                iv.of(self.block)[start..].copy_from_slice(&number.to_be_bytes());
                Lane { iv: zero.of(self.block), blocks: iv.of(self.block) }
            })
            .collect();
        self.iv_cipher.encrypt_lanes(&mut lanes)?;
        Ok(ivs)
    }

    fn tag(&self, sequence: u64, length_and_ciphertext: &[u8]) -> [u8; TAG] {
        self.mac.tag(sequence, length_and_ciphertext)
    }
}

/// An IV of any suite: its first bytes, as many as a block has.
#[derive(Clone)]
struct Iv([u8; MAX_BLOCK]);

impl Iv {
    fn of(&mut self, block: usize) -> &mut [u8] {
        &mut self.0[..block]
    }
}

/// Appends a record as it is before anything is encrypted, with room for its tag.
fn lay_out(
    content: u8,
    payload: &[u8],
    inner: usize,
    out: &mut Vec<u8>,
) -> Result<(), SealedError> {
    let length = u16::try_from(inner + TAG).map_err(|_| SealedError::Internal)?;
    let payload_length = u16::try_from(payload.len()).map_err(|_| SealedError::Internal)?;
    let start = out.len();
    out.extend_from_slice(&length.to_be_bytes());
    out.push(content);
    out.extend_from_slice(&payload_length.to_be_bytes());
    out.extend_from_slice(payload);
    out.resize(start + 2 + inner + TAG, 0);
    Ok(())
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

    /// How many bytes and blocks a record with such a payload has.
    pub(super) fn size(&self, payload: usize, pad_to: usize) -> (usize, u64) {
        let inner = (INNER_HEADER + payload).next_multiple_of(pad_to.max(self.keys.block));
        (2 + inner + TAG, (inner / self.keys.block) as u64)
    }

    /// Makes the next record, as [`RecordSealer::seal_into`] does, in a buffer of its own.
    ///
    /// # Errors
    ///
    /// As [`RecordSealer::seal_into`].
    pub fn seal(
        &mut self,
        content: u8,
        payload: &[u8],
        pad_to: usize,
    ) -> Result<Vec<u8>, SealedError> {
        let mut record = Vec::with_capacity(2 + INNER_HEADER + payload.len() + pad_to + TAG);
        self.seal_into(content, payload, pad_to, &mut record)?;
        Ok(record)
    }

    /// Appends the next record to `out`; the inner plaintext is padded to a multiple of `pad_to`, which is one
    /// of the block size.
    ///
    /// # Errors
    ///
    /// [`SealedError::Limit`] if the payload is too long or the sequence at its end.
    pub fn seal_into(
        &mut self,
        content: u8,
        payload: &[u8],
        pad_to: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealedError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(SealedError::Limit("the length of a record"));
        }
        if self.sequence >= MAX_SEQUENCE {
            return Err(SealedError::Limit("the number of records"));
        }
        let inner = self.size(payload.len(), pad_to).0 - 2 - TAG;
        let start = out.len();
        lay_out(content, payload, inner, out)?;
        let sealed = self.seal_in_place(&mut out[start..], inner);
        if sealed.is_err() {
            // What could not be sealed is not to be sent.
            out[start..].zeroize();
            out.truncate(start);
        }
        sealed
    }

    fn seal_in_place(&mut self, record: &mut [u8], inner: usize) -> Result<(), SealedError> {
        let (sealed, tag) = record.split_at_mut(2 + inner);
        let mut iv = self.keys.iv(self.sequence)?;
        self.keys.cipher.encrypt(iv.of(self.keys.block), &mut sealed[2..])?;
        tag.copy_from_slice(&self.keys.tag(self.sequence, sealed));
        self.sequence += 1;
        self.blocks += (inner / self.keys.block) as u64;
        Ok(())
    }

    /// How many records of the greatest length fit before `blocks` blocks are encrypted under the
    /// present key; the one that reaches it counts.
    pub(super) fn records_until(&self, blocks: u64) -> usize {
        let each = (INNER_HEADER + MAX_PAYLOAD).div_ceil(self.keys.block) as u64;
        usize::try_from(blocks.saturating_sub(self.blocks).div_ceil(each)).unwrap_or(usize::MAX)
    }

    /// Appends the next records to `out`, each with `piece` bytes of the data but the last, and seals
    /// them side by side: each has an IV of its own, so none waits for another.
    ///
    /// # Errors
    ///
    /// As [`RecordSealer::seal_into`]; nothing is appended then.
    pub fn seal_batch(
        &mut self,
        content: u8,
        data: &[u8],
        piece: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealedError> {
        if !(1..=MAX_PAYLOAD).contains(&piece) {
            return Err(SealedError::Limit("the length of a record"));
        }
        let count = data.len().div_ceil(piece);
        if count <= 1 {
            return self.seal_into(content, data, 1, out);
        }
        if self.sequence.saturating_add(count as u64) > MAX_SEQUENCE {
            return Err(SealedError::Limit("the number of records"));
        }
        let start = out.len();
        let inner_of =
            |payload: &[u8]| (INNER_HEADER + payload.len()).next_multiple_of(self.keys.block);
        out.reserve(data.len() + count * (2 + INNER_HEADER + self.keys.block + TAG));
        for payload in data.chunks(piece) {
            lay_out(content, payload, inner_of(payload), out)?;
        }
        let sealed = self.seal_side_by_side(&mut out[start..], count, inner_of(&data[..piece]));
        match sealed {
            Ok(blocks) => {
                self.sequence += count as u64;
                self.blocks += blocks;
                Ok(())
            }
            Err(error) => {
                out[start..].zeroize();
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// Seals records that are laid out one behind the other; how many blocks they have.
    fn seal_side_by_side(
        &self,
        mut rest: &mut [u8],
        count: usize,
        full: usize,
    ) -> Result<u64, SealedError> {
        let block = self.keys.block;
        let mut ivs = self.keys.ivs(self.sequence, count)?;
        let mut records = Vec::with_capacity(count);
        while !rest.is_empty() {
            let length = (2 + full + TAG).min(rest.len());
            let (record, behind) = rest.split_at_mut(length);
            records.push(record.split_at_mut(length - TAG));
            rest = behind;
        }
        let mut blocks = 0;
        let mut lanes: Vec<Lane<'_>> = ivs
            .iter_mut()
            .zip(&mut records)
            .map(|(iv, (sealed, _))| {
                blocks += (sealed.len() - 2) / block;
                Lane { iv: iv.of(block), blocks: &mut sealed[2..] }
            })
            .collect();
        self.keys.cipher.encrypt_lanes(&mut lanes)?;
        let mut tags = vec![[0; TAG]; count];
        let texts = records.iter().map(|(sealed, _)| &**sealed);
        let messages: Vec<(u64, &[u8])> = (self.sequence..).zip(texts).collect();
        self.keys.mac.tags(&messages, &mut tags);
        for ((_, place), tag) in records.iter_mut().zip(&tags) {
            place.copy_from_slice(tag);
        }
        Ok(blocks as u64)
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
        let mut record = Zeroizing::new(record.to_vec());
        self.check_form(&record)?;
        self.verify(&[&record])?;
        let (content, payload) = self.open_verified(&mut record)?;
        Ok(Opened { content, payload: Zeroizing::new(payload.to_vec()) })
    }

    /// Checks the length of a record against its length field and the bounds.
    pub(super) fn check_form(&self, record: &[u8]) -> Result<(), SealedError> {
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
        Ok(())
    }

    /// Verifies the tags of the next records, each in constant time, all with the present key; they
    /// have the form of records, as [`RecordOpener::open`] checks it. The
    /// number of records, from the first, whose tags fit.
    ///
    /// # Errors
    ///
    /// [`SealedError::BadRecord`] if not even the first one fits.
    pub fn verify(&self, records: &[&[u8]]) -> Result<usize, SealedError> {
        if self.sequence.saturating_add(records.len() as u64) > MAX_SEQUENCE {
            return Err(SealedError::Limit("the number of records"));
        }
        if let [record] = records {
            let (text, theirs) = record.split_at(record.len() - TAG);
            let is_right = self.keys.tag(self.sequence, text).ct_eq(theirs);
            return if is_right.into() { Ok(1) } else { Err(SealedError::BadRecord) };
        }
        let (texts, theirs): (Vec<&[u8]>, Vec<&[u8]>) =
            records.iter().map(|record| record.split_at(record.len() - TAG)).unzip();
        let messages: Vec<(u64, &[u8])> = (self.sequence..).zip(texts).collect();
        let mut tags = vec![[0; TAG]; records.len()];
        self.keys.mac.tags(&messages, &mut tags);
        let fits = |(ours, theirs): &(&[u8; TAG], &[u8])| bool::from(ours.ct_eq(theirs));
        match tags.iter().zip(theirs).take_while(fits).count() {
            0 => Err(SealedError::BadRecord),
            count => Ok(count),
        }
    }

    /// Decrypts the next record in place, whose tag was verified: its type and payload.
    ///
    /// # Errors
    ///
    /// [`SealedError::Malformed`] if the sender did not keep to the form.
    pub fn open_verified<'a>(
        &mut self,
        record: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), SealedError> {
        let block = self.keys.block;
        let end = record.len() - TAG;
        let inner = &mut record[2..end];
        let mut iv = self.keys.iv(self.sequence)?;
        self.keys.cipher.decrypt(iv.of(block), inner)?;
        self.sequence += 1;
        self.blocks += (inner.len() / block) as u64;
        let (content, payload_length) = (inner[0], u16::from_be_bytes([inner[1], inner[2]]));
        let end = INNER_HEADER + usize::from(payload_length);
        let padding = inner.get(end..).ok_or(SealedError::Malformed("inner length"))?;
        if usize::from(payload_length) > MAX_PAYLOAD || padding.iter().any(|byte| *byte != 0) {
            return Err(SealedError::Malformed("padding"));
        }
        Ok((content, &inner[INNER_HEADER..end]))
    }
}
