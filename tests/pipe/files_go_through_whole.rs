//! Files and pipes at the ends of whole programs are handed over whole, or both ends say that they were not.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Keys, Process, Server, finish, read_in_time, vpn, wait_until};

/// A server with a pipe from a file and to a file.
fn pipe_server(keys: &Keys, input: &Path, output: &Path) -> Server {
    keys.authorize("permit=\"pipe\"");
    let (input, output) = (File::open(input).unwrap(), File::create(output).unwrap());
    keys.server_builder().pipe(input, output).start()
}

/// The command of a client that uses the pipe of a server.
fn pipe_client(keys: &Keys, server: &Server) -> Command {
    let mut command = vpn();
    let (port, pin) = (server.port.to_string(), keys.fingerprint("server"));
    command.args(["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "--pipe"]);
    command.args(["--identity", &keys.path("client"), "--server-key", &pin]);
    command.args(["--known-servers", &keys.path("known")]);
    command
}

#[test]
fn a_pipe_carries_both_directions_and_their_ends() {
    let keys = Keys::new();
    let (there, back): (Vec<u8>, Vec<u8>) =
        ((0..3_000_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect(), vec![7; 1_000_000]);
    let input = keys.folder.file("back", &back);
    let output = keys.folder.path().join("there");
    let mut server = pipe_server(&keys, &input, &output);
    let mut command = pipe_client(&keys, &server);
    let sent = keys.folder.file("sent", &there);
    let got = keys.folder.path().join("got");
    command.stdin(File::open(sent).unwrap()).stdout(File::create(&got).unwrap());
    let mut client = Process::start(&mut command);
    assert_eq!(client.wait().code(), Some(0));
    // It serves one session and ends.
    assert_eq!(server.process.wait().code(), Some(0));
    assert!(std::fs::read(&output).unwrap() == there);
    assert!(std::fs::read(&got).unwrap() == back);
}

#[test]
fn a_pipe_has_ended_when_the_server_has_passed_on_everything() {
    let keys = Keys::new();
    keys.authorize("permit=\"pipe\"");
    // The reader of the server's output takes its time.
    let (output, writer) = std::io::pipe().unwrap();
    let mut server = keys.server_builder().pipe(Stdio::null(), writer).start();
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let mut command = pipe_client(&keys, &server);
    command.stdin(File::open(keys.folder.file("sent", &sent)).unwrap());
    let mut client = Process::start(&mut command);
    // Longer than a peer has for its last words. Nothing is read meanwhile.
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(3) {
        assert_eq!(client.0.try_wait().unwrap(), None, "nobody has the data yet");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(read_in_time(output, sent.len() + 1) == sent);
    assert!(client.wait().success() && server.process.wait().success());
}

#[test]
fn a_pipe_that_is_cut_is_no_success_on_either_side() {
    let keys = Keys::new();
    let output = keys.folder.path().join("there");
    let mut server = pipe_server(&keys, Path::new("/dev/null"), &output);
    let mut command = pipe_client(&keys, &server);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = Process::start(&mut command);
    let mut stdin = client.0.stdin.take().unwrap();
    stdin.write_all(&[1; 100_000]).unwrap();
    // All of it is there, and then the client dies.
    let arrived = || std::fs::metadata(&output).map_or(0, |file| file.len());
    wait_until("the bytes", || arrived() >= 100_000);
    client.signal("KILL");
    assert_eq!(server.process.wait().code(), Some(7));
    assert_eq!(client.wait().code(), None);
}

#[test]
fn the_ends_for_measurements_take_and_give() {
    let keys = Keys::new();
    keys.authorize("permit=\"pipe\"");
    for (service, input) in [("discard", vec![5; 500_000]), ("generate", Vec::new())] {
        let server = keys.server(&["--service", service]);
        let mut command = pipe_client(&keys, &server);
        if service == "discard" {
            let ended = finish(command, &input);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
        } else {
            // A reader that goes away when it has enough is no success: not everything was handed over.
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut client = Process::start(&mut command);
            let zeros = read_in_time(client.0.stdout.take().unwrap(), 300_000);
            assert!(zeros == vec![0; 300_000]);
            assert_eq!(client.wait().code(), Some(9));
            let mut words = String::new();
            client.0.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            let expected = "vpn: the reader of standard output has gone before it had everything\n";
            assert_eq!(words, expected);
            server.log.until("the client could not write to its standard output everything");
        }
    }
}
