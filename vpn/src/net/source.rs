//! Where connections come from, for fairness between clients (PROTOCOL.md §4.7).

use std::net::IpAddr;

/// The source of a connection: an IPv4 address, or an IPv6 /64. It is the smallest network that belongs
/// to one party for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(u128);

impl Source {
    /// The source of a connection from this address. An IPv4 address inside an IPv6 one counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u128::from(v4.to_bits()) | 1 << 64),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64),
        }
    }

    /// This process itself. It is for clients, whose computations compete with nobody.
    pub const SELF: Self = Self(1 << 65);
}

/// How many bits of a source each of its prefixes leaves out, widest prefix first. An IPv4 address is in
/// a /16 and a /24, an IPv6 /64 is in a /48 and a /56.
const CUT: [u8; 3] = [16, 8, 0];

/// The prefix of a source, or of a network of sources that may all belong to one party. The fields are
/// the bits that are left, and how many are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Prefix(u128, u8);

impl Source {
    /// The prefixes that the source is in, widest first. The last one is the source itself.
    pub(super) fn prefixes(self) -> [Prefix; CUT.len()] {
        CUT.map(|cut| Prefix(self.0 >> cut, cut))
    }

    /// The narrowest prefix: the source itself.
    pub(super) fn prefix(self) -> Prefix {
        Prefix(self.0, 0)
    }
}

/// A range of addresses in CIDR notation (RFC 4632, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Parses `ADDRESS` or `ADDRESS/BITS`. `None` if the text is neither, or has more bits than the
    /// address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(max);
        (bits <= max).then_some(Self { address, bits })
    }

    /// The address that the network was written with.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Whether the network is one address.
    pub fn is_single(self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether the network has all addresses of its family.
    pub fn is_everything(self) -> bool {
        self.bits == 0
    }

    /// Whether an address is in the network. An IPv4 address inside an IPv6 one counts as IPv4.
    pub fn contains(self, other: IpAddr) -> bool {
        let shift = |max: u32| max - self.bits;
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
    fn addresses_that_may_belong_to_one_party_share_a_prefix() {
        let shared = |one: &str, other: &str| {
            let [one, other] =
                [one, other].map(|text| Source::of(text.parse().unwrap()).prefixes());
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
