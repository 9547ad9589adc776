//! Strangers take a bounded part of a server, and a source that takes too much loses it to the others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use vpn_proto::sealed::{HelloSent, Kex, Part};

use crate::support::adversary::read_part;
use crate::support::{DEADLINE, Keys, SHIPPED, Server, read_to_end, wait_until};

/// A configuration in which this machine is a stranger, with these further limits.
fn strangers(limits: &str) -> String {
    format!("{SHIPPED}\n[limits]\nexempt = []\n{limits}\n")
}

/// The first message of a client that knows the server's key.
fn hello(keys: &Keys) -> Vec<u8> {
    let config = keys.client_config();
    HelloSent::start(config, Kex::X25519MlKem768, &mut rand::rng()).unwrap().1
}

#[test]
fn a_client_hello_opens_the_gate_once() {
    let keys = Keys::new();
    let server = keys.server(&["--gate", "required"]);
    let hello = hello(&keys);
    let mut first = server.connect();
    first.write_all(&hello).unwrap();
    read_part(&mut first, Part::Hello);
    let mut second = server.connect();
    second.write_all(&hello).unwrap();
    assert_eq!(read_to_end(&mut second), b"");
    server.log.until("its ClientHello is a repeated one");
}

/// A connection from another address of this machine.
fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect_timeout(&server.address().into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn a_source_with_many_handshakes_makes_room_for_its_own_next_one() {
    let keys = Keys::new();
    let limits = "half_open = 3\nearly_drop = [4, 100, 101]\nfirst_byte_seconds = 60";
    let server = keys.server_with(&strangers(limits), &[]);
    let mut other = connect_from(&server, 9);
    let mut silent: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    let mut more = Vec::new();
    for oldest in &mut silent {
        let ended = keys.says_abc(&server, "client");
        assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
        server.log.until("its handshake had to make room for others");
        assert_eq!(read_to_end(oldest), b"");
        // Another one in its place.
        other.set_nonblocking(true).unwrap();
        assert!(other.read(&mut [0]).is_err(), "the other source has lost its connection");
        more.push(server.connect());
    }
}

#[test]
fn a_source_that_connects_too_often_is_served_as_long_as_there_is_room() {
    let keys = Keys::new();
    let limits = "new_per_minute = 2\nearly_drop = [1, 100, 2]\nfirst_byte_seconds = 60";
    let server = keys.server_with(&strangers(limits), &[]);
    for _ in 0..4 {
        assert_eq!(keys.says_abc(&server, "client").stdout, "cba\n");
    }
    let _other = connect_from(&server, 9);
    let ended = keys.says_abc(&server, "client");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(ended.stderr.contains("or it is busy"), "{}", ended.stderr);
    assert!(ended.stderr.contains("connect too often"), "{}", ended.stderr);
    server.log.until("its source opens connections too often");
}

#[test]
fn a_source_that_was_turned_away_waits_where_there_is_little_room() {
    let keys = Keys::new();
    // Long enough for a busy machine to start the next client while it lasts.
    let limits = "new_per_minute = 1000\npenalty_authentication_seconds = 8\n\
         penalty_min_seconds = 8\nearly_drop = [1, 100, 2]\nfirst_byte_seconds = 60";
    let server = keys.server_with(&strangers(limits), &[]);
    assert_eq!(keys.says_abc(&server, "stranger").code, Some(5));
    server.log.until("its key is unknown");
    assert_eq!(keys.says_abc(&server, "client").stdout, "cba\n");
    assert_eq!(keys.says_abc(&server, "stranger").code, Some(5));
    let _other = connect_from(&server, 9);
    wait_until("the end of the penalty", || keys.says_abc(&server, "client").stdout == "cba\n");
    server.log.until("its source is penalised for");
    // The penalty was over then, and one of two equal sources had to go.
    server.log.until("its handshake had to make room for others");
}

#[test]
fn a_sealed_client_of_a_full_server_hears_that_it_is_busy() {
    let keys = Keys::new();
    let server = keys.server_with(&format!("{SHIPPED}\n[limits]\nsessions = 1\n"), &["--classic"]);
    let mut first = keys.staying_client(&server);
    server.out.until("The key has been established");
    let ended = keys.says_abc(&server, "client");
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("the server is busy"), "{}", ended.stderr);
    first.end_input();
    assert_eq!(first.code(), Some(0));
    server.log.until("closed the session");
    let ended = keys.says_abc(&server, "client");
    assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
}

#[test]
fn this_machine_is_exempt_unless_somebody_says_otherwise() {
    let keys = Keys::new();
    let server = keys.server_with(&format!("{SHIPPED}\n[limits]\nnew_per_minute = 1\n"), &[]);
    for _ in 0..3 {
        let ended = keys.says_abc(&server, "client");
        assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
    }
}
