//! Channels of the Python peer.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use vpn_test_needs::needs;

use super::{AES256, Suite, Trust, client_args, config, our_server_with, their_server, wire_name};
use crate::support::python::{peer, python};
use crate::support::{
    DEADLINE, Ended, Keys, Listening, Place, Running, TempDir, finish, run_all, vpn,
};

/// Both roles, over loopback: credit, half-closes, resets, refusals, listeners, commands, alerts.
#[needs(python)]
#[test]
fn the_python_peer_agrees_with_itself_about_channels() {
    let python = python();
    let deadline = DEADLINE.as_secs().to_string();
    let ended =
        finish(peer(&python, "sealed_peer.py", &["selftest", "--deadline", &deadline]), b"");
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let tests = ["forwards", "refusals", "resets", "commands", "listeners", "alerts"];
    assert_eq!(ended.lines(), tests.map(|name| format!("{name}: ok")));
}

/// A suite, and switches of the peer.
#[derive(Clone, Copy, Debug)]
struct Cell {
    suite: Suite,
    switches: &'static [&'static str],
}

const TDES: Suite = ("DES3", 192);
const CELLS: [Cell; 5] = [
    Cell { suite: AES256, switches: &[] },
    Cell { suite: AES256, switches: &["--window", "1000"] },
    Cell { suite: AES256, switches: &["--update-keys"] },
    Cell { suite: TDES, switches: &["--update-keys"] },
    Cell { suite: TDES, switches: &["--window", "1000", "--split", "100"] },
];

/// A configuration with a command.
const COMMANDS: &str = "[exec.greet]\ncommand = ['/bin/sh', '-c', 'read name; echo hello $name; echo oh >&2; exit 3']\n";

/// The bytes of a channel; fewer if each thousand has to be asked for.
fn size(cell: &Cell) -> usize {
    if cell.switches.contains(&"--window") { 40_000 } else { 300_000 }
}

/// The Python client at work.
fn their_channels(keys: &Keys, python: &Path, port: u16, cell: &Cell, what: &[&str]) -> Command {
    let (port, deadline) = (port.to_string(), DEADLINE.as_secs().to_string());
    let mut command = peer(python, "sealed_peer.py", what);
    command.args(["--port", &port, "--deadline", &deadline, "--suite", &wire_name(cell.suite)]);
    command.args(["--identity", &keys.path("client"), "--server-key", &keys.path("server.pub")]);
    command.args(cell.switches);
    command
}

