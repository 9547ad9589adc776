//! Logs and messages say what goes wrong and for whom, and nothing that is secret.

use std::io::Write;

use crate::support::{SHIPPED, Server, ServerBuilder, client_of, finish, vpn};

#[test]
fn no_level_of_the_log_shows_what_other_libraries_log() {
    let server = Server::start(&["-vvv"]);
    let ended = client_of(server.port, &["-vvv", "-q", "-m", "secret text"], b"");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("TRACE") || ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    let logged: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with('[')).collect();
    assert!(!logged.is_empty(), "{}", ended.stderr);
    for line in logged {
        // `[TIME LEVEL TARGET] …`
        let target = line.split_whitespace().nth(2).unwrap();
        assert!(target.starts_with("vpn"), "{line}");
    }
    assert!(!ended.stderr.contains("secret text"), "{}", ended.stderr);
}

#[test]
fn a_server_says_by_default_what_goes_wrong_and_who_left() {
    let server = ServerBuilder::new().not_verbose().start();
    assert_eq!(server.client(&["-q", "-m", "abc"], b"").stdout, "cba\n");
    let line = server.log.until("classic session with AES256: the client is not authenticated");
    assert!(line.starts_with("vpn: 127.0.0.1:"), "{line}");
    server.log.until("the client closed the session");
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let line = server.log.until("not a proposal");
    assert!(line.starts_with("vpn: warning: 127.0.0.1:"), "{line}");
}

#[test]
fn the_plain_error_names_the_setting_that_would_have_helped() {
    // A server that checks cumulative HMACs refuses the second message of a client that does not.
    let config = format!("{SHIPPED}\n[classic]\nmac = \"cumulative\"\n");
    let server = Server::with_config(&config, &[]);
    let ended = server.client(&["--dialect", "spec", "-m", "one", "-m", "two"], b"");
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(ended.stdout.contains("Server says: eno"));
    assert!(
        ended.stderr.contains("vpn: hint: [classic] mac = \"cumulative\" may make it work"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_address_of_a_client_stands_before_its_texts_while_there_are_two() {
    let server = Server::start(&[]);
    let start = || {
        let client = server.staying_client(&[]);
        client.out.until("The key has been established");
        client
    };
    let mut one = start();
    let peer = server.out.until("New client: ").replace("New client: ", "");
    one.say("alone");
    assert_eq!(server.out.until("alone"), "Received: alone");
    let _two = start();
    one.say("one of two");
    assert_eq!(server.out.until("one of two"), format!("[{peer}] Received: one of two"));
}

#[test]
fn no_command_leaves_secrets_in_a_core_file() {
    let server = Server::start(&[]);
    let client = server.staying_client(&[]);
    client.out.until("The key has been established");
    for process in [&client.process, &server.process] {
        let pid = process.0.id();
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{line}");
    }
}

#[test]
fn logs_are_off_unless_asked_for() {
    let server = Server::start(&[]);
    let ended = server.client(&["-q", "-m", "x"], b"");
    assert_eq!(ended.stderr, "");
    let ended = server.client(&["-q", "-m", "x", "-v"], b"");
    assert!(ended.stderr.contains("AES256 established"), "{}", ended.stderr);
    let mut command = vpn();
    command.args(["suites"]).env("RUST_LOG", "vpn=debug");
    assert!(finish(command, b"").stderr.contains("built-in default"));
}
