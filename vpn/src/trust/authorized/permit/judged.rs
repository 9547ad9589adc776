//! Addresses as rules judge them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that rules compare. It is the IPv4 address that an IPv6 address contains, or the address
/// itself.
///
/// These forms contain one: IPv4-mapped and IPv4-translated addresses (RFC 4291 §2.5.5.2, RFC 7915),
/// the well-known prefix of NAT64 (RFC 6052 §2.1), and 6to4 (RFC 3056 §2).
pub(super) fn judged(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let groups = v6.segments();
    let ipv4 = |high: u16, low: u16| {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
    };
    match groups {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => ipv4(high, low),
        _ => address,
    }
}

/// Whether an address needs a rule that names it: it belongs to this machine or to its links, or it has
/// no single owner. `own` are the server's addresses in tunnels.
pub(super) fn is_special(judged_address: IpAddr, own: &[IpAddr]) -> bool {
    let is_own = own.iter().any(|own| judged(*own) == judged_address);
    is_own
        || match judged_address {
            IpAddr::V4(v4) => is_special_ipv4(v4),
            IpAddr::V6(v6) => is_special_ipv6(v6),
        }
}

fn is_special_ipv4(address: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8 is "this network" (RFC 6890). A connection to 0.0.0.0 reaches this machine.
    address.octets()[0] == 0
        || address.is_loopback()
        // Services of a cloud that give out secrets are at 169.254.169.254.
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
}

fn is_special_ipv6(address: Ipv6Addr) -> bool {
    let groups = address.segments();
    // The unspecified and the loopback address, and the IPv4-compatible ones, which nobody may use any
    // more (RFC 4291 §2.5.5.1).
    groups[..6] == [0; 6]
        || address.is_unicast_link_local()
        || address.is_multicast()
        // The prefix of NAT64 for networks of one operator (RFC 8215). It contains IPv4 addresses at a
        // place that only the operator knows.
        || groups[..3] == [0x64, 0xff9b, 1]
}
