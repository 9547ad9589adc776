//! Messages in a stream of data: `length u32 | bytes` (PROTOCOL.md §4.9).

use zeroize::Zeroizing;

/// The longest message in bytes.
pub(super) const LONGEST: usize = 1 << 20;
const HEADER: usize = 4;

/// Cuts messages from a stream, in any slicing.
#[derive(Debug, Default)]
pub(super) struct Frames(Zeroizing<Vec<u8>>);

/// A message longer than [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes, and {LONGEST} is the most")]
pub(super) struct TooLong(usize);

impl Frames {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

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

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message as it goes into the stream.
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
    fn messages_are_cut_in_any_slicing() {
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
            assert!(frames.is_empty());
        }
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
