//! Messages in a stream of data: `length u32 | bytes` (PROTOCOL.md §4.9).

use zeroize::Zeroizing;

use crate::net::limits::SEALED_MESSAGE as LONGEST;

const HEADER: usize = 4;

/// Reads messages from a stream. The stream may arrive in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Frames(Zeroizing<Vec<u8>>);

/// A message longer than [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes, and {LONGEST} is the most")]
pub(super) struct TooLong(usize);

impl TooLong {
    pub(super) fn of(message: &[u8]) -> Self {
        Self(message.len())
    }
}

impl Frames {
    /// Adds a piece of the stream.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// Returns the next message, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, TooLong> {
        let Some(header) = self.0.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > LONGEST {
            return Err(TooLong(length));
        }
        let end = HEADER + length;
        if self.0.len() < end {
            return Ok(None);
        }
        let message = Zeroizing::new(self.0[HEADER..end].to_vec());
        self.0.drain(..end);
        Ok(Some(message))
    }
}

/// Reads messages from a stream in pieces of any length. It keeps only the message that is not
/// complete yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    header: Vec<u8>,
    /// The length of the current message, and the bytes that have arrived.
    message: Option<(usize, Zeroizing<Vec<u8>>)>,
}

/// The result of [`Incoming::take`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A message of this length begins. None of its bytes are kept yet.
    Begins(usize),
    /// A whole message.
    Message(Zeroizing<Vec<u8>>),
}

impl Incoming {
    /// Takes bytes from the front of `data` until the next [`Piece`]. Returns `None` if `data` is
    /// used up before.
    pub(super) fn take(&mut self, data: &mut &[u8]) -> Result<Option<Piece>, TooLong> {
        let Some((length, message)) = &mut self.message else {
            let count = data.len().min(HEADER - self.header.len());
            self.header.extend_from_slice(&data[..count]);
            *data = &data[count..];
            let Some(header) = self.header.first_chunk::<HEADER>() else { return Ok(None) };
            let length = u32::from_be_bytes(*header) as usize;
            if length > LONGEST {
                return Err(TooLong(length));
            }
            self.header.clear();
            self.message = Some((length, Zeroizing::default()));
            return Ok(Some(Piece::Begins(length)));
        };
        let count = data.len().min(*length - message.len());
        if message.capacity() == 0 {
            // All of it at once: a vector that grows leaves copies in memory.
            message.reserve_exact(*length);
        }
        message.extend_from_slice(&data[..count]);
        *data = &data[count..];
        if message.len() < *length {
            return Ok(None);
        }
        Ok(self.message.take().map(|(_, message)| Piece::Message(message)))
    }

    /// Whether no part of a message has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.header.is_empty() && self.message.is_none()
    }
}

/// A message with its length in front, as in the stream.
pub(super) fn framed(message: &[u8]) -> Result<Zeroizing<Vec<u8>>, TooLong> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= LONGEST);
    let length = length.ok_or(TooLong(message.len()))?;
    let mut frame = Zeroizing::new(Vec::with_capacity(HEADER + message.len()));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_in_any_slicing() {
        let stream = [framed(b"hello").unwrap(), framed(b"").unwrap(), framed(&[7; 300]).unwrap()];
        let stream: Vec<u8> = stream.iter().flat_map(|f| f.to_vec()).collect();
        for size in [1, 3, stream.len()] {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(message) = frames.next().unwrap() {
                    got.push(message.to_vec());
                }
            }
            assert_eq!(got, [b"hello".to_vec(), Vec::new(), vec![7; 300]]);
        }
    }

    #[test]
    fn each_message_is_announced_before_its_bytes_are_kept() {
        let stream = [framed(b"hello").unwrap(), framed(b"").unwrap(), framed(&[7; 300]).unwrap()];
        let stream: Vec<u8> = stream.iter().flat_map(|f| f.to_vec()).collect();
        for size in [1, 3, stream.len()] {
            let mut incoming = Incoming::default();
            let (mut begun, mut got) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                let mut rest = piece;
                while let Some(piece) = incoming.take(&mut rest).unwrap() {
                    match piece {
                        Piece::Begins(length) => begun.push(length),
                        Piece::Message(message) => got.push(message.to_vec()),
                    }
                }
                assert!(rest.is_empty());
            }
            assert_eq!(begun, [5, 0, 300]);
            assert_eq!(got, [b"hello".to_vec(), Vec::new(), vec![7; 300]]);
            assert!(incoming.is_empty());
        }
        let mut long = &[0, 0x10, 0, 1][..];
        assert_eq!(Incoming::default().take(&mut long).unwrap_err(), TooLong(LONGEST + 1));
    }

    #[test]
    fn the_longest_message_is_a_mebibyte() {
        assert!(framed(&vec![0; LONGEST]).is_ok());
        assert_eq!(framed(&vec![0; LONGEST + 1]).unwrap_err(), TooLong(LONGEST + 1));
        let mut frames = Frames::default();
        frames.push(&[0, 0x10, 0, 1]);
        assert_eq!(frames.next().unwrap_err(), TooLong(LONGEST + 1));
    }
}
