//! The parser of one rule of `permit`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::judged::judged;
use super::ports::Ports;
use crate::net::Network;
use crate::net::limits::SOCKET_PATH;
use crate::trust::name::Host;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A plain service, by its name.
    Service(String),
    /// `tun`
    Tun,
    /// `exec:NAME`
    Exec(String),
    /// `forward:HOST:PORTS`
    Forward(Place, Ports),
    /// `forward:/PATH`
    ForwardPath(PathBuf),
    /// `remote-forward:BIND:PORTS`
    Listen(Bind, Ports),
    /// `remote-forward:/PATH`
    ListenPath(PathBuf),
}

/// Where clients may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `*`
    Any,
    /// The name that the client asks for. In lower case, without a dot at its end.
    Name(String),
    /// The addresses of a network.
    Network(Network),
}

/// Where the server may listen for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bind {
    /// `*`
    Any,
    /// `localhost`: the loopback addresses.
    Localhost,
    /// The addresses of a network.
    Network(Network),
}

/// A host of a rule, before it is known what it may be.
enum Written {
    Any,
    Name(String),
    Network(Network),
}

impl Rule {
    /// Reads a rule that is no plain service. `None` if the text does not begin like a rule.
    ///
    /// # Errors
    ///
    /// The message for the user.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let (kind, target) = match text.split_once(':') {
            Some((kind, target)) => (kind, Some(target.trim())),
            None => (text, None),
        };
        let rule = match (kind, target) {
            ("tun", None) => Self::Tun,
            ("tun", Some(_)) => return Err(format!("'{text}': tun has no target; write tun")),
            ("exec", Some(name)) => exec(text, name)?,
            ("forward", Some(target)) => forward(text, target)?,
            ("remote-forward", Some(target)) => remote_forward(text, target)?,
            ("exec", None) => {
                return Err(example(text, "a command", "exec:NAME", "exec:backup"));
            }
            ("forward", None) => {
                return Err(example(
                    text,
                    "a target",
                    "forward:HOST:PORTS",
                    "forward:10.0.0.0/8:22",
                ));
            }
            ("remote-forward", None) => {
                let form = "remote-forward:BIND:PORTS";
                return Err(example(
                    text,
                    "an address",
                    form,
                    "remote-forward:localhost:8000-8100",
                ));
            }
            ("channels", _) => {
                return Err(
                    "'channels' comes with what its channels may do; write forward:HOST:PORTS, \
                     remote-forward:BIND:PORTS or exec:NAME"
                        .to_owned(),
                );
            }
            _ => return Ok(None),
        };
        Ok(Some(rule))
    }
}

/// The message about a rule without its target.
fn example(text: &str, what: &str, form: &str, example: &str) -> String {
    format!("'{text}' needs {what}: {form}, such as {example}")
}