/// The event of this name in what a peer has printed.
fn event(ended: &Ended, name: &str) -> Value {
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = lines.into_iter().find(|event| event["event"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {ended:?}"))
}

#[needs(python)]
#[test]
fn channels_of_the_python_client_are_served() {
    let python = python();
    let keys = Keys::new();
    keys.authorize("permit=\"forward:127.0.0.1:*,remote-forward:127.0.0.1:*,exec:greet\"");
    run_all("channels of the Python client", &CELLS, |cell| {
        let server = our_server_with(&keys, &[cell.suite], Trust::Keys, COMMANDS, &[]);
        let (target, size) = (Listening::new().echo().to_string(), size(cell));
        let bytes = size.to_string();
        for more in [&[][..], &["--fresh-exchange"], &["--wait"]] {
            let what = ["forward", "--target", &target, "--channels", "3", "--size", &bytes];
            let mut command = their_channels(&keys, &python, server.port, cell, &what);
            command.args(more);
            let ended = finish(command, b"");
            assert_eq!(ended.code, Some(0), "{cell:?}: {ended:?}");
            let forwarded = event(&ended, "forwarded");
            let seen = [&forwarded["channels"], &forwarded["equal"], &forwarded["bytes"]];
            assert_eq!(seen, [&json!(3), &json!(3), &json!(3 * size)], "{cell:?}");
            assert_eq!(forwarded["codes"], json!([0, 0, 0]));
            let received = forwarded["epochs"][1].as_u64().unwrap();
            let exchanges = u64::from(more == ["--fresh-exchange"]);
            assert!(received >= exchanges, "{forwarded}");
        }
        let what = ["exec", "--name", "greet", "--input", "you\n"];
        let ended = finish(their_channels(&keys, &python, server.port, cell, &what), b"");
        let expected = json!({
            "event": "ended", "stdout": "hello you\n", "stderr": "oh\n", "exit": {"code": 3}, "close": 0
        });
        assert_eq!(event(&ended, "ended"), expected, "{cell:?}");
        assert_eq!(ended.code, Some(0));

        let what = ["listen", "--address", "127.0.0.1:0", "--accept", "2"];
        let mut peer = Running::start(their_channels(&keys, &python, server.port, cell, &what));
        let listening: Value =
            serde_json::from_str(&peer.out.until("\"event\": \"listening\"")).unwrap();
        let port = listening["port"].as_u64().unwrap();
        let near = Place::parse(&format!("127.0.0.1:{port}"));
        for _ in 0..2 {
            echoes(&near, size);
        }
        let echoed: Value = serde_json::from_str(&peer.out.until("\"event\": \"echoed\"")).unwrap();
        let seen = [&echoed["connections"], &echoed["bytes"], &echoed["unlisten"]];
        assert_eq!(seen, [&json!(2), &json!(2 * size), &json!(0)], "{cell:?}");
        assert_eq!(peer.code(), Some(0));
    });
}

/// The place in a line such as `Listening at 127.0.0.1:80 for a:80`.
fn place_in(line: &str) -> Place {
    let (_, behind) = line.split_once(" at ").unwrap();
    Place::parse(behind.split_once(' ').unwrap().0)
}

/// Something behind a forward sends back what comes, up to the end.
fn echoes(near: &Place, size: usize) {
    let near = near.connect();
    let sent: Vec<u8> = (0..=250).cycle().take(size).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut near = near.again();
            near.write_all(&sent).unwrap();
            near.ends();
        });
        let mut heard = Vec::new();
        near.again().read_to_end(&mut heard).unwrap();
        assert!(heard == sent, "{} bytes of {}", heard.len(), sent.len());
    });
}

#[needs(python)]
#[test]
fn the_python_server_serves_channels_of_our_client() {
    let python = python();
    // Lines without options, which is what the peer reads.
    let keys = Keys::new();
    run_all("channels of the Python server", &CELLS, |cell| {
        let size = size(cell);
        let more = [
            cell.switches,
            &["--command", "cat=/bin/cat", "--command", "fails=/bin/ls /no/such/file"],
        ]
        .concat();
        let start = || their_server(&keys, &python, &wire_name(cell.suite), Trust::Keys, &more);
        let folder = TempDir::new();
        let config = folder.file("c.toml", config(&[cell.suite]));
        let client = |port: u16, args: &[&str]| {
            let mut command = vpn();
            command.env("XDG_CONFIG_HOME", folder.path());
            command.args(["client", "127.0.0.1", "--port", &port.to_string(), "--allow-64bit"]);
            command.arg("--config").arg(&config).args(client_args(&keys, port, Trust::Keys));
            command.args(args);
            command
        };
        let mut server = start();
        let target = Listening::new().echo();
        let forward = format!("127.0.0.1:0:{target}");
        let mut ours = Running::start(client(server.port, &["-L", &forward, "-R", &forward]));
        let local = place_in(&ours.out.until("Listening at "));
        let remote = place_in(&ours.out.until("The server listens at "));
        for near in [&local, &remote, &local] {
            echoes(near, size);
        }
        // At a signal it says that it goes.
        ours.process.signal("INT");
        assert_eq!(ours.code(), Some(130), "{}", ours.log.rest());
        server.event("closed");
        assert_eq!(server.process.code(), Some(0));

        let text: String = ('a'..='z').cycle().take(size).collect();
        let mut server = start();
        let ended = finish(client(server.port, &["--exec", "cat"]), text.as_bytes());
        assert!(ended.code == Some(0) && ended.stdout == text, "{cell:?}: {}", ended.stderr);
        server.event("closed");
        assert_eq!(server.process.code(), Some(0));
        let server = start();
        let ended = finish(client(server.port, &["--exec", "fails"]), b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("/no/such/file"), "{}", ended.stderr);
    });
}
