//! Forwards, SOCKS and commands: many connections in one session.

mod bytes_go_through_whole;
mod carriers_fail_alone;
mod clients_stay_up;
mod commands_run;
mod cuts_are_never_clean_ends;
mod listeners_end_one_by_one;
mod only_what_is_permitted;
mod wrong_frames_end_one_session;

use std::sync::LazyLock;

use vpn::net::SealedConnection;
use vpn_proto::sealed::Event;

use crate::support::sealed::connected;
use crate::support::{Keys, Listening, Place, Running, Server};

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
    place_in(&client.out.until("Listening at "))
}

/// Where a client says that the server listens next.
fn server_listens(client: &Running) -> Place {
    place_in(&client.out.until("The server listens at "))
}

/// The place in a line such as `Listening at localhost:80 for a:80`.
fn place_in(line: &str) -> Place {
    let (_, behind) = line.split_once(" at ").unwrap();
    Place::parse(&behind.split_once(' ').unwrap().0.replace("localhost", "127.0.0.1"))
}

/// A client that forwards connections to a target, and where it listens.
fn local_forward(keys: &Keys, port: u16, target: &Listening, more: &[&str]) -> (Running, Place) {
    let forward = format!("127.0.0.1:0:{}", target.place());
    let client = keys.forwarding(port, &[&["-L", &forward], more].concat());
    let near = listens(&client);
    (client, near)
}

/// A session with channels by the library.
async fn channels_of(keys: &Keys, server: &Server) -> SealedConnection {
    let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (mut connection, _) = connected(stream, keys.client_config()).await;
    connection.session().open("channels", &[1]).unwrap();
    let reply = connection.next().await.unwrap();
    assert!(matches!(reply, Event::OpenReply { status: 0, .. }), "{reply:?}");
    connection
}
