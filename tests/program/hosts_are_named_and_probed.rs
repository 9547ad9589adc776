//! A server is found by the usual forms of its name, and a probe tells what it speaks.

use std::time::{Duration, Instant};

use crate::support::{Keys, Server, listener, run};

#[test]
fn a_host_is_named_as_it_is_usual_or_the_remedy_is_said() {
    let server = Server::start(&[]);
    let port = server.port;
    let client = |host: &str, more: &[&str]| {
        run(&[&["client", "-q", "-m", "abc", "--host", host], more].concat(), b"")
    };
    assert_eq!(client(&format!("127.0.0.1:{port}"), &[]).stdout, "cba\n");
    let same = port.to_string();
    assert_eq!(client(&format!("127.0.0.1:{port}"), &["--port", &same]).stdout, "cba\n");
    for (host, more, words) in [
        ("127.0.0.1:1", &["--port", "2"][..], "says port 1, but port 2 is given too"),
        ("me@example.org", &[], "leave out 'me@': example.org"),
        ("http://example.org", &[], "leave out 'http://': example.org"),
        ("ssh://example.org", &[], "leave out 'ssh://': example.org"),
        ("a b", &[], "there is a blank in it"),
        ("\u{1b}[2J", &[], "'\\x1b' cannot stand in it"),
    ] {
        for command in ["client", "probe", "server"] {
            let args: Vec<&str> = match command {
                "probe" => vec![command, host],
                _ => vec![command, "--host", host],
            };
            let ended = run(&[&args, more].concat(), b"");
            assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1);
        }
    }
}

#[test]
fn a_probe_says_what_a_server_speaks() {
    let keys = Keys::new();
    let probe = |server: &Server| {
        let port = server.port.to_string();
        run(&["probe", "127.0.0.1", "--port", &port], b"")
    };
    let pin = keys.fingerprint("server");
    let ended = probe(&keys.server(&["--classic"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.lines();
    assert!(lines[0].ends_with(" is reachable"));
    assert_eq!(
        lines[1],
        format!(
            "sealed: yes, key {pin}, gate optional; key exchange x25519-mlkem768, ffdhe3072, \
             ffdhe4096, ffdhe8192; suites aes-256-cbc, aes-192-cbc, aes-128-cbc"
        )
    );
    assert_eq!(lines[2], "classic: yes, it chooses AES256");
    // Strangers are told nothing where the gate is required.
    let ended = probe(&keys.server(&["--no-classic", "--gate", "required"]));
    assert_eq!(ended.code, Some(4));
    assert!(!ended.stdout.contains("SHA256"), "{}", ended.stdout);
    let ended = probe(&Server::start(&[]));
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("sealed: no answer") && ended.stdout.contains("classic: yes"));
}

#[test]
fn a_probe_of_a_server_that_says_nothing_ends_soon() {
    let (_listener, port) = listener();
    let port = port.to_string();
    let start = Instant::now();
    let ended = run(&["probe", "127.0.0.1", "--port", &port], b"");
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(ended.stdout.contains("is reachable"), "{}", ended.stdout);
}
