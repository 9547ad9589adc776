//! Forwards, SOCKS and commands: many connections in one session.

mod bytes_go_through_whole;
mod carriers_fail_alone;
mod clients_stay_up;
mod commands_run;
mod cuts_are_never_clean_ends;
mod only_what_is_permitted;

use std::sync::LazyLock;

use crate::support::{Keys, Listening, Place, Running};

/// Permits connections to every port of this machine.
const HERE: &str = "forward:127.0.0.1:*,forward:[::1]:*";

/// Bytes of which none is where another one is.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..50_001_u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
});

/// Whether this machine has IPv6.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// Keys whose client may use what these rules say.
fn keys_with(rules: &str) -> Keys {
    let keys = Keys::new();
    keys.authorize(&format!("permit=\"{rules}\""));
    keys
}

/// Where a client says that it listens next.
fn listens(client: &Running) -> Place {
    let line = client.out.until("Listening at ");
    let (_, behind) = line.split_once("Listening at ").unwrap();
    Place::parse(behind.split_once(' ').unwrap().0)
}

/// Where the server says that it listens next: at this host, or at a path.
fn server_listens(client: &Running, host: &str) -> Place {
    let line = client.out.until("The server listens at ");
    let (_, behind) = line.split_once(" listens at ").unwrap();
    let at = behind.split_once(' ').unwrap().0;
    match at.rsplit_once(':') {
        Some((_, port)) if !at.starts_with('/') => Place::parse(&format!("{host}:{port}")),
        _ => Place::parse(at),
    }
}

/// A client that forwards connections to a target, and where it listens.
fn local_forward(keys: &Keys, port: u16, target: &Listening, more: &[&str]) -> (Running, Place) {
    let forward = format!("127.0.0.1:0:{}", target.place());
    let client = keys.forwarding(port, &[&["-L", &forward], more].concat());
    let near = listens(&client);
    (client, near)
}
