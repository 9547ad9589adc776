//! Raw sockets on loopback.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::{DEADLINE, wait_until};

/// A socket that listens on a free port, and the port.
pub(crate) fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The next connection; fails if there is none in time. Its reads and writes have a deadline, too.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    // The standard library has no `accept` with a deadline.
    wait_until("a connection", || {
        accepted = match listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        };
        accepted.is_some()
    });
    let stream = accepted.unwrap();
    // Some systems hand it down.
    stream.set_nonblocking(false).unwrap();
    with_deadlines(stream)
}

/// A connection to a port of this machine.
pub(crate) fn connect(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_nodelay(true).unwrap();
    with_deadlines(stream)
}

/// Gives reads and writes a deadline.
pub(super) fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Everything a peer says until it closes.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the peer closes within the deadline");
    bytes
}
