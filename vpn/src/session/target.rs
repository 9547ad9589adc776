//! Targets that clients ask for: whether they may be reached, and at which addresses.
//!
//! A name is looked up once. Every address that is found is checked, and only a checked address is
//! dialled. So a name server that changes its answers cannot lead a client to a forbidden address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::net::limits::SOCKET_PATH;
use crate::net::{LookupError, endpoint, lookup};
use crate::trust::{Host, Permit};
use vpn_proto::Printable;

/// The greatest number of addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// What a client wants to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host and a TCP port that is not 0.
    Host(Host, u16),
    /// The unix socket at an absolute path.
    Path(PathBuf),
}

/// Where a permitted target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Its addresses, at least one, in the order of the resolver. The client may connect to each of
    /// them.
    Addresses(Vec<SocketAddr>),
    /// The unix socket at an absolute path.
    Path(PathBuf),
}

/// Why a target is not reached. The message is for the client and for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No rule of the client permits it.
    #[error(
        "this key may not forward to {}: permit in its line of authorized_clients needs {}",
        Printable(.target.as_bytes()),
        Printable(.rule.as_bytes())
    )]
    NotPermitted {
        /// The target that the client asked for.
        target: String,
        /// The rule that is missing.
        rule: String,
    },
    /// There is no host of this name.
    #[error("there is no host of the name '{0}'")]
    NoSuchName(Host),
    /// The name server does not answer in time.
    #[error("the name server does not answer for '{0}'")]
    NoAnswer(Host),
    /// The lookup failed on this machine.
    #[error("cannot look up '{host}': {reason}")]
    Lookup {
        /// The host that the client asked for.
        host: Host,
        /// The reason.
        reason: String,
    },
    /// The text is no target.
    #[error("{0}")]
    Malformed(String),
}

impl Target {
    /// Reads `host:port`, `[address]:port` or `/path`.
    ///
    /// An IPv4 address may have a short form, such as `127.1`. It becomes the address in full.
    ///
    /// # Errors
    ///
    /// [`TargetError::Malformed`] if the text has another form.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let malformed = |message: String| TargetError::Malformed(message);
        let shown = Printable(text.as_bytes());
        if text.starts_with('/') {
            if text.len() > SOCKET_PATH || text.contains('\0') {
                let limit = format!("a path without zeros, of at most {SOCKET_PATH} bytes");
                return Err(malformed(format!("'{shown}' is no unix socket: it takes {limit}")));
            }
            return Ok(Self::Path(PathBuf::from(text)));
        }
        let (host, port) = Host::parse(text).map_err(|error| malformed(error.to_string()))?;
        match port {
            Some(0) => Err(malformed(format!("'{shown}': there is no port 0"))),
            Some(port) => Ok(Self::Host(host, port)),
            None => Err(malformed(format!(
                "'{shown}' has no port; write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address"
            ))),
        }
    }

    /// The rule that would permit the target. A rule has no zone of an IPv6 address.
    fn rule(&self) -> String {
        match self {
            Self::Host(host, port) => {
                let address = host.as_str().split('%').next().and_then(|host| host.parse().ok());
                address.map_or_else(|| format!("forward:{self}"), |ip| Permit::rule_for(ip, *port))
            }
            Self::Path(_) => format!("forward:{self}"),
        }
    }
}

/// The target as [`Target::parse`] reads it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) if host.as_str().contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host(host, port) => f.write_str(&endpoint(host.as_str(), *port)),
            Self::Path(path) => write!(f, "{}", Printable(path.as_os_str().as_encoded_bytes())),
        }
    }
}

/// Checks a target against the rules of a client, and looks its name up once.
///
/// `own` are the server's addresses in tunnels. They need a rule of their own, as loopback addresses
/// do; [`Permit::permits_address`] has the details.
///
/// Cancel safety: the resolver may keep a thread busy for a while if the future is dropped.
///
/// # Errors
///
/// [`TargetError`] if no rule permits the target, or if its name has no address.
pub async fn resolve_permitted(
    permit: &Permit,
    target: &Target,
    own: &[IpAddr],
) -> Result<Destination, TargetError> {
    resolve_with(permit, target, own, lookup).await
}

