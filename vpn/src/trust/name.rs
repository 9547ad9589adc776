//! Names of servers, in one spelling.
//!
//! The same host can be written in many ways: `EXAMPLE.org.`, `127.0.0.1:4600`, `[::1]`,
//! `::ffff:10.0.0.1`, `127.1`. Here they become equal values. `known_servers`, `client.toml` and the
//! rule against downgrades compare only these values (PROTOCOL.md §4.8).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::DEFAULT_PORT;
use vpn_proto::Printable;

/// The greatest length of a DNS name in text (RFC 1035 §2.3.4).
const MAX_LEN: usize = 253;

/// A host name or an IP address.
///
/// A name is in lower case and has no dot at its end. An address is in its shortest form (RFC 5952) and
/// has no brackets. An IPv6 address may have a zone, as in `fe80::1%eth0` (RFC 4007).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

/// A host and a TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName {
    host: Host,
    port: u16,
}

/// Why a text is not the name of a server. The message is one line and says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl Host {
    /// Reads `host`, `host:port`, `address`, `[address]` or `[address]:port`. Returns the host, and the
    /// port if the text has one.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the text has another form, such as a URL.
    pub fn parse(text: &str) -> Result<(Self, Option<u16>), NameError> {
        let given = text.trim_matches([' ', '\t']);
        let fail = |message: String| Err(NameError(message));
        let shown = Printable(text.as_bytes()).to_string();
        if given.is_empty() {
            return fail("the host's name is empty".to_owned());
        }
        refuse_urls(given, &shown)?;
        let (host, port) = split_port(given, &shown)?;
        let port = match port.map(|digits| (digits.parse::<u16>(), digits)) {
            None => None,
            Some((Ok(port), digits)) if !digits.starts_with('+') => Some(port),
            Some(_) => return fail(format!("'{shown}': a port is a number up to 65535")),
        };
        match canonical(host) {
            Ok(host) => Ok((Self(host), port)),
            Err(reason) => fail(format!("'{shown}' is no host: {reason}")),
        }
    }

    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the zone of an IPv6 address.
    fn without_zone(&self) -> &str {
        self.0.split('%').next().unwrap_or_default()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServerName {
    /// Joins a host and a port.
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Reads a name as [`Host::parse`] does. The port is the one of the text, or `port`, or the default
    /// port.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the text is wrong, or it has a port that differs from `port`.
    pub fn parse(text: &str, port: Option<u16>) -> Result<Self, NameError> {
        let (host, own_port) = Host::parse(text)?;
        let port = merge_ports(text, own_port, port)?.unwrap_or(DEFAULT_PORT);
        Ok(Self { host, port })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether two names may mean the same server. Zones are ignored: a zone is the name or the number
    /// of a network interface, so the same zone can be written in two ways.
    pub fn may_be(&self, other: &Self) -> bool {
        self.port == other.port && self.host.without_zone() == other.host.without_zone()
    }
}

/// The port that is given in one of two places. `in_text` is the port that stands in `text`.
///
/// # Errors
///
/// [`NameError`] if both places have a port and the ports differ.
pub fn merge_ports(
    text: &str,
    in_text: Option<u16>,
    port: Option<u16>,
) -> Result<Option<u16>, NameError> {
    match (in_text, port) {
        (Some(own), Some(port)) if own != port => Err(NameError(format!(
            "'{}' says port {own}, but port {port} is given too; leave one out",
            Printable(text.as_bytes())
        ))),
        (own, port) => Ok(own.or(port)),
    }
}

/// The name as a line of `known_servers` has it. The default port is left out.
impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.0.contains(':')) {
            (DEFAULT_PORT, _) => write!(f, "{}", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

/// Refuses URLs, user names and paths. `shown` is the text for messages.
fn refuse_urls(text: &str, shown: &str) -> Result<(), NameError> {
    let message = if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let rest = rest.rsplit('@').next().unwrap_or_default();
        let (scheme, rest) = (Printable(scheme.as_bytes()), Printable(rest.as_bytes()));
        format!("'{shown}' is a URL; leave out '{scheme}://': {rest}")
    } else if let Some((user, host)) = text.rsplit_once('@') {
        let (user, host) = (Printable(user.as_bytes()), Printable(host.as_bytes()));
        format!("there are no user names here; leave out '{user}@': {host}")
    } else if let Some((host, _)) = text.split_once('/') {
        format!("'{shown}' has a path; leave it out: {}", Printable(host.as_bytes()))
    } else {
        return Ok(());
    };
    Err(NameError(message))
}

/// Splits a text into the host, without brackets, and the digits of the port.
fn split_port<'a>(text: &'a str, shown: &str) -> Result<(&'a str, Option<&'a str>), NameError> {
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            // Without a colon it is a name or an IPv4 address, with several an IPv6 address.
            _ => (text, None),
        });
    };
    let message = match rest.split_once(']') {
        None => format!("'{shown}': the bracket is not closed: [{rest}]"),
        Some((host, _)) if !host.contains(':') => {
            format!("'{shown}': brackets are for IPv6 addresses, as in [::1]")
        }
        Some((host, "")) => return Ok((host, None)),
        Some((host, behind)) => match behind.strip_prefix(':') {
            Some(port) => return Ok((host, Some(port))),
            None => format!("'{shown}': expected [ADDRESS] or [ADDRESS]:PORT"),
        },
    };
    Err(NameError(message))
}

