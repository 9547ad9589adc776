//! The form of a record: sizes and types.
//!
//! A record is `length 2 | ciphertext | tag 32`. The length counts ciphertext and tag. The
//! plaintext is `type 1 | payload length 2 | payload | zeros`, a whole number of blocks.

use vpn_crypto::mac::TAG;

use crate::sealed::error::SealedError;

/// The longest payload of a record in bytes.
pub const MAX_PAYLOAD: usize = 16384;
/// The longest record in bytes, without its length field.
pub const MAX_RECORD: usize = 16432;
/// The size of the length field in bytes.
pub(super) const LENGTH: usize = 2;
/// The size of the plaintext before the payload in bytes: type and payload length.
pub(super) const INNER_HEADER: usize = 3;
/// No record has this sequence number or a higher one.
pub(super) const MAX_SEQUENCE: u64 = 1 << 48;

/// The plaintext of a handshake record is padded to a multiple of this many bytes.
pub(in crate::sealed) const HANDSHAKE_PAD: usize = 256;
/// The plaintext of an alert is padded to a multiple of this many bytes.
pub(in crate::sealed) const ALERT_PAD: usize = 64;

/// The types of records.
pub(in crate::sealed) mod content {
    pub(crate) const ALERT: u8 = 0x15;
    pub(crate) const HANDSHAKE: u8 = 0x16;
    pub(crate) const DATA: u8 = 0x17;
    pub(crate) const KEY_UPDATE: u8 = 0x18;
    pub(crate) const PING: u8 = 0x19;
    pub(crate) const PONG: u8 = 0x1a;
    pub(crate) const OPEN: u8 = 0x1b;
    pub(crate) const OPEN_REPLY: u8 = 0x1c;
    pub(crate) const EOF: u8 = 0x1d;
    pub(crate) const CHAN_OPEN: u8 = 0x20;
    pub(crate) const CHAN_REPLY: u8 = 0x21;
    pub(crate) const CHAN_DATA: u8 = 0x22;
    pub(crate) const CHAN_CREDIT: u8 = 0x23;
    pub(crate) const CHAN_EOF: u8 = 0x24;
    pub(crate) const CHAN_CLOSE: u8 = 0x25;
    pub(crate) const CHAN_NOTE: u8 = 0x26;
    pub(crate) const ASK: u8 = 0x27;
}

/// Appends a record that is not encrypted yet: length field, plaintext of `inner` bytes, and zeros
/// in place of the tag. The payload has two parts.
pub(super) fn append_plaintext(
    content: u8,
    payload: [&[u8]; 2],
    inner: usize,
    out: &mut Vec<u8>,
) -> Result<(), SealedError> {
    let length = u16::try_from(inner + TAG).map_err(|_| SealedError::Internal)?;
    let [first, second] = payload;
    let payload_length = u16::try_from(first.len() + second.len());
    let payload_length = payload_length.map_err(|_| SealedError::Internal)?;
    let start = out.len();
    out.extend_from_slice(&length.to_be_bytes());
    out.push(content);
    out.extend_from_slice(&payload_length.to_be_bytes());
    out.extend_from_slice(first);
    out.extend_from_slice(second);
    out.resize(start + LENGTH + inner + TAG, 0);
    Ok(())
}

/// The type and the payload of a decrypted plaintext.
pub(super) fn parse_plaintext(inner: &[u8]) -> Result<(u8, &[u8]), SealedError> {
    let (content, length) = (inner[0], usize::from(u16::from_be_bytes([inner[1], inner[2]])));
    let (payload, padding) = inner[INNER_HEADER..]
        .split_at_checked(length)
        .ok_or(SealedError::Malformed("inner length"))?;
    if length > MAX_PAYLOAD || padding.iter().any(|byte| *byte != 0) {
        return Err(SealedError::Malformed("padding"));
    }
    Ok((content, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plaintext_is_parsed_as_it_was_written() {
        let mut record = Vec::new();
        append_plaintext(content::PING, [b"a", b"bc"], 16, &mut record).unwrap();
        assert_eq!(record[..8], [0, 48, content::PING, 0, 3, b'a', b'b', b'c']);
        assert_eq!(record[8..], [0; 42]);
        assert_eq!(parse_plaintext(&record[2..18]), Ok((content::PING, b"abc".as_slice())));
    }

    #[test]
    fn plaintexts_of_the_wrong_form_are_refused() {
        let mut inner = [0; 16];
        inner[..3].copy_from_slice(&[content::DATA, 0, 14]);
        assert_eq!(parse_plaintext(&inner), Err(SealedError::Malformed("inner length")));
        inner[2] = 13;
        assert_eq!(parse_plaintext(&inner), Ok((content::DATA, [0; 13].as_slice())));
        inner[2..].fill(0);
        inner[15] = 1;
        assert_eq!(parse_plaintext(&inner), Err(SealedError::Malformed("padding")));
        let mut long = vec![0; INNER_HEADER + MAX_PAYLOAD + 1];
        long[1..3].copy_from_slice(&16385u16.to_be_bytes());
        assert_eq!(parse_plaintext(&long), Err(SealedError::Malformed("padding")));
        let mut record = Vec::new();
        let error = append_plaintext(content::DATA, [&[], &[]], 0x10000, &mut record).unwrap_err();
        assert_eq!((error, record.len()), (SealedError::Internal, 0));
    }
}
