//! Clients that do nothing make room for those that want to be served.

use std::io::Read;

use crate::support::classic::established;
use crate::support::{SHIPPED, Server, ServerBuilder, read_to_end};

#[test]
fn one_session_too_many_is_told_so() {
    let config = format!("{SHIPPED}\n[limits]\nsessions = 1\n");
    let server = Server::with_config(&config, &[]);
    let first = established(&server);
    // The server may still be computing when the client is done.
    server.out.until("The key has been established");
    let ended = server.client(&["-m", "x"], b"");
    // Busy has a code of its own, so that a script can come again later.
    assert_eq!(ended.code, Some(10));
    assert!(ended.stderr.contains("Too many sessions"), "{}", ended.stderr);
    drop(first);
    server.log.until("closed the session");
    server.assert_alive();
}

#[test]
fn sessions_in_which_nobody_speaks_shut_nobody_out() {
    let config = format!("{SHIPPED}\n[limits]\nsessions = 2\n");
    let server = Server::with_config(&config, &[]);
    let (mut silent, _) = established(&server);
    server.out.until("The key has been established");
    let (mut second, mut session) = established(&server);
    server.out.until("The key has been established");
    server.assert_alive();
    assert_eq!(read_to_end(&mut silent), b"");
    server.log.until("its session, in which it said nothing, had to make room for others");
    // The other one is still there.
    let message = session.send("abc", std::time::Instant::now()).unwrap();
    std::io::Write::write_all(&mut second, &message).unwrap();
    let mut reply = [0; 3];
    second.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"cba");
}

#[cfg(unix)]
#[test]
fn silent_connections_do_not_keep_all_descriptors_from_others() {
    let server = ServerBuilder::new().descriptors(40).start();
    let _silent: Vec<_> = (0..100).map(|_| server.connect()).collect();
    let ended = server.client(&["-q", "-m", "abc"], b"");
    assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
}

#[test]
fn a_silent_handshake_makes_room_for_a_session() {
    let config = format!("{SHIPPED}\n[limits]\nsessions = 1\n");
    let server = Server::with_config(&config, &[]);
    let mut silent = server.connect();
    server.out.until("New client");
    server.assert_alive();
    assert_eq!(read_to_end(&mut silent), b"");
    server.log.until("its handshake had to make room for others");
}

#[test]
fn an_idle_session_is_closed() {
    let config = format!("{SHIPPED}\n[limits]\nidle_seconds = 1\n");
    let server = Server::with_config(&config, &[]);
    let mut client = server.staying_client(&[]);
    server.log.until("nothing happened for too long");
    assert_eq!(client.code(), Some(7));
}
