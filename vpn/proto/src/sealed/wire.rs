//! Frames and fields (PROTOCOL.md §4.2). All numbers are big-endian.

use super::error::SealedError;
use super::record::MAX_RECORD;

/// The first bytes of the sealed profile. The byte F5h does not occur in UTF-8.
pub const PREFACE: [u8; 5] = [0xf5, b'V', b'P', b'N', 1];
/// The longest message with a preface in bytes.
pub const HANDSHAKE_LIMIT: usize = 4096;
/// The longest frame in a record in bytes.
pub(super) const FRAME_LIMIT: usize = 16381;
/// The size of the header of a frame in bytes: type and length.
pub(super) const FRAME_HEADER: usize = 4;

/// The types of frames.
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

/// The form of the next message in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A message with a preface: ClientHello, ServerHello, Reject.
    Hello,
    /// A record.
    Record,
}

/// The size of the next message of a stream in bytes, with its header. `None` if the message is not
/// complete yet.
///
/// # Errors
///
/// [`SealedError::Malformed`] if the preface is wrong or the message is too long.
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
            if length > MAX_RECORD {
                return Err(SealedError::Malformed("record length"));
            }
            Ok((bytes.len() >= 2 + length).then_some(2 + length))
        }
    }
}

/// Makes a frame: header and body.
pub(super) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = Vec::with_capacity(FRAME_HEADER + body.len());
    frame.push(kind);
    frame.extend_from_slice(&length[1..]);
    frame.extend_from_slice(body);
    frame
}

/// The body of a frame. `bytes` must be exactly this one frame.
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

/// Reads fields from the front of a buffer.
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

    /// Bytes with a length field of one byte.
    pub(super) fn short(&mut self) -> Result<&'a [u8], SealedError> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Bytes with a length field of two bytes.
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

    /// Takes everything that is left.
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Appends bytes with a length field of one byte. There must be at most 255 bytes.
pub(super) fn put_short(to: &mut Vec<u8>, bytes: &[u8]) {
    to.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(bytes);
}

/// Appends bytes with a length field of two bytes. There must be at most 65,535 bytes.
pub(super) fn put_long(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(bytes);
}

/// Reads `type 2 | length 2 | data` fields up to the end. No type may occur twice.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_has_the_size_of_its_header() {
        let length = |bytes: &[u8]| next_length(Part::Hello, bytes);
        let mut hello = PREFACE.to_vec();
        hello.extend([frame::CLIENT_HELLO, 0, 0, 2]);
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&hello[..8]), Ok(None));
        assert_eq!(length(&hello), Ok(None));
        hello.extend([1, 2, 3]);
        assert_eq!(length(&hello), Ok(Some(11)));
        assert_eq!(length(b"\xf5VPX"), Err(SealedError::Malformed("preface")));
        // 4,096 bytes are allowed with preface and header.
        hello[7..9].copy_from_slice(&4087u16.to_be_bytes());
        assert_eq!(length(&hello), Ok(None));
        hello[7..9].copy_from_slice(&4088u16.to_be_bytes());
        assert_eq!(length(&hello), Err(SealedError::Malformed("length")));
    }

    #[test]
    fn a_record_has_the_size_of_its_length_field() {
        let length = |bytes: &[u8]| next_length(Part::Record, bytes);
        assert_eq!(length(&[0]), Ok(None));
        assert_eq!(length(&[0, 2, 9]), Ok(None));
        assert_eq!(length(&[0, 2, 9, 9, 9]), Ok(Some(4)));
        assert_eq!(length(&[0x40, 0x30]), Ok(None));
        assert_eq!(length(&[0x40, 0x31]), Err(SealedError::Malformed("record length")));
    }

    #[test]
    fn a_frame_is_its_type_its_length_and_its_body() {
        let bytes = framed(frame::READY, b"abc");
        assert_eq!(bytes, b"\x0d\x00\x00\x03abc");
        assert_eq!(unframed(frame::READY, &bytes), Ok(b"abc".as_slice()));
        let other = SealedError::Unexpected { expected: frame::REJECT, got: frame::READY };
        assert_eq!(unframed(frame::REJECT, &bytes), Err(other));
        assert_eq!(
            unframed(frame::READY, &bytes[..3]),
            Err(SealedError::Malformed("frame header"))
        );
        assert_eq!(
            unframed(frame::READY, &bytes[..6]),
            Err(SealedError::Malformed("frame length"))
        );
        let long = framed(frame::READY, &[0; FRAME_LIMIT]);
        assert_eq!(unframed(frame::READY, &long), Err(SealedError::Malformed("frame length")));
    }

    #[test]
    fn fields_are_read_in_order_and_only_once() {
        let mut bytes = vec![1, 0, 2];
        put_short(&mut bytes, b"ab");
        put_long(&mut bytes, b"cde");
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.u8(), reader.u16()), (Ok(1), Ok(2)));
        assert_eq!((reader.short(), reader.long()), (Ok(&b"ab"[..]), Ok(&b"cde"[..])));
        assert_eq!((reader.clone().finish(), reader.is_empty()), (Ok(()), true));
        let cut = SealedError::Malformed("a field is cut off");
        assert_eq!((reader.u32(), reader.take(1)), (Err(cut.clone()), Err(cut)));
        let trailing = Reader::new(&bytes).finish();
        assert_eq!(trailing, Err(SealedError::Malformed("trailing bytes")));
        assert_eq!(read_fields(&[0, 7, 0, 1, 9]), Ok(vec![(7, &[9][..])]));
        let twice = read_fields(&[0, 7, 0, 0, 0, 7, 0, 0]);
        assert_eq!(twice, Err(SealedError::Malformed("a field occurs twice")));
    }
}
