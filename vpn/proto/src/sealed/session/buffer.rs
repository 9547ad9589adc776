//! Buffers with secret data.

use zeroize::{Zeroize, Zeroizing};

/// Wipes a buffer and returns it empty, with its memory.
///
/// Only the used bytes are wiped, as a slice: this is as fast as the memory. `Zeroizing` would wipe
/// the whole capacity byte by byte.
pub fn wiped(mut buffer: Zeroizing<Vec<u8>>) -> Vec<u8> {
    let mut bytes = std::mem::take(&mut *buffer);
    bytes.as_mut_slice().zeroize();
    bytes.clear();
    bytes
}

/// Appends bytes. If the vector must grow, the old memory is wiped. `room` is the capacity of the
/// new memory in bytes, if that is enough.
pub(in crate::sealed) fn append(data: &mut Zeroizing<Vec<u8>>, more: &[u8], room: usize) {
    if data.capacity() - data.len() < more.len() {
        let room = room.max(data.len() + more.len());
        let mut grown = Zeroizing::new(Vec::with_capacity(room));
        grown.extend_from_slice(data);
        // Wiped as a slice, not byte by byte.
        drop(wiped(std::mem::replace(data, grown)));
    }
    data.extend_from_slice(more);
}

/// Makes room for more bytes. If the vector must move, its old bytes are wiped.
pub(super) fn reserve(data: &mut Vec<u8>, more: usize) {
    if data.capacity() - data.len() < more {
        let mut grown = Vec::with_capacity((data.len() + more).max(2 * data.capacity()));
        grown.extend_from_slice(data);
        std::mem::replace(data, grown).as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_buffer_is_empty_and_keeps_its_memory() {
        let buffer = wiped(Zeroizing::new(vec![7; 100]));
        assert!(buffer.is_empty() && buffer.capacity() >= 100);
    }

    #[test]
    fn data_that_grows_keeps_its_bytes() {
        let mut data = Zeroizing::new(b"abc".to_vec());
        append(&mut data, b"def", 100);
        assert_eq!((data.as_slice(), data.capacity() >= 100), (b"abcdef".as_slice(), true));
        append(&mut data, b"g", 100);
        assert_eq!(data.as_slice(), b"abcdefg");
        append(&mut data, &[9; 300], 100);
        assert_eq!((data.len(), data[306]), (307, 9));
    }

    #[test]
    fn reserved_room_is_there_and_doubles() {
        let mut data = b"abc".to_vec();
        reserve(&mut data, 100);
        let capacity = data.capacity();
        assert!(capacity >= 103);
        reserve(&mut data, capacity - 3);
        assert_eq!((data.as_slice(), data.capacity()), (b"abc".as_slice(), capacity));
        reserve(&mut data, capacity - 2);
        assert_eq!((data.as_slice(), data.capacity() >= 2 * capacity), (b"abc".as_slice(), true));
    }
}
