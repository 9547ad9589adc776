//! Opens records: verifies and decrypts them.

use subtle::ConstantTimeEq;
use vpn_crypto::mac::TAG;
use zeroize::Zeroizing;

use super::format::{LENGTH, MAX_RECORD, content, parse_plaintext};
use super::keys::{Direction, RecordKeys};
use crate::sealed::alert::Alert;
use crate::sealed::error::SealedError;

/// Opens the records of one direction, in order.
#[derive(Debug)]
pub struct RecordOpener {
    pub(in crate::sealed) direction: Direction,
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The type of the record.
    pub content: u8,
    /// The payload. Wiped on drop.
    pub payload: Zeroizing<Vec<u8>>,
}

impl Opened {
    /// The payload of a handshake record. An alert in its place is an error.
    pub(in crate::sealed) fn into_handshake(self) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        match self.content {
            content::HANDSHAKE => Ok(self.payload),
            content::ALERT => {
                let alert = Alert::decode(&self.payload);
                Err(alert.map_or(SealedError::Malformed("alert"), SealedError::Alert))
            }
            got => Err(SealedError::Unexpected { expected: content::HANDSHAKE, got }),
        }
    }
}

impl RecordOpener {
    /// Starts at sequence number 0.
    pub fn new(keys: RecordKeys) -> Self {
        Self { direction: Direction::new(keys) }
    }

    /// Opens the next record, which includes its length field.
    ///
    /// It checks the length, then the tag in constant time. Only then it decrypts.
    ///
    /// # Errors
    ///
    /// [`SealedError::BadRecord`] if the tag is wrong. [`SealedError::Malformed`] if the record has
    /// the wrong form.
    pub fn open(&mut self, record: &[u8]) -> Result<Opened, SealedError> {
        let mut record = Zeroizing::new(record.to_vec());
        self.check_form(&record)?;
        self.verify(&[&record])?;
        let (content, payload) = self.open_verified(&mut record)?;
        Ok(Opened { content, payload: Zeroizing::new(payload.to_vec()) })
    }

    /// Checks the size of a record: its length field, the limits, and whole blocks.
    pub(in crate::sealed) fn check_form(&self, record: &[u8]) -> Result<(), SealedError> {
        let block = self.direction.keys.block;
        let (length, rest) =
            record.split_first_chunk::<LENGTH>().ok_or(SealedError::Malformed("record length"))?;
        let is_bounded = rest.len() <= MAX_RECORD && rest.len() >= block + TAG;
        if usize::from(u16::from_be_bytes(*length)) != rest.len()
            || !is_bounded
            || !(rest.len() - TAG).is_multiple_of(block)
        {
            return Err(SealedError::Malformed("record length"));
        }
        Ok(())
    }

    /// Verifies the tags of the next records under the current key, each in constant time. The
    /// records must have the form that [`RecordOpener::open`] checks.
    ///
    /// Returns the number of records with correct tags, up to the first wrong one.
    ///
    /// # Errors
    ///
    /// [`SealedError::BadRecord`] if the first tag is wrong.
    pub fn verify(&self, records: &[&[u8]]) -> Result<usize, SealedError> {
        self.direction.check_sequence(records.len())?;
        let split = |record: &&'_ [u8]| record.len() - TAG;
        let count = if let [record] = records {
            let (text, tag) = record.split_at(split(record));
            usize::from(bool::from(
                self.direction.keys.mac.tag(self.direction.sequence, text).ct_eq(tag),
            ))
        } else {
            let tags = self.direction.tags(records.iter().map(|record| &record[..split(record)]));
            let is_correct = |(ours, record): &(&[u8; TAG], &&[u8])| {
                bool::from(ours.ct_eq(&record[split(record)..]))
            };
            tags.iter().zip(records).take_while(is_correct).count()
        };
        if count == 0 { Err(SealedError::BadRecord) } else { Ok(count) }
    }

    /// Decrypts the next record in place. Its tag must have been verified. Returns its type and its
    /// payload.
    ///
    /// # Errors
    ///
    /// [`SealedError::Malformed`] if the plaintext has the wrong form.
    pub fn open_verified<'a>(
        &mut self,
        record: &'a mut [u8],
    ) -> Result<(u8, &'a [u8]), SealedError> {
        let keys = &self.direction.keys;
        let end = record.len() - TAG;
        let inner = &mut record[LENGTH..end];
        let mut iv = keys.iv(self.direction.sequence)?;
        keys.cipher.decrypt(iv.bytes(keys.block), inner)?;
        let blocks = inner.len() / keys.block;
        self.direction.advance(1, blocks);
        parse_plaintext(inner)
    }
}
