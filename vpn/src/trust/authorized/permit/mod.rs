//! The option `permit`: the services and targets that a client may use (PROTOCOL.md §4.8).
//!
//! The modules use each other in one direction: this one -> `rule` -> `ports`, and this one ->
//! `judged`.

mod judged;
mod ports;
mod rule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use self::judged::{is_special, judged};
use self::rule::{Bind, Place, Rule};
use super::names::ServiceNames;

/// The greatest length of the text of a `permit`, in bytes. A server sends the text to its client in
/// one frame.
const MAX_LEN: usize = 8192;

/// What a client may use: the rules of its `permit`, in their order.
///
/// A client may use what one of the rules permits. Nothing else is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit(Vec<Entry>);

/// A rule, and how the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    text: String,
    rule: Rule,
}

impl Permit {
    /// Permits one plain service.
    pub fn service(name: &str) -> Self {
        Self(vec![Entry { text: name.to_owned(), rule: Rule::Service(name.to_owned()) }])
    }

    /// Reads the value of `permit`: rules that are separated by commas. `services` are the names that
    /// plain services may have.
    ///
    /// # Errors
    ///
    /// The message for the user about the first wrong rule.
    pub fn parse(value: &str, services: &ServiceNames) -> Result<Self, String> {
        if value.len() > MAX_LEN {
            return Err(format!("permit is longer than {MAX_LEN} bytes; use fewer, wider rules"));
        }
        let list: Vec<&str> = value.split(',').map(str::trim).collect();
        if list.iter().all(|rule| rule.is_empty()) {
            return Err(format!("permit names no service (possible: {})", services.listed()));
        }
        let entry = |text: &str| {
            let rule = match services.is_plain(text) {
                true => Rule::Service(text.to_owned()),
                false => Rule::parse(text)?.ok_or_else(|| unknown(text, services))?,
            };
            Ok(Entry { text: text.to_owned(), rule })
        };
        list.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the client may open this plain service, such as `message`. Services with targets have
    /// methods of their own.
    pub fn permits(&self, service: &str) -> bool {
        self.any(|rule| matches!(rule, Rule::Service(name) if name == service))
    }

    /// Whether the client may use IP packets (the rule `tun`).
    pub fn permits_tun(&self) -> bool {
        self.any(|rule| matches!(rule, Rule::Tun))
    }

    /// Whether the client may open a session of channels: there is a rule that one of its channels may
    /// use (`forward`, `remote-forward` or `exec`).
    pub fn permits_channels(&self) -> bool {
        self.any(|rule| !matches!(rule, Rule::Service(_) | Rule::Tun))
    }

    /// Whether there is a rule `forward`, for any target.
    pub fn permits_forwards(&self) -> bool {
        self.any(|rule| matches!(rule, Rule::Forward(..) | Rule::ForwardPath(_)))
    }

    /// Whether the client may run the command that has this name in the server's configuration.
    pub fn permits_exec(&self, name: &str) -> bool {
        self.any(|rule| matches!(rule, Rule::Exec(permitted) if permitted == name))
    }

    /// Whether the server may listen for the client on an address and a TCP port.
    ///
    /// Port 0 lets the system choose. It needs a rule with `*` or a range of ports; the system may then
    /// choose any port. An unspecified address (`0.0.0.0`, `::`) means all interfaces. It needs a rule
    /// that has all addresses, or exactly this one.
    pub fn permits_listen(&self, bind: IpAddr, port: u16) -> bool {
        let bind = bind.to_canonical();
        self.any(|rule| match rule {
            Rule::Listen(place, ports) if ports.permit_listen(port) => match place {
                Bind::Any => true,
                Bind::Localhost => bind.is_loopback(),
                Bind::Network(network) => {
                    let covers_all = network.is_single() || network.is_everything();
                    network.contains(bind) && (covers_all || !bind.is_unspecified())
                }
            },
            _ => false,
        })
    }

    /// Whether the client may connect to the unix socket at this path. The path has to be written as
    /// in the rule, byte for byte.
    pub fn permits_path(&self, path: &Path) -> bool {
        self.any(|rule| match rule {
            Rule::ForwardPath(permitted) => permitted.as_os_str() == path.as_os_str(),
            _ => false,
        })
    }

    /// Whether the server may listen for the client on the unix socket at this path. The path has to
    /// be written as in the rule, byte for byte.
    pub fn permits_listen_path(&self, path: &Path) -> bool {
        self.any(|rule| match rule {
            Rule::ListenPath(permitted) => permitted.as_os_str() == path.as_os_str(),
            _ => false,
        })
    }

    /// Whether a name may be looked up for the client: some address of it could be permitted on this
    /// port. A name that no rule can permit is not asked about, so that a client cannot use our name
    /// server.
    ///
    /// `name` is in lower case and has no dot at its end; it is `None` for an IPv6 address with a zone,
    /// which is looked up, too.
    pub fn permits_lookup(&self, name: Option<&str>, port: u16) -> bool {
        self.forwards(port).any(|place| match place {
            Place::Any | Place::Network(_) => true,
            Place::Name(permitted) => Some(permitted.as_str()) == name,
        })
    }

    /// Whether the client may connect to an address on a TCP port.
    ///
    /// `name` is the name that the client asked for, in lower case and without a dot at its end; `None`
    /// if it asked for the address itself. `own` are the server's addresses in tunnels.
    ///
    /// An address that contains an IPv4 address (RFC 4291 §2.5.5.2, RFC 6052, RFC 3056) is judged as
    /// that one. Addresses of this machine and of its links need a rule with an address or a network
    /// that has them. `*`, the networks of all addresses (`0.0.0.0/0`, `[::]/0`), and names do not
    /// permit them. One name does: `localhost`, for loopback addresses of the name `localhost`.
    pub fn permits_address(
        &self,
        name: Option<&str>,
        address: IpAddr,
        port: u16,
        own: &[IpAddr],
    ) -> bool {
        let address = judged(address);
        let needs_own_rule = is_special(address, own);
        self.forwards(port).any(|place| match place {
            Place::Network(network) => {
                network.contains(address) && !(needs_own_rule && network.is_everything())
            }
            Place::Any => !needs_own_rule,
            Place::Name(permitted) => {
                let is_localhost = permitted == "localhost" && address.is_loopback();
                Some(permitted.as_str()) == name && (!needs_own_rule || is_localhost)
            }
        })
    }

    /// Whether an address needs a rule of its own: `*` and names do not permit it. `own` are the
    /// server's addresses in tunnels.
    pub fn is_special(address: IpAddr, own: &[IpAddr]) -> bool {
        is_special(judged(address), own)
    }

    /// The rule that permits an address on a port, as users write it. It has the address that is
    /// judged.
    pub fn rule_for(address: IpAddr, port: u16) -> String {
        match judged(address) {
            IpAddr::V4(v4) => format!("forward:{v4}:{port}"),
            IpAddr::V6(v6) => format!("forward:[{v6}]:{port}"),
        }
    }

    /// The text of this permit with one more rule, for messages about a rule that is missing.
    pub fn with(&self, rule: &str) -> String {
        format!("{self},{rule}")
    }

    fn any(&self, permits: impl Fn(&Rule) -> bool) -> bool {
        self.0.iter().any(|entry| permits(&entry.rule))
    }

    /// The places of all rules `forward` for this port.
    fn forwards(&self, port: u16) -> impl Iterator<Item = &Place> {
        self.0.iter().filter_map(move |entry| match &entry.rule {
            Rule::Forward(place, ports) if ports.contain(port) => Some(place),
            _ => None,
        })
    }
}

/// The message about a text that is no rule.
fn unknown(text: &str, services: &ServiceNames) -> String {
    match text.contains(':') {
        true => format!(
            "'{text}' is no rule (possible with a target: forward:HOST:PORTS, \
             remote-forward:BIND:PORTS, exec:NAME)"
        ),
        false => format!("'{text}' is no service (possible: {})", services.listed()),
    }
}

/// The rules as the user wrote them, separated by commas.
impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(&entry.text)?;
        }
        Ok(())
    }
}
