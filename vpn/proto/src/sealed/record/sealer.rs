//! Seals records: pads, encrypts and authenticates them.

use vpn_crypto::mac::TAG;
use vpn_suite::Lane;
use zeroize::Zeroize;

use super::format::{INNER_HEADER, LENGTH, MAX_PAYLOAD, append_plaintext};
use super::keys::{Direction, RecordKeys};
use crate::sealed::error::SealedError;

/// Seals the records of one direction, in order.
#[derive(Debug)]
pub struct RecordSealer {
    pub(in crate::sealed) direction: Direction,
}

impl RecordSealer {
    /// Starts at sequence number 0.
    pub fn new(keys: RecordKeys) -> Self {
        Self { direction: Direction::new(keys) }
    }

    /// The block size in bytes.
    pub(in crate::sealed) fn block(&self) -> usize {
        self.direction.keys.block
    }

    /// The size of a record with a payload of this size: bytes and blocks.
    pub(in crate::sealed) fn size(&self, payload: usize, pad_to: usize) -> (usize, u64) {
        let inner = self.inner(payload, pad_to);
        (LENGTH + inner + TAG, (inner / self.block()) as u64)
    }

    /// The size of a plaintext in bytes, with its padding.
    fn inner(&self, payload: usize, pad_to: usize) -> usize {
        (INNER_HEADER + payload).next_multiple_of(pad_to.max(self.block()))
    }

