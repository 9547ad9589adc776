//! Pipes and measurements show their progress at a terminal, and nowhere else. The line never stays, and
//! it never mixes with bytes or messages.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::process::{Command, Stdio};

use crate::support::{Keys, Server, Terminal, finish, read_in_time, vpn};

/// Clears the line.
const CLEAR: &str = "\r\x1b[2K";

/// A server of echoes that its client may use.
fn echo_server() -> (Keys, Server) {
    let keys = Keys::new();
    keys.authorize("permit=\"echo\"");
    let server = keys.server(&["--service", "echo"]);
    (keys, server)
}

/// A client that asks for echoes.
fn echo_client(keys: &Keys, server: &Server) -> Command {
    let (identity, known, port) =
        (keys.path("client"), keys.path("known"), server.port.to_string());
    let mut command = vpn();
    command.args(["client", "--sealed", "--service", "echo", "--identity", &identity]);
    command.args(["--server-key", &keys.pin(), "--known-servers", &known]);
    command.args(["--host", "127.0.0.1", "--port", &port]).env("TERM", "xterm");
    command
}

/// A client whose input and output are pipes of the test.
fn piped(keys: &Keys, server: &Server) -> (Terminal, PipeWriter, PipeReader) {
    let ((input, feed), (drain, output)) = (pipe().unwrap(), pipe().unwrap());
    let command = echo_client(keys, server);
    (Terminal::start_with(command, Some(input.into()), Some(output.into())), feed, drain)
}

#[test]
fn a_pipe_shows_the_bytes_of_both_directions_and_leaves_nothing_behind() {
    let (keys, server) = echo_server();
    let (mut client, mut feed, drain) = piped(&keys, &server);
    client.until(CLEAR);
    client.until("sent 0 B, ");
    feed.write_all(&[7; 2500]).unwrap();
    client.until("received 2.50 kB, sent 2.50 kB, ");
    client.until("/s, ");
    drop(feed);
    assert_eq!(read_in_time(drain, usize::MAX), [7; 2500]);
    let (code, shown) = client.finish();
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.ends_with(CLEAR), "{shown:?}");
}

#[test]
fn a_file_shows_how_much_of_it_is_sent() {
    let (keys, server) = echo_server();
    let file = keys.folder.file("large", vec![b'x'; 4_000_000]);
    let (drain, output) = pipe().unwrap();
    let input = Stdio::from(File::open(file).unwrap());
    let command = echo_client(&keys, &server);
    let mut client = Terminal::start_with(command, Some(input), Some(output.into()));
    // Nobody reads the echoes, so the pipe comes to a halt on its way.
    client.until(" of 4.00 MB, ");
    client.until(" left [");
    assert_eq!(read_in_time(drain, usize::MAX).len(), 4_000_000);
    let (code, shown) = client.finish();
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.ends_with(CLEAR), "{shown:?}");
}

#[test]
fn the_line_gives_way_to_bytes_on_the_same_terminal_and_does_not_come_back() {
    let (keys, server) = echo_server();
    let (input, mut feed) = pipe().unwrap();
    let mut client = Terminal::start_with(echo_client(&keys, &server), Some(input.into()), None);
    client.until("sent 0 B, ");
    feed.write_all(b"hello\n").unwrap();
    let before = client.until("hello");
    assert!(before.ends_with(CLEAR), "{before:?}");
    drop(feed);
    assert_eq!(client.finish(), (Some(0), "\r\n".to_owned()));
}

#[test]
fn the_line_gives_way_to_a_message() {
    let (keys, server) = echo_server();
    let (mut client, _feed, _drain) = piped(&keys, &server);
    client.until("sent 0 B, ");
    drop(server);
    let before = client.until("vpn: the connection was cut");
    assert!(before.ends_with(CLEAR), "{before:?}");
    let (code, shown) = client.finish();
    assert_eq!(code, Some(7));
    assert!(!shown.contains("sent"), "{shown:?}");
}

#[test]
fn there_is_no_line_without_a_terminal_or_where_somebody_types() {
    let (keys, server) = echo_server();
    let input = "x".repeat(3_000_000);
    let ended = finish(echo_client(&keys, &server), input.as_bytes());
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), input.len()), "{}", ended.stderr);
    assert!(!ended.stderr.contains("sent") && !ended.stderr.contains('\x1b'), "{}", ended.stderr);
    // The echo of the terminal and the echo of the server show what was typed.
    let mut client = Terminal::start_with(echo_client(&keys, &server), None, None);
    client.type_in("typed\n");
    client.until("typed\r\n");
    client.until("typed\r\n");
    client.type_in("\x04");
    let (code, shown) = client.finish();
    assert_eq!((code, shown.contains("sent")), (Some(0), false), "{shown:?}");
}

#[test]
fn a_dumb_terminal_has_no_line() {
    let (keys, server) = echo_server();
    let mut command = echo_client(&keys, &server);
    command.env("TERM", "dumb");
    let file = keys.folder.file("large", vec![b'x'; 4_000_000]);
    let (drain, output) = pipe().unwrap();
    let input = Stdio::from(File::open(file).unwrap());
    let client = Terminal::start_with(command, Some(input), Some(output.into()));
    assert_eq!(read_in_time(drain, usize::MAX).len(), 4_000_000);
    let (code, shown) = client.finish();
    assert_eq!((code, shown.contains('\x1b')), (Some(0), false), "{shown:?}");
}

#[test]
fn measurements_name_the_suite_and_count_the_steps() {
    let args = ["speed", "--suite", "AES:128", "--suite", "AES:256", "--size", "64", "--time", "1"];
    let mut speed = Terminal::start(&[&args[..], &["--no-kex"]].concat());
    speed.until("1 of 2: AES:128");
    speed.until("2 of 2: AES:256");
    let before = speed.until("SUITE ");
    assert!(before.ends_with(CLEAR), "{before:?}");
    assert_eq!(speed.finish().0, Some(0));
    for more in [&["--no-kex", "--no-progress"][..], &["--no-kex", "--json", "--no-progress"]] {
        let speed = Terminal::start(&[&args[..], more].concat());
        let (code, shown) = speed.finish();
        assert_eq!((code, shown.contains('\x1b')), (Some(0), false), "{shown:?}");
        assert!(!shown.contains(" of 2"), "{shown:?}");
    }
    let mut command = vpn();
    command.args(args).arg("--no-kex");
    let ended = finish(command, b"");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}
