//! Where connections come from, as far as fairness between clients goes.

use std::net::IpAddr;

/// The smallest network that is one party's for sure: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(u128);

impl Source {
    /// The source of a connection from this address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u128::from(v4.to_bits()) | 1 << 64),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64),
        }
    }

    /// This process itself: what a client computes competes with nobody.
    pub const SELF: Self = Self(1 << 65);
}

/// How many bits of a source its blocks leave out, widest block first: an IPv4 address counts as one
/// of a /16 and of a /24, an IPv6 /64 as one of a /48 and of a /56.
const CUT: [u8; 3] = [16, 8, 0];

/// A source or a network of sources that may all be one party's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Block(u128, u8);

impl Source {
    /// The blocks that a source is in, widest first; the last is the source itself.
    pub(super) fn blocks(self) -> [Block; CUT.len()] {
        CUT.map(|cut| Block(self.0 >> cut, cut))
    }

    /// The narrowest of them.
    pub(super) fn block(self) -> Block {
        Block(self.0, 0)
    }
}

/// An address, or all that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `ADDRESS` or `ADDRESS/BITS`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address is one of them; IPv4 addresses inside IPv6 ones count as what they are.
    pub fn contains(self, other: IpAddr) -> bool {
        let shift = |most: u32| most - self.bits;
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
        assert_eq!(of("127.0.0.1"), of("::ffff:127.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("::1"), of("0.0.0.0"));
        assert_ne!(of("::1"), Source::SELF);
    }

    #[test]
    fn addresses_that_may_be_one_partys_share_a_block() {
        let shared = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| Source::of(text.parse().unwrap()).blocks());
            one.iter().zip(other).filter(|(one, other)| **one == *other).count()
        };
        assert_eq!(shared("2001:db8:1:100::1", "2001:db8:1:100::2"), 3);
        assert_eq!(shared("2001:db8:1:100::1", "2001:db8:1:1ff::1"), 2);
        assert_eq!(shared("2001:db8:1:100::1", "2001:db8:1:200::1"), 1);
        assert_eq!(shared("2001:db8:1:100::1", "2001:db8:2:100::1"), 0);
        assert_eq!(shared("192.0.2.1", "192.0.2.200"), 2);
        assert_eq!(shared("192.0.2.1", "192.0.3.1"), 1);
        assert_eq!(shared("192.0.2.1", "192.1.2.1"), 0);
        assert_eq!(shared("0.0.0.1", "::1"), 0);
    }
}
