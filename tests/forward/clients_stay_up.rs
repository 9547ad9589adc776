//! A client with forwards connects again when its session is cut, to the same server only.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{HERE, keys_with, listens, local_forward, server_listens};
use crate::support::{Cut, Keys, Listening, Place, Relay, Running, SHIPPED, Server, wait_until};

/// How soon a client forwards again when its server is back.
const BACK: Duration = Duration::from_secs(5);
/// How soon a connection is reset while there is no session.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Whether a connection goes through and back.
fn is_forwarded(near: &Place) -> bool {
    let Ok(mut near) = near.try_connect() else { return false };
    let mut heard = [0; 4];
    near.write_all(b"ping").is_ok() && near.read_exact(&mut heard).is_ok() && heard == *b"ping"
}

/// Waits until connections are forwarded again.
fn is_back(near: &Place) {
    let start = Instant::now();
    wait_until("a forward", || is_forwarded(near));
    assert!(start.elapsed() < BACK, "after {:?}", start.elapsed());
}

/// A client with a forward to something that echoes.
fn echoing(keys: &Keys, port: u16, more: &[&str]) -> (Running, Place) {
    let forward = format!("127.0.0.1:0:{}", Listening::new().echo());
    let client = keys.forwarding(port, &[&["-L", &forward], more].concat());
    let near = listens(&client);
    (client, near)
}

#[test]
fn a_client_forwards_again_when_its_server_was_started_again() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let port = server.port;
    let (client, near) = echoing(&keys, port, &[]);
    assert!(is_forwarded(&near));
    drop(server);
    client.log.until("connecting again in");
    // The listener stays, and says at once that there is nobody.
    for _ in 0..3 {
        let start = Instant::now();
        near.resets();
        assert!(start.elapsed() < AT_ONCE, "after {:?}", start.elapsed());
    }
    let _server = keys.server_builder().port(port).start();
    is_back(&near);
    client.log.until("vpn: connected again");
}

#[test]
fn a_client_forwards_again_after_each_cut() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let relay = Relay::to(server.port);
    let (client, near) = echoing(&keys, relay.port, &[]);
    for (round, cut) in [Cut::Reset, Cut::End, Cut::Reset].into_iter().enumerate() {
        assert!(is_forwarded(&near));
        relay.cut(round, cut);
        client.log.until("vpn: connected again");
        is_back(&near);
        assert_eq!(relay.count(), round + 2);
    }
}

#[test]
fn a_server_that_is_told_to_stop_is_waited_for() {
    let keys = keys_with(HERE);
    let mut server = keys.server(&[]);
    let port = server.port;
    let (client, near) = echoing(&keys, port, &[]);
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(0));
    client.log.until("connecting again in");
    let _server = keys.server_builder().port(port).start();
    is_back(&near);
}

#[test]
fn without_reconnecting_a_cut_ends_the_client() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    for cut in [Cut::Reset, Cut::End] {
        let relay = Relay::to(server.port);
        let (mut client, near) = echoing(&keys, relay.port, &["--no-reconnect"]);
        assert!(is_forwarded(&near));
        relay.cut_all(cut);
        let code = client.code();
        let said = client.log.rest();
        // A reset is an error of the network, an early end is one of the peer. Each may look like the
        // other: what the client sends behind an end comes back as a reset.
        assert!([Some(3), Some(7)].contains(&code), "{cut:?}: {code:?}, {said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("vpn: "), "{said}");
    }
}

/// The end of a client with a forward: its exit code, and what it said.
fn ends(keys: &Keys, port: u16, more: &[&str]) -> (Option<i32>, String) {
    let target = Listening::new();
    let forward = format!("127.0.0.1:0:{}", target.place());
    let mut client = keys.forwarding(port, &[&["-L", &forward], more].concat());
    (client.code(), client.log.rest())
}

#[test]
fn a_first_attempt_that_fails_ends_the_client() {
    let keys = keys_with(HERE);
    let Place::Tcp(gone) = Listening::new().place() else { panic!() };
    let start = Instant::now();
    let (code, said) = ends(&keys, gone.port(), &[]);
    assert!(code == Some(3) && said.contains("connection refused"), "{code:?}: {said}");
    assert!(start.elapsed() < BACK, "{:?}", start.elapsed());
}