/// [`resolve_permitted`] with any resolver.
async fn resolve_with(
    permit: &Permit,
    target: &Target,
    own: &[IpAddr],
    resolve: impl AsyncFnOnce(&str, u16) -> Result<Vec<SocketAddr>, LookupError>,
) -> Result<Destination, TargetError> {
    let refused = |rule: &str| TargetError::NotPermitted {
        target: target.to_string(),
        rule: rule.to_owned(),
    };
    let (host, port) = match target {
        Target::Host(host, port) => (host, *port),
        Target::Path(path) if permit.permits_path(path) => {
            return Ok(Destination::Path(path.clone()));
        }
        Target::Path(_) => return Err(refused(&target.rule())),
    };
    if let Ok(address) = host.as_str().parse::<IpAddr>() {
        return match permit.permits_address(None, address, port, own) {
            true => Ok(Destination::Addresses(vec![SocketAddr::new(address, port)])),
            false => Err(refused(&target.rule())),
        };
    }
    // An IPv6 address with a zone is looked up, too, because the zone has a number. It is no name.
    let name = (!host.as_str().contains(':')).then(|| host.as_str());
    if !permit.permits_lookup(name, port) {
        return Err(refused(&target.rule()));
    }
    let found = resolve(host.as_str(), port).await.map_err(|error| match error {
        LookupError::NoSuchName => TargetError::NoSuchName(host.clone()),
        LookupError::NoAnswer => TargetError::NoAnswer(host.clone()),
        LookupError::Failed(_) => {
            TargetError::Lookup { host: host.clone(), reason: error.to_string() }
        }
    })?;
    let Some(first) = found.first().copied() else {
        return Err(TargetError::NoSuchName(host.clone()));
    };
    // A name does not permit an address of this machine, so the rule that is missing has the address.
    let is_special = |address: &SocketAddr| Permit::is_special(address.ip(), own);
    let rule = match found.iter().all(is_special) && host.as_str() != "localhost" {
        true => Permit::rule_for(first.ip(), port),
        false => target.rule(),
    };
    let may_reach = |address: &SocketAddr| permit.permits_address(name, address.ip(), port, own);
    let permitted: Vec<_> = found.into_iter().filter(may_reach).take(MAX_ADDRESSES).collect();
    if permitted.is_empty() {
        return Err(refused(&rule));
    }
    Ok(Destination::Addresses(permitted))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;

    use super::*;
    use crate::trust::ServiceNames;

    fn permit(rules: &str) -> Permit {
        Permit::parse(rules, &ServiceNames::new("message", [])).unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Resolves a target with a resolver that answers `found`. Returns the result in words, and how
    /// often the resolver was asked.
    async fn resolved(
        rules: &str,
        target: &str,
        found: &[&str],
    ) -> (Result<Vec<String>, String>, u32) {
        let asked = Cell::new(0);
        let target = Target::parse(target).unwrap();
        let own = ["10.9.0.1".parse().unwrap()];
        let permit = permit(rules);
        let found = resolve_with(&permit, &target, &own, async |_: &str, _: u16| {
            asked.set(asked.get() + 1);
            Ok(addresses(found))
        });
        let found = match found.await {
            Ok(Destination::Addresses(all)) => Ok(all.iter().map(ToString::to_string).collect()),
            Ok(Destination::Path(path)) => Ok(vec![path.display().to_string()]),
            Err(TargetError::NotPermitted { rule, .. }) => Err(permit.with(&rule)),
            Err(other) => Err(other.to_string()),
        };
        (found, asked.get())
    }

    #[test]
    fn a_target_is_a_host_with_a_port_or_a_path() {
        for (text, shown) in [
            ("db.internal:5432", "db.internal:5432"),
            ("DB.Internal.:22", "db.internal:22"),
            ("10.0.0.1:22", "10.0.0.1:22"),
            ("127.1:22", "127.0.0.1:22"),
            ("0x7f.1:22", "127.0.0.1:22"),
            ("2130706433:22", "127.0.0.1:22"),
            ("[::1]:22", "[::1]:22"),
            ("[::ffff:127.0.0.1]:22", "127.0.0.1:22"),
            ("[fe80::1%eth0]:22", "[fe80::1%eth0]:22"),
            ("/run/db.sock", "/run/db.sock"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown, "{text}");
        }
        let long = format!("/{}", "x".repeat(107));
        for (text, message) in [
            ("", "the host's name is empty"),
            (
                "db.internal",
                "'db.internal' has no port; write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address",
            ),
            (
                "fd00::1:22",
                "'fd00::1:22' has no port; write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address",
            ),
            ("a:0", "'a:0': there is no port 0"),
            ("a:65536", "'a:65536': a port is a number up to 65535"),
            ("a:ssh", "'a:ssh': a port is a number up to 65535"),
            (":22", "':22' is no host: a part between dots is empty"),
            ("a b:22", "'a b:22' is no host: there is a blank in it"),
            ("a\n:22", "'a\\n:22' is no host: '\\n' cannot stand in it"),
            ("1.2.3.4.5:22", "'1.2.3.4.5:22' is no host: it is no IPv4 address"),
            (
                "/run/\0",
                "'/run/\\x00' is no unix socket: it takes a path without zeros, of at most 107 bytes",
            ),
            (
                &long,
                &format!(
                    "'{long}' is no unix socket: it takes a path without zeros, of at most 107 bytes"
                ),
            ),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert_eq!(error, TargetError::Malformed(message.to_owned()), "{text:?}");
        }
    }

    /// Rules, a target, what the resolver finds, and the addresses that are left or the permit that the
    /// refusal names.
    type Lookup =
        (&'static str, &'static str, &'static [&'static str], Result<&'static str, &'static str>);
    const LOOKUPS: &[Lookup] = &[
        (
            "forward:a:22",
            "a:22",
            &["192.0.2.1:22", "192.0.2.2:22"],
            Ok("192.0.2.1:22 192.0.2.2:22"),
        ),
        ("forward:a:22", "A.:22", &["192.0.2.1:22"], Ok("192.0.2.1:22")),
        // The order is the resolver's.
        (
            "forward:*:22",
            "a:22",
            &["[2001:db8::1]:22", "192.0.2.1:22"],
            Ok("[2001:db8::1]:22 192.0.2.1:22"),
        ),
        ("forward:10.0.0.0/8:22", "a:22", &["192.0.2.1:22", "10.0.0.1:22"], Ok("10.0.0.1:22")),
        // A name that leads to this machine, to a cloud's metadata or to the tunnel.
        ("forward:a:22", "a:22", &["127.0.0.1:22", "192.0.2.1:22", "[::1]:22"], Ok("192.0.2.1:22")),
        ("forward:a:22", "a:22", &["127.0.0.1:22"], Err("forward:a:22,forward:127.0.0.1:22")),
        (
            "forward:*:*",
            "a:22",
            &["169.254.169.254:22"],
            Err("forward:*:*,forward:169.254.169.254:22"),
        ),
        (
            "forward:*:*",
            "a:22",
            &["[::ffff:169.254.169.254]:22"],
            Err("forward:*:*,forward:169.254.169.254:22"),
        ),
        ("forward:*:*", "a:22", &["[64:ff9b::7f00:1]:22"], Err("forward:*:*,forward:127.0.0.1:22")),
        ("forward:*:*", "a:22", &["10.9.0.1:22"], Err("forward:*:*,forward:10.9.0.1:22")),
        ("forward:*:*", "a:22", &["0.0.0.0:22", "[::]:22"], Err("forward:*:*,forward:0.0.0.0:22")),
        ("forward:*:*,forward:127.0.0.0/8:22", "a:22", &["127.0.0.1:22"], Ok("127.0.0.1:22")),
        // A network that has no address of the name: its name is what is missing.
        (
            "forward:10.0.0.0/8:22",
            "a:22",
            &["192.0.2.1:22"],
            Err("forward:10.0.0.0/8:22,forward:a:22"),
        ),
        (
            "forward:10.0.0.0/8:22",
            "a:22",
            &["127.0.0.1:22", "192.0.2.1:22"],
            Err("forward:10.0.0.0/8:22,forward:a:22"),
        ),
        (
            "forward:localhost:22",
            "localhost:22",
            &["[::1]:22", "127.0.0.1:22"],
            Ok("[::1]:22 127.0.0.1:22"),
        ),
        (
            "forward:*:22",
            "localhost:22",
            &["127.0.0.1:22"],
            Err("forward:*:22,forward:localhost:22"),
        ),
        ("forward:a:22", "a:22", &[], Err("there is no host of the name 'a'")),
        // An address with a zone is no name.
        ("forward:[fe80::]/10:22", "[fe80::1%2]:22", &["[fe80::1%2]:22"], Ok("[fe80::1%2]:22")),
    ];

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_only_permitted_addresses_are_left() {
        for &(rules, target, found, expected) in LOOKUPS {
            let expected = match expected {
                Ok(all) => Ok(all.split(' ').map(str::to_owned).collect()),
                Err(permit) => Err(permit.to_owned()),
            };
            assert_eq!(resolved(rules, target, found).await, (expected, 1), "{rules}: {target}");
        }
    }

    #[tokio::test]
    async fn what_no_rule_can_permit_is_not_looked_up() {
        for (rules, target, expected) in [
            ("message", "a:22", Err("message,forward:a:22")),
            ("forward:a:23", "a:22", Err("forward:a:23,forward:a:22")),
            ("forward:b:22", "a:22", Err("forward:b:22,forward:a:22")),
            // Addresses need no lookup, however they are written.
            ("forward:10.0.0.0/8:22", "10.0.0.1:22", Ok("10.0.0.1:22")),
            ("forward:10.0.0.0/8:22", "10.1:22", Ok("10.0.0.1:22")),
            ("forward:a:22", "192.0.2.1:22", Err("forward:a:22,forward:192.0.2.1:22")),
            ("forward:*:*", "127.0.0.1:22", Err("forward:*:*,forward:127.0.0.1:22")),
            ("forward:*:*", "127.1:22", Err("forward:*:*,forward:127.0.0.1:22")),
            ("forward:*:*", "0x7f.1:22", Err("forward:*:*,forward:127.0.0.1:22")),
            ("forward:*:*", "0177.0.0.1:22", Err("forward:*:*,forward:127.0.0.1:22")),
            ("forward:*:*", "2852039166:22", Err("forward:*:*,forward:169.254.169.254:22")),
            ("forward:*:*", "0:22", Err("forward:*:*,forward:0.0.0.0:22")),
            ("forward:*:*", "[::1]:22", Err("forward:*:*,forward:[::1]:22")),
            ("forward:*:*", "[::ffff:127.0.0.1]:22", Err("forward:*:*,forward:127.0.0.1:22")),
            ("forward:*:*", "[2002:7f00:1::]:22", Err("forward:*:*,forward:127.0.0.1:22")),
            (
                "forward:localhost:22",
                "127.0.0.1:22",
                Err("forward:localhost:22,forward:127.0.0.1:22"),
            ),
            ("forward:a:22", "[fe80::1%2]:22", Err("forward:a:22,forward:[fe80::1]:22")),
            ("forward:/run/s", "/run/s", Ok("/run/s")),
            ("forward:*:*", "/run/s", Err("forward:*:*,forward:/run/s")),
            ("forward:/run/s", "/run//s", Err("forward:/run/s,forward:/run//s")),
        ] {
            let expected = match expected {
                Ok(one) => Ok(vec![one.to_owned()]),
                Err(permit) => Err(permit.to_owned()),
            };
            assert_eq!(resolved(rules, target, &[]).await, (expected, 0), "{rules}: {target}");
        }
    }

    #[tokio::test]
    async fn failures_of_the_lookup_are_told_apart() {
        let target = Target::parse("db.internal:22").unwrap();
        let permit = permit("forward:*:22");
        let fails = async |error: LookupError| {
            let failed = resolve_with(&permit, &target, &[], async |_: &str, _: u16| Err(error));
            failed.await.unwrap_err().to_string()
        };
        let no_such = "there is no host of the name 'db.internal'";
        assert_eq!(fails(LookupError::NoSuchName).await, no_such);
        let silent = "the name server does not answer for 'db.internal'";
        assert_eq!(fails(LookupError::NoAnswer).await, silent);
        let full = LookupError::Failed(io::Error::from_raw_os_error(24));
        assert_eq!(fails(full).await, "cannot look up 'db.internal': too many open files");
    }

    #[tokio::test]
    async fn a_refusal_names_the_target_and_the_rule() {
        let target = Target::parse("db.internal:22").unwrap();
        let permit = permit("message");
        // The future can be sent to another thread.
        let refused = tokio::spawn(async move { resolve_permitted(&permit, &target, &[]).await });
        assert_eq!(
            refused.await.unwrap().unwrap_err().to_string(),
            "this key may not forward to db.internal:22: permit in its line of authorized_clients needs \
             forward:db.internal:22"
        );
    }

    #[tokio::test]
    async fn a_name_has_a_bounded_number_of_addresses() {
        let many: Vec<String> = (1..=40).map(|n| format!("192.0.2.{n}:22")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (found, _) = resolved("forward:a:22", "a:22", &many).await;
        assert_eq!(found.unwrap(), many[..16]);
    }
}
