//! The services of sealed sessions. This is the only place that lists all of them.
//!
//! To add one, write its file and add it to [`ALL`]. `permit`, `--service`, `--help` and
//! `docs/services.md` are made from the list.

mod channels;
mod echo;
mod exec;
mod exec_client;
mod forward;
mod forwards;
mod frames;
mod kind;
mod listen_text;
mod local_forward;
mod memory;
mod message;
mod multiplexed;
mod pipe;
mod remote_client;
mod remote_forward;
mod socks;
mod spec;
mod uplink;

pub use exec_client::run_exec;
pub use forwards::{
    Bind, Endpoint, Forwards, LocalForward, RemoteForward, parse_socks, parse_stdio,
};
pub use local_forward::{Plan, run_forwards};
pub use multiplexed::{CHANNELS, CHANNELS_VERSION};
pub(crate) use multiplexed::{Dispatch, admit_channels, serve_channels};
pub use uplink::Reconnect;

use std::sync::Arc;

use crate::session::{Resources, ServerEnd, Service};

/// All services. The first one is the default: of a client without `--service`, and of a line in
/// `authorized_clients` without `permit`.
pub const ALL: &[&dyn Service] =
    &[&message::Message, &pipe::Pipe, &echo::Echo, &forward::Forward, &channels::Channels];

/// The kinds of channels that clients open.
const KINDS: &[&dyn kind::ChannelKind] = &[&forward::Forward, &exec::Exec];

/// The default service.
pub fn usual() -> &'static dyn Service {
    ALL[0]
}

/// The service for one connection to a target, which is its argument.
pub fn to_target() -> &'static dyn Service {
    &forward::Forward
}

/// The service of this name.
pub fn find(name: &str) -> Option<&'static dyn Service> {
    ALL.iter().copied().find(|service| service.name() == name)
}

/// The names of all services, in the order of the list.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|service| service.name())
}

/// The service that has a server's end with this name, as in `vpn server --service`.
pub fn with_end(end: &str) -> Option<&'static dyn Service> {
    chosen().find(|service| service.ends().iter().any(|(name, _)| *name == end))
}

/// The server's ends of all services: their names, each with one line about it.
pub fn ends() -> impl Iterator<Item = (&'static str, &'static str)> {
    chosen().flat_map(|service| service.ends())
}

/// The services that `--service` names. For the others, `permit` is enough.
pub fn chosen() -> impl Iterator<Item = &'static dyn Service> {
    ALL.iter().copied().filter(|service| !service.is_always_there())
}

/// The server's ends of the services that every server has, by their names.
pub fn always(resources: &Resources) -> Vec<(String, Arc<dyn ServerEnd>)> {
    let always = ALL.iter().filter(|service| service.is_always_there());
    let end = |name: &str, service: &&dyn Service| service.serve(name, resources);
    always.map(|service| (service.name().to_owned(), end(service.name(), service))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fit_into_permit_and_the_wire() {
        let names: Vec<_> = names().collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        for name in names {
            assert!(!name.is_empty() && name.len() < 256);
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert_eq!(find(name).unwrap().name(), name);
        }
    }

    #[test]
    fn the_documentation_lists_every_service_in_the_words_of_the_program() {
        let page = include_str!("../../../docs/services.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| service"))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        let mut expected = Vec::new();
        for service in ALL {
            for (at, (end, about)) in service.ends().into_iter().enumerate() {
                let name = if at == 0 { format!("`{}`", service.name()) } else { String::new() };
                let server = match end == usual().name() || service.is_always_there() {
                    true => "`vpn server`".to_owned(),
                    false => format!("`vpn server --service {end}`"),
                };
                expected.push((name, server, about));
            }
        }
        let found: Vec<_> =
            rows.iter().map(|row| (row[0].to_owned(), row[1].to_owned(), row[3])).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_end_of_a_service_has_its_name() {
        let mut seen = HashSet::new();
        for service in ALL {
            assert_eq!(service.ends()[0].0, service.name());
        }
        for (end, about) in ends() {
            assert!(seen.insert(end), "{end} is there twice");
            assert!(!about.is_empty() && !about.contains('\n'), "{end}");
            assert!(with_end(end).is_some());
        }
    }
}