#[test]
fn with_reconnect_a_first_attempt_may_fail() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let relay = Relay::to(0);
    let (client, near) = echoing(&keys, relay.port, &["--reconnect"]);
    near.resets();
    client.log.until("connecting again in");
    relay.lead_to(server.port);
    is_back(&near);
}

/// The keys of another server that lets the same client in.
fn impostor(keys: &Keys) -> Server {
    let identity = keys.path("stranger");
    let clients = keys.path("authorized");
    crate::support::ServerBuilder::new()
        .args(&["--identity", &identity, "--authorized-clients", &clients])
        .start()
}

#[test]
fn a_server_with_another_key_ends_a_client_that_connects_again() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let other = impostor(&keys);
    let line = |port: u16| {
        crate::support::known_line(&format!("127.0.0.1:{port}"), &keys.read("server.pub"))
    };
    // The server is pinned, known, or new.
    for trust in ["pinned", "known", "new"] {
        let relay = Relay::to(server.port);
        let forward = format!("127.0.0.1:0:{}", Listening::new().echo());
        let (pin, known) = (keys.pin(), keys.path(&format!("known-{trust}")));
        let port = relay.port.to_string();
        let mut command = crate::support::vpn();
        let identity = keys.path("client");
        command.args(["client", "127.0.0.1", "--port", &port, "-L", &forward, "-v"]);
        command.args(["--identity", &identity, "--known-servers", &known]);
        match trust {
            "pinned" => command.args(["--server-key", &pin]),
            "known" => {
                std::fs::write(&known, line(relay.port)).unwrap();
                &mut command
            }
            _ => command.arg("--accept-new"),
        };
        let mut client = Running::start(command);
        let near = listens(&client);
        assert!(is_forwarded(&near), "{trust}");
        relay.lead_to(other.port);
        relay.cut_all(Cut::Reset);
        let code = client.code();
        assert_eq!(code, Some(6), "{trust}: {}", client.log.rest());
        let said = client.log.rest();
        assert!(said.contains(&keys.fingerprint("stranger")), "{trust}: {said}");
    }
}

#[test]
fn a_server_is_checked_that_was_not_there_at_the_first_attempt() {
    let keys = keys_with(HERE);
    let other = impostor(&keys);
    let relay = Relay::to(0);
    let forward = format!("127.0.0.1:0:{}", Listening::new().echo());
    let mut client =
        Running::start(keys.client_command("client", relay.port, &["-L", &forward, "--reconnect"]));
    client.log.until("connecting again in");
    relay.lead_to(other.port);
    let code = client.code();
    assert_eq!(code, Some(6), "{}", client.log.rest());
}

#[test]
fn a_key_that_is_not_let_in_any_more_ends_the_client() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let relay = Relay::to(server.port);
    let (mut client, near) = echoing(&keys, relay.port, &[]);
    assert!(is_forwarded(&near));
    keys.folder.file("authorized", keys.read("stranger.pub"));
    relay.cut_all(Cut::Reset);
    let code = client.code();
    assert_eq!(code, Some(5), "{}", client.log.rest());
}

#[test]
fn a_client_takes_the_place_of_its_dead_session() {
    let keys = Keys::new();
    keys.authorize(&format!("max-sessions=1,permit=\"{HERE}\""));
    let server = keys.server(&[]);
    let relay = Relay::to(server.port);
    let (client, near) = echoing(&keys, relay.port, &[]);
    for cut in 0..2 {
        assert!(is_forwarded(&near));
        relay.cut(cut, Cut::Silence);
        client.log.until("vpn: connected again");
        wait_until("a forward", || is_forwarded(&near));
    }
    // A session that is alive keeps its place.
    let (code, said) = ends(&keys, server.port, &[]);
    assert!(code == Some(5) && said.contains("access_denied"), "{code:?}: {said}");
    server.log.until("its key has as many sessions as it may have");
    assert!(is_forwarded(&near));
}

#[test]
fn a_busy_server_is_tried_again() {
    let keys = keys_with(&format!("message,{HERE}"));
    let config = format!("{SHIPPED}\n[limits]\nsessions = 1\n");
    let server = keys.server_with(&config, &[]);
    let mut guest = keys.staying_client(&server);
    guest.say("abc");
    assert_eq!(guest.out.next(), "cba");
    let (code, said) = ends(&keys, server.port, &[]);
    assert!(code == Some(10) && said.contains("busy"), "{code:?}: {said}");
    let (client, near) = echoing(&keys, server.port, &["--reconnect"]);
    client.log.until("the server is busy; connecting again in");
    guest.end_input();
    assert_eq!(guest.code(), Some(0));
    is_back(&near);
}