/// The one spelling of a host. The error is the reason why the text is no host.
fn canonical(host: &str) -> Result<String, String> {
    if host.contains(':') {
        return canonical_ipv6(host);
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name.is_empty() || name.split('.').any(str::is_empty) {
        return Err("a part between dots is empty".to_owned());
    }
    if name.len() > MAX_LEN {
        return Err(format!("it is longer than {MAX_LEN} characters"));
    }
    if !name.is_ascii() {
        return Err("write it with ASCII letters (xn--…)".to_owned());
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if let Some(other) = name.chars().find(|c| !is_allowed(*c)) {
        let other = Printable(other.encode_utf8(&mut [0; 4]).as_bytes()).to_string();
        return Err(match other.as_str() {
            " " | "\\t" => "there is a blank in it".to_owned(),
            "*" | "?" => "patterns are not supported; name the host".to_owned(),
            other => format!("'{other}' cannot stand in it"),
        });
    }
    // Resolvers take a name for an IPv4 address if its last part is a number.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|l| l.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number {
        return match parse_ipv4(&name) {
            Some(address) => Ok(address.to_string()),
            None => Err("it is no IPv4 address".to_owned()),
        };
    }
    Ok(name)
}

/// The one spelling of an IPv6 address. An IPv4-mapped address (RFC 4291 §2.5.5.2) becomes the IPv4
/// address.
fn canonical_ipv6(text: &str) -> Result<String, String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let parsed: Ipv6Addr = address.parse().map_err(|_| "it is no IPv6 address".to_owned())?;
    let zone = match zone {
        None => String::new(),
        Some(zone) => {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if zone.is_empty() || !zone.chars().all(is_allowed) {
                return Err("behind % stands the name of an interface".to_owned());
            }
            format!("%{zone}")
        }
    };
    Ok(match IpAddr::V6(parsed).to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{v6}{zone}"),
    })
}

/// Reads an IPv4 address in every form of inet_aton(3): with one to four parts, each of them decimal,
/// octal or hexadecimal.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    let number = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x") {
            Some("") => return Some(0),
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        u32::from_str_radix(digits, radix).ok()
    };
    let numbers: Vec<u32> = parts.iter().map(|part| number(part)).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    let mut bits: u32 = 0;
    for (at, part) in first.iter().enumerate() {
        bits |= u32::from(u8::try_from(*part).ok()?) << (24 - 8 * at);
    }
    // The last part fills the bits that the other parts leave.
    let bits_left = 32 - 8 * u32::try_from(first.len()).ok()?;
    if u64::from(*last) >= 1 << bits_left {
        return None;
    }
    Some(Ipv4Addr::from_bits(bits | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_host_is_one_name() {
        for (same, spellings) in [
            ("localhost", &["LOCALHOST", "localhost.", " localhost ", "localhost:4600"][..]),
            ("vpn.example.org", &["VPN.Example.ORG", "vpn.example.org.", "Vpn.Example.Org.:4600"]),
            (
                "127.0.0.1",
                &[
                    "127.0.0.1:4600",
                    "127.1",
                    "0x7f.1",
                    "0177.0.0.1",
                    "2130706433",
                    "::ffff:127.0.0.1",
                    "[::ffff:7f00:1]:4600",
                    "127.0.0.1.",
                ],
            ),
            ("::1", &["[::1]", "[::1]:4600", "0:0:0:0:0:0:0:1", "[0::01]"]),
            ("2001:db8::a", &["2001:DB8:0:0::A", "[2001:0db8::000a]:4600"]),
            ("fe80::1%eth0", &["FE80::1%eth0", "[fe80:0::1%eth0]"]),
        ] {
            let name = ServerName::parse(same, None).unwrap();
            assert_eq!(name.to_string(), same);
            for text in spellings {
                assert_eq!(ServerName::parse(text, None).unwrap(), name, "{text}");
            }
        }
        // Zones keep their case, and a name is no address.
        let parse = |text| ServerName::parse(text, None).unwrap();
        assert_ne!(parse("fe80::1%Eth0"), parse("fe80::1%eth0"));
        assert!(parse("fe80::1%2").may_be(&parse("fe80::1%eth0")));
        assert!(!parse("fe80::1%2").may_be(&parse("fe80::2%2")));
        assert_eq!(parse("a:1").to_string(), "a:1");
        assert_eq!(parse("[::1]:1").to_string(), "[::1]:1");
    }

    #[test]
    fn a_wrong_host_is_refused_with_what_to_write() {
        for (text, words) in [
            ("http://example.org/x", "leave out 'http://': example.org"),
            ("ssh://me@example.org", "leave out 'ssh://': example.org"),
            ("me@example.org", "leave out 'me@': example.org"),
            ("example.org/x", "leave it out: example.org"),
            ("", "is empty"),
            ("a b", "there is a blank in it"),
            ("a..b", "a part between dots is empty"),
            ("host:99999", "a port is a number up to 65535"),
            ("host:", "a port is a number"),
            ("[::1", "the bracket is not closed"),
            ("[localhost]:1", "brackets are for IPv6"),
            ("1.2.3.4.5", "no IPv4 address"),
            ("256.1.1.1", "no IPv4 address"),
            ("1:2:3", "no IPv6 address"),
            ("münchen.de", "xn--"),
            ("*.example.org", "patterns are not supported"),
            ("a\u{1b}[2J", "cannot stand in it"),
        ] {
            let error = ServerName::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn a_second_port_must_be_the_same() {
        let parse = |text, port| ServerName::parse(text, port).map(|name| name.port());
        assert_eq!(parse("a:1", None), Ok(1));
        assert_eq!(parse("a", Some(1)), Ok(1));
        assert_eq!(parse("a:1", Some(1)), Ok(1));
        assert_eq!(parse("a", None), Ok(DEFAULT_PORT));
        let error = parse("a:1", Some(2)).unwrap_err().to_string();
        assert!(error.contains("leave one out"), "{error}");
    }
}