    /// Seals the next record into a new buffer, see [`RecordSealer::seal_into`].
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
        let mut record = Vec::with_capacity(LENGTH + INNER_HEADER + payload.len() + pad_to + TAG);
        self.seal_into(content, payload, pad_to, &mut record)?;
        Ok(record)
    }

    /// Seals the next record and appends it to `out`.
    ///
    /// `content` is the type of the record. The plaintext is padded to a multiple of `pad_to`
    /// bytes, which is 1 or a multiple of the block size.
    ///
    /// # Errors
    ///
    /// [`SealedError::Limit`] if the payload is too long, or if there are no more sequence numbers.
    /// Then `out` does not change.
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
        self.direction.check_sequence(1)?;
        let inner = self.inner(payload.len(), pad_to);
        let start = out.len();
        // So the plaintext does not move, which would leave a copy of it.
        out.reserve(LENGTH + inner + TAG);
        append_plaintext(content, [payload, &[]], inner, out)?;
        let sealed = self.seal_in_place(&mut out[start..]);
        self.settle(sealed, 1, start, out)
    }

    /// Encrypts one record and writes its tag. Returns the number of blocks.
    fn seal_in_place(&self, record: &mut [u8]) -> Result<usize, SealedError> {
        let Direction { keys, sequence, .. } = &self.direction;
        let (text, tag) = record.split_at_mut(record.len() - TAG);
        let mut iv = keys.iv(*sequence)?;
        keys.cipher.encrypt(iv.bytes(keys.block), &mut text[LENGTH..])?;
        tag.copy_from_slice(&keys.mac.tag(*sequence, text));
        Ok((text.len() - LENGTH) / keys.block)
    }

    /// Counts sealed records. After an error it wipes and removes them.
    fn settle(
        &mut self,
        sealed: Result<usize, SealedError>,
        records: usize,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealedError> {
        match sealed {
            Ok(blocks) => {
                self.direction.advance(records, blocks);
                Ok(())
            }
            Err(error) => {
                out[start..].zeroize();
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// The number of full records until `blocks` blocks are encrypted under the current key. It
    /// counts the record that reaches the limit.
    pub(in crate::sealed) fn records_until(&self, blocks: u64) -> usize {
        let each = (INNER_HEADER + MAX_PAYLOAD).div_ceil(self.block()) as u64;
        usize::try_from(blocks.saturating_sub(self.direction.blocks).div_ceil(each))
            .unwrap_or(usize::MAX)
    }

    /// Seals data as records with `piece` bytes each, and appends them to `out`. The last record
    /// may be shorter. All records are encrypted at once, because each has its own IV.
    ///
    /// # Errors
    ///
    /// As [`RecordSealer::seal_into`].
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
        self.direction.check_sequence(count)?;
        let start = out.len();
        out.reserve(data.len() + count * (LENGTH + INNER_HEADER + self.block() + TAG));
        for payload in data.chunks(piece) {
            append_plaintext(content, [payload, &[]], self.inner(payload.len(), 1), out)?;
        }
        let sealed = self.seal_lanes(&mut out[start..], count);
        self.settle(sealed, count, start, out)
    }

    /// Appends a record that is not encrypted yet, for [`RecordSealer::seal_appended`]. The payload has
    /// two parts.
    ///
    /// # Errors
    ///
    /// [`SealedError::Limit`] if the payload is too long. Then `out` does not change.
    pub(in crate::sealed) fn append(
        &self,
        content: u8,
        payload: [&[u8]; 2],
        out: &mut Vec<u8>,
    ) -> Result<(), SealedError> {
        let length = payload[0].len() + payload[1].len();
        if length > MAX_PAYLOAD {
            return Err(SealedError::Limit("the length of a record"));
        }
        append_plaintext(content, payload, self.inner(length, 1), out)
    }

    /// Seals the `count` records that were appended to `out` from `start` on, all at once.
    ///
    /// # Errors
    ///
    /// As [`RecordSealer::seal_into`]. Then the records are wiped and removed.
    pub(in crate::sealed) fn seal_appended(
        &mut self,
        count: usize,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealedError> {
        let sealed = match self.direction.check_sequence(count) {
            Err(error) => Err(error),
            Ok(()) if count == 1 => self.seal_in_place(&mut out[start..]),
            Ok(()) => self.seal_lanes(&mut out[start..], count),
        };
        self.settle(sealed, count, start, out)
    }

    /// Encrypts `count` records at once and writes their tags. Returns the number of blocks.
    fn seal_lanes(&self, mut rest: &mut [u8], count: usize) -> Result<usize, SealedError> {
        let Direction { keys, sequence, .. } = &self.direction;
        let mut ivs = keys.ivs(*sequence, count)?;
        let mut records: Vec<(&mut [u8], &mut [u8])> = Vec::with_capacity(count);
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let (record, behind) = rest.split_at_mut(LENGTH + length);
            records.push(record.split_at_mut(LENGTH + length - TAG));
            rest = behind;
        }
        let mut lanes: Vec<Lane<'_>> = ivs
            .iter_mut()
            .zip(&mut records)
            .map(|(iv, (text, _))| Lane { iv: iv.bytes(keys.block), blocks: &mut text[LENGTH..] })
            .collect();
        let blocks = lanes.iter().map(|lane| lane.blocks.len() / keys.block).sum();
        keys.cipher.encrypt_lanes(&mut lanes)?;
        let tags = self.direction.tags(records.iter().map(|(text, _)| &**text));
        for ((_, place), tag) in records.iter_mut().zip(&tags) {
            place.copy_from_slice(tag);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::aes256;
    use crate::sealed::alert::Alert;
    use crate::sealed::record::format::{ALERT_PAD, MAX_SEQUENCE, content};
    use crate::sealed::record::opener::RecordOpener;
    use crate::sealed::schedule::TrafficSecret;

    fn pair() -> (RecordSealer, RecordOpener) {
        let keys = || TrafficSecret::danger_from_bytes([7; 32]).record_keys(aes256()).unwrap();
        (RecordSealer::new(keys()), RecordOpener::new(keys()))
    }

    /// Cuts a batch into its records.
    fn records(mut batch: &[u8]) -> Vec<&[u8]> {
        let mut records = Vec::new();
        while let Some(length) = batch.first_chunk::<2>() {
            let (record, rest) = batch.split_at(2 + usize::from(u16::from_be_bytes(*length)));
            records.push(record);
            batch = rest;
        }
        records
    }

    #[test]
    fn a_batch_is_the_same_bytes_as_single_records() {
        let data: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let ((mut single, mut opener), (mut batch, _)) = (pair(), pair());
        let (mut expected, mut out) = (Vec::new(), Vec::new());
        for piece in data.chunks(300) {
            single.seal_into(content::DATA, piece, 1, &mut expected).unwrap();
        }
        batch.seal_batch(content::DATA, &data, 300, &mut out).unwrap();
        assert_eq!(out, expected);
        assert_eq!((batch.direction.blocks, batch.block()), (single.direction.blocks, 16));
        let records = records(&out);
        assert_eq!(opener.verify(&records), Ok(4));
        let opened =
            records.iter().flat_map(|record| opener.open(record).unwrap().payload.to_vec());
        assert_eq!(opened.collect::<Vec<u8>>(), data);
        assert_eq!(opener.direction.blocks, batch.direction.blocks);
    }

    #[test]
    fn appended_records_are_the_same_bytes_as_single_ones() {
        for lengths in [&[][..], &[5], &[0, 1, 300, 16_380, 13, 12, 16_384]] {
            let ((mut single, _), (mut batch, _)) = (pair(), pair());
            let (mut expected, mut out) = (b"before".to_vec(), b"before".to_vec());
            for &length in lengths {
                let payload = vec![0xa5; length];
                single.seal_into(content::CHAN_DATA, &payload, 1, &mut expected).unwrap();
                let parts = payload.split_at(length / 3);
                batch.append(content::CHAN_DATA, [parts.0, parts.1], &mut out).unwrap();
            }
            batch.seal_appended(lengths.len(), 6, &mut out).unwrap();
            assert!(out == expected, "{lengths:?}");
            assert_eq!(batch.direction.blocks, single.direction.blocks);
            assert_eq!(batch.direction.sequence, lengths.len() as u64);
        }
    }

    #[test]
    fn appended_records_beyond_a_limit_are_removed() {
        let (mut sealer, _) = pair();
        let mut out = vec![9];
        let long = SealedError::Limit("the length of a record");
        let parts = [&[0; 4][..], &[0; MAX_PAYLOAD - 3]];
        assert_eq!(sealer.append(content::CHAN_DATA, parts, &mut out), Err(long));
        assert_eq!(out, [9]);
        sealer.direction.sequence = MAX_SEQUENCE - 1;
        for _ in 0..2 {
            sealer.append(content::CHAN_DATA, [b"a", b"b"], &mut out).unwrap();
        }
        let many = SealedError::Limit("the number of records");
        assert_eq!(sealer.seal_appended(2, 1, &mut out), Err(many));
        assert_eq!((out.as_slice(), sealer.direction.blocks), (&[9][..], 0));
    }

    #[test]
    fn tags_are_correct_up_to_the_first_altered_record() {
        let (mut sealer, opener) = pair();
        let mut out = Vec::new();
        sealer.seal_batch(content::DATA, &[1; 60], 10, &mut out).unwrap();
        let third = records(&out)[0].len() * 2;
        out[third + 5] ^= 1;
        assert_eq!(opener.verify(&records(&out)), Ok(2));
        out[5] ^= 1;
        assert_eq!(opener.verify(&records(&out)), Err(SealedError::BadRecord));
        assert_eq!(opener.verify(&records(&out)[..1]), Err(SealedError::BadRecord));
    }

    #[test]
    fn records_beyond_a_limit_are_not_sealed() {
        let (mut sealer, opener) = pair();
        let mut out = vec![9];
        let long = SealedError::Limit("the length of a record");
        let error = sealer.seal_into(content::DATA, &[0; MAX_PAYLOAD + 1], 1, &mut out);
        assert_eq!(error, Err(long.clone()));
        for piece in [0, MAX_PAYLOAD + 1] {
            assert_eq!(sealer.seal_batch(content::DATA, &[0], piece, &mut out), Err(long.clone()));
        }
        sealer.direction.sequence = MAX_SEQUENCE - 1;
        opener.verify(&[]).unwrap_err();
        let many = SealedError::Limit("the number of records");
        assert_eq!(sealer.seal_batch(content::DATA, &[0; 20], 10, &mut out), Err(many.clone()));
        assert_eq!(out, [9]);
        sealer.seal_into(content::DATA, b"last", 1, &mut out).unwrap();
        assert_eq!(sealer.seal(content::DATA, b"", 1), Err(many));
    }

    #[test]
    fn records_of_the_wrong_size_are_malformed() {
        let (mut sealer, mut opener) = pair();
        let record = sealer.seal(content::PING, b"x", 1).unwrap();
        let malformed = SealedError::Malformed("record length");
        let mut odd = record.clone();
        odd.push(0);
        odd[1] += 1;
        let mut short = record[..34].to_vec();
        short[1] = 32;
        for bytes in [&[][..], &record[..record.len() - 1], &odd, &short] {
            assert_eq!(opener.open(bytes), Err(malformed.clone()));
        }
        assert_eq!(opener.open(&record).unwrap().payload.as_slice(), b"x");
    }

    #[test]
    fn only_handshake_records_have_a_handshake_payload() {
        let (mut sealer, mut opener) = pair();
        let mut handshake = |content, payload: &[u8]| {
            let record = sealer.seal(content, payload, ALERT_PAD).unwrap();
            opener.open(&record).unwrap().into_handshake()
        };
        assert_eq!(handshake(content::HANDSHAKE, b"abc").unwrap().as_slice(), b"abc");
        let alert = handshake(content::ALERT, &Alert::Busy.encode());
        assert_eq!(alert, Err(SealedError::Alert(Alert::Busy)));
        assert_eq!(handshake(content::ALERT, &[]), Err(SealedError::Malformed("alert")));
        let other = SealedError::Unexpected { expected: content::HANDSHAKE, got: content::DATA };
        assert_eq!(handshake(content::DATA, b"abc"), Err(other));
    }

    #[test]
    fn kernels_have_names_and_debug_shows_no_key() {
        let (sealer, opener) = pair();
        assert!(sealer.direction.keys.kernel().contains(", "));
        let shown = format!("{sealer:?}{opener:?}");
        assert!(shown.starts_with(
            "RecordSealer { direction: Direction { keys: RecordKeys(..), sequence: 0"
        ));
    }
}
