//! The name of a server: one spelling for everything that compares names.
//!
//! A host can be written in many ways: `EXAMPLE.org.`, `127.0.0.1:4600`, `[::1]`, `::ffff:10.0.0.1`,
//! `127.1`. Two names that mean the same host are equal here. `known_servers`, `client.toml` and the
//! rule against downgrades compare nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::DEFAULT_PORT;
use vpn_proto::Printable;

/// No name in the DNS is longer.
const LONGEST: usize = 253;

/// A host in its one spelling: a name in lower case without a dot at its end, or an address in its
/// shortest form, without brackets; an IPv6 address may have a zone (`fe80::1%eth0`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName {
    host: Host,
    port: u16,
}

/// Why a text is no name of a server, in one line with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl Host {
    /// Reads `host`, `host:port`, `address`, `[address]` or `[address]:port`.
    ///
    /// # Errors
    ///
    /// [`NameError`] says what to write instead.
    pub fn parse(text: &str) -> Result<(Self, Option<u16>), NameError> {
        let fail = |words: String| Err(NameError(words));
        let shown = Printable(text.as_bytes()).to_string();
        let given = text.trim_matches([' ', '\t']);
        if given.is_empty() {
            return fail("the host's name is empty".to_owned());
        }
        if let Some((scheme, rest)) = given.split_once("://") {
            let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let rest = rest.rsplit('@').next().unwrap_or_default();
            let (scheme, rest) = (Printable(scheme.as_bytes()), Printable(rest.as_bytes()));
            return fail(format!("'{shown}' is a URL; leave out '{scheme}://': {rest}"));
        }
        if let Some((user, host)) = given.rsplit_once('@') {
            let (user, host) = (Printable(user.as_bytes()), Printable(host.as_bytes()));
            return fail(format!("there are no user names here; leave out '{user}@': {host}"));
        }
        if let Some((host, _)) = given.split_once('/') {
            let host = Printable(host.as_bytes());
            return fail(format!("'{shown}' has a path; leave it out: {host}"));
        }
        let (host, port) = if let Some(rest) = given.strip_prefix('[') {
            let Some((host, behind)) = rest.split_once(']') else {
                return fail(format!("'{shown}': the bracket is not closed: [{rest}]"));
            };
            if !host.contains(':') {
                return fail(format!("'{shown}': brackets are for IPv6 addresses, as in [::1]"));
            }
            match behind.strip_prefix(':') {
                None if behind.is_empty() => (host, None),
                Some(port) => (host, Some(port)),
                None => return fail(format!("'{shown}': expected [ADDRESS] or [ADDRESS]:PORT")),
            }
        } else if given.matches(':').count() == 1 {
            let (host, port) = given.split_once(':').unwrap_or((given, ""));
            (host, Some(port))
        } else {
            // More than one colon: an IPv6 address.
            (given, None)
        };
        let port = match port {
            None => None,
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if !digits.starts_with('+') => Some(port),
                _ => return fail(format!("'{shown}': a port is a number up to 65535")),
            },
        };
        match canonical(host) {
            Ok(host) => Ok((Self(host), port)),
            Err(words) => fail(format!("'{shown}' is no host: {words}")),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without the zone of an IPv6 address.
    fn address(&self) -> &str {
        self.0.split('%').next().unwrap_or_default()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServerName {
    /// Puts a host and a port together.
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Reads a name as [`Host::parse`] does. The port is the one of the text, or `port`, or else the
    /// usual one.
    ///
    /// # Errors
    ///
    /// Also if the two ports differ.
    pub fn parse(text: &str, port: Option<u16>) -> Result<Self, NameError> {
        let (host, own) = Host::parse(text)?;
        let port = one_port(text, own, port)?.unwrap_or(DEFAULT_PORT);
        Ok(Self { host, port })
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether this may be the same server: zones name interfaces, and one interface has a name and
    /// a number, so they are left out of account.
    pub fn may_be(&self, other: &Self) -> bool {
        self.port == other.port && self.host.address() == other.host.address()
    }
}

/// The port that both say, or the one that one of them says.
///
/// # Errors
///
/// If they differ.
pub fn one_port(text: &str, own: Option<u16>, port: Option<u16>) -> Result<Option<u16>, NameError> {
    match (own, port) {
        (Some(own), Some(port)) if own != port => Err(NameError(format!(
            "'{}' says port {own}, but port {port} is given too; leave one out",
            Printable(text.as_bytes())
        ))),
        (own, port) => Ok(own.or(port)),
    }
}

/// As a line of `known_servers` has it: the usual port is left out.
impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.host.0.contains(':')) {
            (DEFAULT_PORT, _) => write!(f, "{}", self.host),
            (port, false) => write!(f, "{}:{port}", self.host),
            (port, true) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

fn canonical(host: &str) -> Result<String, String> {
    if host.contains(':') {
        return address(host);
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name.is_empty() || name.split('.').any(str::is_empty) {
        return Err("a part between dots is empty".to_owned());
    }
    if name.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} characters"));
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
    // What ends in a number is an address, as resolvers see it.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|l| l.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number {
        return match ipv4(&name) {
            Some(address) => Ok(address.to_string()),
            None => Err("it is no IPv4 address".to_owned()),
        };
    }
    Ok(name)
}

fn address(text: &str) -> Result<String, String> {
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

/// An IPv4 address in any form that resolvers read: parts may be left out, octal or hexadecimal.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
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
    let room = 32 - 8 * u32::try_from(first.len()).ok()?;
    if u64::from(*last) >= 1 << room {
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
    fn what_is_no_host_is_refused_with_what_to_write() {
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
    fn a_port_is_said_once_or_twice_the_same() {
        let parse = |text, port| ServerName::parse(text, port).map(|name| name.port());
        assert_eq!(parse("a:1", None), Ok(1));
        assert_eq!(parse("a", Some(1)), Ok(1));
        assert_eq!(parse("a:1", Some(1)), Ok(1));
        assert_eq!(parse("a", None), Ok(DEFAULT_PORT));
        let error = parse("a:1", Some(2)).unwrap_err().to_string();
        assert!(error.contains("leave one out"), "{error}");
    }
}
