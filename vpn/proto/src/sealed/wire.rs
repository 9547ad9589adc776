//! Frames and fields, big-endian (PROTOCOL.md §4.2).

use super::error::SealedError;

/// The first bytes of the sealed profile: 0xF5 never occurs in UTF-8.
pub const PREFACE: [u8; 5] = [0xf5, b'V', b'P', b'N', 1];
/// The longest of the messages that come with a preface, in bytes.
pub const HANDSHAKE_LIMIT: usize = 4096;
/// The longest frame inside a record.
pub(super) const FRAME_LIMIT: usize = 16381;
/// The bytes of a frame's header: type and length.
pub(super) const FRAME_HEADER: usize = 4;

/// Types of frames.
pub(super) mod frame {
    pub(crate) const CLIENT_HELLO: u8 = 0x01;
    pub(crate) const SERVER_HELLO: u8 = 0x02;
    pub(crate) const SERVER_AUTH: u8 = 0x0b;
    pub(crate) const CLIENT_AUTH: u8 = 0x0c;
    pub(crate) const READY: u8 = 0x0d;
    pub(crate) const REJECT: u8 = 0x0e;
    pub(crate) const REKEY_INIT: u8 = 0x10;
    pub(crate) const REKEY_REPLY: u8 = 0x11;
    pub(crate) const REKEY_DONE: u8 = 0x12;
}

/// Which part of a stream comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A message with a preface: ClientHello, ServerHello, Reject.
    Hello,
    /// A record.
    Record,
}

/// How many bytes the next message of a stream has; `None` if more are needed to tell.
///
/// # Errors
///
/// If it cannot be one: another preface, or longer than any.
pub fn next_length(part: Part, bytes: &[u8]) -> Result<Option<usize>, SealedError> {
    match part {
        Part::Hello => {
            let compared = bytes.len().min(PREFACE.len());
            if bytes[..compared] != PREFACE[..compared] {
                return Err(SealedError::Malformed("preface"));
            }
            let Some(header) = bytes.get(PREFACE.len()..PREFACE.len() + FRAME_HEADER) else {
                return Ok(None);
            };
            let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            let whole = PREFACE.len() + FRAME_HEADER + length;
            if whole > HANDSHAKE_LIMIT {
                return Err(SealedError::Malformed("length"));
            }
            Ok((bytes.len() >= whole).then_some(whole))
        }
        Part::Record => {
            let Some(header) = bytes.get(..2) else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
            if length > super::record::MAX_RECORD {
                return Err(SealedError::Malformed("record length"));
            }
            Ok((bytes.len() >= 2 + length).then_some(2 + length))
        }
    }
}

/// A frame: header and body.
pub(super) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = Vec::with_capacity(FRAME_HEADER + body.len());
    frame.push(kind);
    frame.extend_from_slice(&length[1..]);
    frame.extend_from_slice(body);
    frame
}

/// The body of the one frame that a text consists of.
pub(super) fn unframed(kind: u8, bytes: &[u8]) -> Result<&[u8], SealedError> {
    let (header, body) =
        bytes.split_at_checked(FRAME_HEADER).ok_or(SealedError::Malformed("frame header"))?;
    if header[0] != kind {
        return Err(SealedError::Unexpected { expected: kind, got: header[0] });
    }
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
    if length != body.len() || bytes.len() > FRAME_LIMIT {
        return Err(SealedError::Malformed("frame length"));
    }
    Ok(body)
}

/// Reads fields one after the other.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], SealedError> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(SealedError::Malformed("a field is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SealedError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| SealedError::Malformed("a field is cut off"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, SealedError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, SealedError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SealedError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Bytes behind a length of one byte.
    pub(super) fn short(&mut self) -> Result<&'a [u8], SealedError> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Bytes behind a length of two bytes.
    pub(super) fn long(&mut self) -> Result<&'a [u8], SealedError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(self) -> Result<(), SealedError> {
        if self.0.is_empty() { Ok(()) } else { Err(SealedError::Malformed("trailing bytes")) }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Appends bytes behind a length of one byte; nothing of ours is longer.
pub(super) fn put_short(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(bytes);
}

/// Appends bytes behind a length of two bytes; nothing of ours is longer.
pub(super) fn put_long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(bytes);
}

/// Reads `type, length, data` fields to the end; duplicates are fatal.
pub(super) fn read_fields(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, SealedError> {
    let mut reader = Reader::new(bytes);
    let mut fields: Vec<(u16, &[u8])> = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u16()?;
        if fields.iter().any(|(seen, _)| *seen == kind) {
            return Err(SealedError::Malformed("a field occurs twice"));
        }
        fields.push((kind, reader.long()?));
    }
    Ok(fields)
}
