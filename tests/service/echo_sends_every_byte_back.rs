//! The echo service: every byte comes back, and success is a promise there too.

use crate::support::{Ended, Keys, Server};

/// A server of echoes that its client may use.
fn echo_server() -> (Keys, Server) {
    let keys = Keys::new();
    keys.authorize("permit=\"echo\"");
    let server = keys.server(&["--service", "echo"]);
    (keys, server)
}

/// A client that asks for echoes of this input.
fn echo(keys: &Keys, server: &Server, input: &str) -> Ended {
    let (identity, pin) = (keys.path("client"), keys.fingerprint("server"));
    let known = keys.path("known");
    let args = ["--sealed", "--service", "echo", "--identity", &identity, "--server-key", &pin];
    server.client(&[&args[..], &["--known-servers", &known]].concat(), input.as_bytes())
}

#[test]
fn every_byte_comes_back() {
    let (keys, server) = echo_server();
    for length in [0, 1, 16 * 1024, 300_000] {
        let sent: String = ('a'..='z').cycle().take(length).collect();
        let ended = echo(&keys, &server, &sent);
        assert_eq!(ended.code, Some(0), "{length} bytes: {}", ended.stderr);
        assert!(ended.stdout == sent, "{length} bytes, {} came back", ended.stdout.len());
    }
}

#[test]
fn an_echo_does_not_wait_for_the_end_of_the_input() {
    let (keys, server) = echo_server();
    let (identity, pin) = (keys.path("client"), keys.fingerprint("server"));
    let known = keys.path("known");
    let args = ["--sealed", "--service", "echo", "--identity", &identity, "--server-key", &pin];
    let mut client = server.staying_client(&[&args[..], &["--known-servers", &known]].concat());
    client.say("are you there?");
    assert_eq!(client.out.next(), "are you there?");
    // A server that is killed gives no end: what came back so far is incomplete.
    drop(server);
    client.end_input();
    assert_eq!(client.code(), Some(7));
}

#[test]
fn a_client_that_may_not_have_echoes_is_told_what_its_line_needs() {
    let keys = Keys::new();
    let server = keys.server(&["--service", "echo"]);
    let ended = echo(&keys, &server, "x");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""));
    assert!(ended.stderr.contains("permit=\"message,echo\""), "{}", ended.stderr);
}

#[test]
fn a_server_that_has_no_echoes_says_what_it_was_started_with() {
    let keys = Keys::new();
    keys.authorize("permit=\"message,echo\"");
    let ended = echo(&keys, &keys.server(&[]), "x");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""));
    let words = "does not offer the service 'echo': it was started with --service message";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn flags_of_messages_do_not_go_with_echoes() {
    let (keys, server) = echo_server();
    let identity = keys.path("client");
    for flag in [&["--message", "x"][..], &["--quiet"]] {
        let args = ["--sealed", "--service", "echo", "--identity", &identity];
        let ended = server.client(&[&args[..], flag].concat(), b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains(&format!("{} is for messages", flag[0])), "{}", ended.stderr);
    }
}