fn exec(text: &str, name: &str) -> Result<Rule, String> {
    if name.is_empty() {
        return Err(example(text, "a command", "exec:NAME", "exec:backup"));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !name.chars().all(is_allowed) {
        return Err(format!(
            "'{text}': the name of a command has only letters, digits, '-', '.' and '_'"
        ));
    }
    Ok(Rule::Exec(name.to_owned()))
}

fn forward(text: &str, target: &str) -> Result<Rule, String> {
    if target.starts_with('/') {
        return Ok(Rule::ForwardPath(socket_path(text, target)?));
    }
    let (host, ports) =
        host_and_ports(text, target, "forward:HOST:PORTS", "forward:10.0.0.0/8:22")?;
    let place = match host {
        Written::Any => Place::Any,
        Written::Name(name) => Place::Name(name),
        Written::Network(network) => Place::Network(network),
    };
    Ok(Rule::Forward(place, ports))
}

fn remote_forward(text: &str, target: &str) -> Result<Rule, String> {
    if target.starts_with('/') {
        return Ok(Rule::ListenPath(socket_path(text, target)?));
    }
    let form = "remote-forward:BIND:PORTS";
    let (host, ports) = host_and_ports(text, target, form, "remote-forward:localhost:8000-8100")?;
    let bind = match host {
        Written::Any => Bind::Any,
        Written::Name(name) if name == "localhost" => Bind::Localhost,
        Written::Network(network) => Bind::Network(network),
        Written::Name(name) => {
            return Err(format!(
                "'{text}': the server listens on addresses, not on names; write the address of \
                 '{name}', localhost or *"
            ));
        }
    };
    Ok(Rule::Listen(bind, ports))
}

/// Reads the path of a unix socket.
fn socket_path(text: &str, path: &str) -> Result<PathBuf, String> {
    if path.len() > SOCKET_PATH {
        return Err(format!("'{text}': the path of a unix socket has at most {SOCKET_PATH} bytes"));
    }
    Ok(Path::new(path).to_owned())
}

/// Reads `HOST:PORTS`. `form` and `sample` are for messages.
fn host_and_ports(
    text: &str,
    target: &str,
    form: &str,
    sample: &str,
) -> Result<(Written, Ports), String> {
    let incomplete = || format!("'{text}' is incomplete; write {form}, such as {sample}");
    let (host, ports) = target.rsplit_once(':').ok_or_else(incomplete)?;
    if host.is_empty() {
        return Err(incomplete());
    }
    let host = if let Some(rest) = host.strip_prefix('[') {
        Written::Network(bracketed(text, rest)?)
    } else if host.contains([':', ']']) {
        return Err(format!("'{text}': write an IPv6 address in brackets, as in [fd00::1]"));
    } else {
        plain(text, host)?
    };
    let ports = Ports::parse(ports)
        .ok_or_else(|| format!("'{text}': '{ports}' are no ports; write 22, 8000-8100 or *"))?;
    Ok((host, ports))
}

/// Reads `v6]`, `v6]/BITS` or `v6/BITS]`. The first bracket is taken off already.
fn bracketed(text: &str, rest: &str) -> Result<Network, String> {
    let wrong = || format!("'{text}': expected [ADDRESS], [ADDRESS]/BITS or [ADDRESS/BITS]");
    let (inside, behind) = rest.split_once(']').ok_or_else(wrong)?;
    let network = match (behind.strip_prefix('/'), inside.contains('/')) {
        (Some(bits), false) => format!("{inside}/{bits}"),
        (None, _) if behind.is_empty() => inside.to_owned(),
        _ => return Err(wrong()),
    };
    if !inside.contains(':') {
        return Err(format!("'{text}': brackets are for IPv6 addresses, as in [fd00::1]"));
    }
    network_of(text, &network)
}

/// Reads a host that has no colon.
fn plain(text: &str, host: &str) -> Result<Written, String> {
    if host == "*" {
        return Ok(Written::Any);
    }
    if host.contains('/') || host.parse::<IpAddr>().is_ok() {
        return network_of(text, host).map(Written::Network);
    }
    let (name, _) = Host::parse(host).map_err(|error| error.to_string())?;
    // A resolver takes forms such as 127.1 for addresses, so they are no names.
    match name.as_str().parse::<IpAddr>() {
        Ok(address) => Err(format!("'{text}': write the address in full: {address}")),
        Err(_) => Ok(Written::Name(name.to_string())),
    }
}

/// Reads an address or a network.
fn network_of(text: &str, network: &str) -> Result<Network, String> {
    let wrong = || format!("'{text}': '{network}' is no address or network, such as 10.0.0.0/8");
    let bits = network.split_once('/').map(|(_, bits)| bits);
    if bits.is_some_and(|bits| bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit())) {
        return Err(wrong());
    }
    let parsed = Network::parse(network).ok_or_else(wrong)?;
    // Such addresses are judged as the IPv4 address in them, so this network would never match.
    if parsed.address().is_ipv6() && judged(parsed.address()).is_ipv4() {
        return Err(format!("'{text}': write the IPv4 address or network itself"));
    }
    Ok(parsed)
}