#[test]
fn remote_forwards_come_back_with_the_session() {
    let keys = keys_with("remote-forward:127.0.0.1:*");
    let server = keys.server(&[]);
    let relay = Relay::to(server.port);
    let back = Listening::new().echo();
    // A port that the system has chosen for the first session; the second one asks for the same.
    let Place::Tcp(free) = Listening::new().place() else { panic!() };
    let forward = format!("127.0.0.1:{}:{back}", free.port());
    let client = keys.forwarding(relay.port, &["-R", &forward]);
    let near = server_listens(&client);
    assert!(is_forwarded(&near));
    relay.cut_all(Cut::Reset);
    client.log.until("vpn: connected again");
    // The listener of the cut session may have gone, and the new one may not be there yet.
    wait_until("the listener", || std::net::TcpStream::connect(("127.0.0.1", free.port())).is_ok());
    is_back(&near);
}

#[test]
fn a_session_takes_the_listener_of_a_dead_one_of_the_same_key_and_of_no_other() {
    let keys = keys_with("remote-forward:127.0.0.1:*");
    let (ours, theirs) = (keys.read("client.pub"), keys.read("stranger.pub"));
    let permit = "permit=\"remote-forward:127.0.0.1:*\"";
    keys.folder.file("authorized", format!("{permit} {ours}{permit} {theirs}"));
    let server = keys.server(&[]);
    let Place::Tcp(free) = Listening::new().place() else { panic!() };
    let (first, second) = (Listening::new(), Listening::new().echo());
    let forward = |place: &Place| format!("127.0.0.1:{}:{place}", free.port());
    let old = keys.forwarding(server.port, &["-R", &forward(&first.place())]);
    let near = server_listens(&old);
    // A client that is stopped is as dead as one behind a cut cable.
    old.process.signal("STOP");
    let args = ["-R", &forward(&second), "--no-reconnect"];
    let mut other = Running::start(keys.client_command("stranger", server.port, &args));
    let code = other.code();
    let said = other.log.rest();
    assert!(code == Some(10) && said.contains("in use"), "{code:?}: {said}");
    let new = keys.forwarding(server.port, &args);
    server_listens(&new);
    is_back(&near);
    assert!(first.is_alone());
}

#[test]
fn a_session_that_is_alive_keeps_its_listener() {
    let keys = keys_with("remote-forward:127.0.0.1:*");
    let server = keys.server(&[]);
    let Place::Tcp(free) = Listening::new().place() else { panic!() };
    let back = Listening::new().echo();
    let forward = format!("127.0.0.1:{}:{back}", free.port());
    let first = keys.forwarding(server.port, &["-R", &forward]);
    let near = server_listens(&first);
    let mut second = keys.forwarding(server.port, &["-R", &forward, "--no-reconnect"]);
    let code = second.code();
    let said = second.log.rest();
    assert!(code == Some(10) && said.contains("in use"), "{code:?}: {said}");
    assert!(is_forwarded(&near));
}

#[test]
fn forwards_that_cannot_be_listened_at_end_the_client() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let taken = Listening::new();
    let forward = format!("{}:{}", taken.place(), taken.place());
    let mut client = keys.forwarding(server.port, &["-L", &forward]);
    let code = client.code();
    let said = client.log.rest();
    assert!(code == Some(3) && said.contains("cannot listen at 127.0.0.1:"), "{code:?}: {said}");
    let (_client, near) = local_forward(&keys, server.port, &taken, &[]);
    let mut near = near.connect();
    taken.accept().says(b"x");
    near.hears(b"x");
}

#[test]
fn a_listener_that_is_in_use_is_asked_for_again_and_other_forwards_work_meanwhile() {
    let keys = keys_with(&format!("{HERE},remote-forward:127.0.0.1:*"));
    let server = keys.server(&[]);
    let taken = Listening::new();
    let target = Listening::new().echo();
    let there = format!("{}:{target}", taken.place());
    let (client, near) = echoing(&keys, server.port, &["-R", &there]);
    client.log.until("address already in use; asking again in");
    for _ in 0..3 {
        assert!(is_forwarded(&near));
    }
    let place = taken.place();
    drop(taken);
    assert_eq!(server_listens(&client), place);
    is_back(&place);
    assert!(is_forwarded(&near));
}
