//! A client at a terminal keeps what is typed early, and notices at once when its server goes.

use crate::support::{Keys, Server, Terminal};

fn client(server: &Server) -> Terminal {
    let port = server.port.to_string();
    Terminal::start(&["client", "--host", "127.0.0.1", "--port", &port])
}

/// A sealed client with these keys.
fn sealed(server: &Server, keys: &Keys) -> Terminal {
    let (port, pin, key) = (server.port.to_string(), keys.pin(), keys.path("client"));
    let args = ["client", "--sealed", "--host", "127.0.0.1", "--port", &port];
    Terminal::start(&[&args[..], &["--server-key", &pin, "--identity", &key]].concat())
}

#[test]
fn lines_pasted_at_once_are_all_sent_in_order() {
    let server = Server::start(&[]);
    let mut client = client(&server);
    client.until("Enter message: ");
    client.type_in("one\rtwo\rthree\r");
    for reply in ["Server says: eno", "Server says: owt", "Server says: eerht"] {
        client.until(reply);
    }
    for text in ["one", "two", "three"] {
        server.out.until(&format!("Received: {text}"));
    }
    client.type_in("\\quit\r");
    assert_eq!(client.process.wait().code(), Some(0));
    assert!(client.is_as_it_was_found());
}

#[test]
fn a_server_that_goes_is_told_at_the_prompt_and_the_terminal_is_left_as_it_was() {
    let mut server = Server::start(&[]);
    let mut client = client(&server);
    client.until("Enter message: ");
    client.type_in("half a li");
    client.until("half a li");
    assert!(!client.is_as_it_was_found(), "the line editor is at work");
    server.process.signal("TERM");
    client.until("vpn: the server closed the connection");
    assert_eq!(client.process.wait().code(), Some(7));
    assert!(client.is_as_it_was_found());
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn a_sealed_server_that_stops_is_told_at_the_prompt_and_hears_a_proper_end() {
    let keys = Keys::new();
    let mut server = keys.server(&[]);
    let mut client = sealed(&server, &keys);
    client.until("vpn: sealed session with ");
    client.until("Enter message: ");
    server.process.signal("TERM");
    client.until("vpn: the server closed the connection");
    assert_eq!(client.process.wait().code(), Some(7));
    assert!(client.is_as_it_was_found());
    // Both have said that it is the end: nothing was cut.
    server.log.until("closed, the server is stopping");
    assert_eq!(server.process.wait().code(), Some(0));
}
