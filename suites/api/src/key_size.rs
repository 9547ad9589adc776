//! Key sizes: in bits in configuration and on the wire, in bytes in code.

use std::fmt;

/// A valid key size: a multiple of 8 bits, from 8 to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySize(u16);

impl KeySize {
    /// Converts a number of bits. Returns `None` if it is zero, not a multiple of 8, or above 4096.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits == 0 || !bits.is_multiple_of(8) || bits > MAX_BITS as u32 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_BITS, a u16")]
        Some(Self(bits as u16))
    }

    /// Converts a number of bytes. Returns `None` if it is zero or above 512.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        if bytes > MAX_BITS as usize / 8 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_BITS, a u16")]
        Self::from_bits(bytes as u32 * 8)
    }

    /// Returns the size in bits, the unit of configuration files and of the wire.
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Returns the size in bytes, the length of the key.
    pub const fn bytes(self) -> usize {
        self.0 as usize / 8
    }
}

/// Shows the bits: `256`.
impl fmt::Display for KeySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The key sizes that a suite accepts, in bits.
///
/// The methods skip numbers that are not a valid [`KeySize`]. A [`Registry`](crate::Registry)
/// refuses a suite that declares such numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySizes {
    /// Exactly these sizes.
    List(&'static [u32]),
    /// The sizes `min`, `min + step`, `min + 2 * step` and so on, up to `max`.
    Range {
        /// The smallest size.
        min: u32,
        /// The upper limit.
        max: u32,
        /// The difference between two sizes.
        step: u32,
    },
}

impl KeySizes {
    /// Returns whether a key of this size is accepted.
    pub fn contains(self, size: KeySize) -> bool {
        self.iter().any(|accepted| accepted == size)
    }

    /// Iterates over the sizes in the declared order.
    pub fn iter(self) -> impl Iterator<Item = KeySize> {
        let (list, range) = match self {
            Self::List(list) => (list, None),
            Self::Range { min, max, step } => {
                let max = max.min(u32::from(MAX_BITS));
                (&[][..], Some((min..=max).step_by(step.max(1) as usize)))
            }
        };
        let range = range.into_iter().flatten();
        list.iter().copied().chain(range).filter_map(KeySize::from_bits)
    }

    /// Returns the largest size, or `None` if there are no sizes.
    pub fn longest(self) -> Option<KeySize> {
        self.iter().max()
    }

    /// Returns whether there is at least one size and every number is a valid [`KeySize`].
    pub(crate) fn is_well_formed(self) -> bool {
        let is_size = |bits| KeySize::from_bits(bits).is_some();
        match self {
            Self::List(list) => !list.is_empty() && list.iter().copied().all(is_size),
            Self::Range { min, max, step } => {
                min <= max && [min, max, step].into_iter().all(is_size)
            }
        }
    }
}

/// Shows the bits: `128, 192, 256` or `32..=448 step 8`.
impl fmt::Display for KeySizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => {
                for (i, bits) in list.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{bits}")?;
                }
                Ok(())
            }
            Self::Range { min, max, .. } if min == max => write!(f, "{min}"),
            Self::Range { min, max, step } => write!(f, "{min}..={max} step {step}"),
        }
    }
}

/// Larger than the key of any cipher. A larger number is a mistake, such as bits taken for bytes.
const MAX_BITS: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(sizes: KeySizes) -> Vec<u32> {
        sizes.iter().map(KeySize::bits).collect()
    }

    #[test]
    fn size_is_a_whole_number_of_bytes_within_the_limit() {
        for bits in [0, 1, 7, 9, 100, 4097, 4104, u32::MAX, 65_536 + 128] {
            assert_eq!(KeySize::from_bits(bits), None, "{bits}");
        }
        for bytes in [0, 513, 8192 + 16, usize::MAX, usize::MAX / 8 + 17] {
            assert_eq!(KeySize::from_bytes(bytes), None, "{bytes}");
        }
        for bytes in 1..=512 {
            let size = KeySize::from_bytes(bytes).unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(KeySize::from_bits(size.bits()), Some(size));
        }
    }

    #[test]
    fn size_shows_its_bits() {
        assert_eq!(KeySize::from_bytes(32).unwrap().to_string(), "256");
    }

    #[test]
    fn list_contains_what_it_lists() {
        let sizes = KeySizes::List(&[256, 128]);
        assert_eq!(bits(sizes), [256, 128]);
        assert_eq!(sizes.longest(), KeySize::from_bits(256));
        assert!(sizes.contains(KeySize::from_bits(128).unwrap()));
        assert!(!sizes.contains(KeySize::from_bits(192).unwrap()));
        assert_eq!(sizes.to_string(), "256, 128");
    }

    #[test]
    fn range_contains_both_ends_and_its_steps() {
        let sizes = KeySizes::Range { min: 32, max: 72, step: 16 };
        assert_eq!(bits(sizes), [32, 48, 64]);
        assert_eq!(sizes.longest(), KeySize::from_bits(64));
        assert!(!sizes.contains(KeySize::from_bits(40).unwrap()));
        assert_eq!(sizes.to_string(), "32..=72 step 16");
        assert_eq!(bits(KeySizes::Range { min: 8, max: 16, step: 8 }), [8, 16]);
        assert_eq!(KeySizes::Range { min: 64, max: 64, step: 8 }.to_string(), "64");
    }

    #[test]
    fn empty_sets_have_no_longest_size() {
        for sizes in [KeySizes::List(&[]), KeySizes::Range { min: 64, max: 32, step: 8 }] {
            assert_eq!(sizes.longest(), None);
            assert!(!sizes.is_well_formed());
        }
    }

    #[test]
    fn malformed_sets_are_told_from_good_ones() {
        assert!(KeySizes::List(&[128]).is_well_formed());
        assert!(!KeySizes::List(&[128, 100]).is_well_formed());
        assert!(KeySizes::Range { min: 32, max: 448, step: 8 }.is_well_formed());
        assert!(!KeySizes::Range { min: 32, max: 448, step: 0 }.is_well_formed());
        assert!(!KeySizes::Range { min: 0, max: 448, step: 8 }.is_well_formed());
        assert!(!KeySizes::Range { min: 32, max: u32::MAX, step: 8 }.is_well_formed());
    }

    #[test]
    fn hostile_range_is_gone_through_quickly() {
        let sizes = KeySizes::Range { min: 0, max: u32::MAX, step: 0 };
        assert_eq!(sizes.iter().count(), 512);
    }
}
