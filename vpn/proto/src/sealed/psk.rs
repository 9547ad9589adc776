//! Pre-shared keys.

use std::fmt;

use zeroize::Zeroizing;

/// A pre-shared key of at least 32 bytes. Wiped on drop.
#[derive(Clone)]
pub struct Psk(Zeroizing<Vec<u8>>);

impl Psk {
    /// The smallest size of a PSK in bytes.
    pub const MIN_BYTES: usize = 32;

    /// Makes a PSK from its bytes. `None` if there are too few, or if all of them are zero.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let is_usable = bytes.len() >= Self::MIN_BYTES && bytes.iter().any(|b| *b != 0);
        is_usable.then_some(Self(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_and_zero_keys_are_refused() {
        assert!(Psk::new(Zeroizing::new(vec![1; 31])).is_none());
        assert!(Psk::new(Zeroizing::new(vec![0; 64])).is_none());
        let psk = Psk::new(Zeroizing::new(vec![0x41; 32])).unwrap();
        assert_eq!(format!("{psk:?}"), "Psk(..)");
    }
}
