//! The Python peer of tests/interop/, an independent implementation of the classic profile, agrees with us
//! in both roles.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vpn_test_needs::needs;

use crate::support::python::{is_full, peer, python, reversed};
use crate::support::{
    DEADLINE, Ended, Role, Running, Server, TempDir, client_of, finish, port_in, run_all,
};

/// What every cell says; the empty text has no answer in most dialects.
const TEXTS: [&str; 4] = ["hello", "", "0123456789abcdef", "héllo 日本"];

/// Suites and sizes of every dialect.
const SUITES: [(&str, u32); 9] = [
    ("AES", 128),
    ("AES", 192),
    ("AES", 256),
    ("Blowfish", 112),
    ("Blowfish", 224),
    ("Blowfish", 448),
    ("DES", 56),
    ("DES3", 128),
    ("DES3", 192),
];

/// One conversation between our program and the Python peer.
#[derive(Clone, Debug)]
struct Cell {
    /// Who of the two is ours.
    ours: Role,
    /// The name that the peer uses, and the one in our configuration.
    name: &'static str,
    configured: &'static str,
    bits: u32,
    /// The peer's dialect and other switches.
    theirs: &'static str,
    switches: &'static [&'static str],
    /// Our dialect and what else our configuration says.
    dialect: &'static str,
    more: &'static str,
}

impl Cell {
    fn new(ours: Role, (name, bits): (&'static str, u32), theirs: &'static str) -> Self {
        // What shows is followed; a server cannot tell the 2020 family from the text.
        let (dialect, more) = match (ours, theirs) {
            (Role::Server, "capture") => ("capture", ""),
            (Role::Server, "field2020") => ("capture", "reply = 'prefixed'"),
            _ => ("auto", ""),
        };
        Self { ours, name, configured: name, bits, theirs, switches: &[], dialect, more }
    }

    fn config(&self) -> String {
        let (name, bits, more) = (self.configured, self.bits, self.more);
        // Python takes seconds for its powers, and on a busy machine many more.
        format!(
            "[[supported_cipher]]\nname = '{name}'\nkeys = [{bits}]\n[classic]\n{more}\n\
             [limits]\nhandshake_seconds = {}\n",
            DEADLINE.as_secs()
        )
    }

    fn run(&self, python: &Path) {
        match self.ours {
            Role::Client => self.run_client(python),
            Role::Server => self.run_server(python),
        }
    }

    fn peer(&self, python: &Path, command: &str, cipher: &str) -> Command {
        let deadline = DEADLINE.as_secs().to_string();
        let args = [command, "--cipher", cipher, "--dialect", self.theirs, "--deadline", &deadline];
        let mut command = peer(python, "classic_peer.py", &args);
        // Euler's criterion, as the peer's package has it, takes seconds; so it is for some cells only.
        let residue = if self.bits == 256 { "euler" } else { "jacobi" };
        command.args(["--residue", residue]).args(self.switches);
        command
    }

    /// Our client against the Python server.
    fn run_client(&self, python: &Path) {
        let cipher = format!("{}:{}", self.name, self.bits);
        let mut command = self.peer(python, "server", &cipher);
        command.arg("--once");
        let mut server = Running::start(command);
        let port = port_in(&server.out.until("PORT "));
        let folder = TempDir::new();
        let config = folder.file("c.toml", self.config());
        let mut args = vec!["--config", config.to_str().unwrap(), "--dialect", self.dialect];
        args.extend(TEXTS.iter().flat_map(|text| ["-m", text]));
        let ended = client_of(port, &args, b"");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let mut expected = vec!["Negotiating the cipher".to_owned()];
        expected.push(format!("We are going to use {}{}", self.suite(), self.bits));
        expected.push("Negotiating the key".to_owned());
        expected.push("The key has been established".to_owned());
        expected.extend(TEXTS.iter().map(|text| format!("Server says: {}", reversed(text))));
        assert_eq!(ended.lines()[1..], expected);
        for text in TEXTS {
            let event: Value = serde_json::from_str(&server.out.until("\"message\"")).unwrap();
            assert_eq!(event["text"], text);
        }
        assert_eq!(server.code(), Some(0));
    }

    /// The Python client against our server.
    fn run_server(&self, python: &Path) {
        let server = Server::with_config(&self.config(), &["--dialect", self.dialect]);
        let mut command = self.peer(python, "client", &format!("{}:{}", self.name, self.bits));
        command.args(["--port", &server.port.to_string()]);
        command.args(TEXTS.iter().flat_map(|text| ["--message", text]));
        let ended: Ended = finish(command, b"");
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let events: Vec<Value> =
            ended.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let chosen = events.iter().find(|event| event["event"] == "chosen").unwrap();
        // The name that the peer used is the name answered.
        assert_eq!((&chosen["cipher"], &chosen["bits"]), (&self.name.into(), &self.bits.into()));
        let replies: Vec<_> = events
            .iter()
            .filter(|event| event["event"] == "reply")
            .map(|event| event["text"].as_str().unwrap().to_owned())
            // Whether there is a reply to an empty text is the dialect's business; the peer checks.
            .filter(|text| !text.is_empty())
            .collect();
        let said: Vec<_> = TEXTS.iter().filter(|t| !t.is_empty()).map(|t| reversed(t)).collect();
        assert_eq!(replies, said);
        assert!(server.out.next().starts_with("New client: 127.0.0.1:"));
        assert_eq!(server.out.next(), "Negotiating the cipher");
        assert_eq!(server.out.next(), format!("We are going to use {}{}", self.suite(), self.bits));
        assert_eq!(server.out.next(), "Negotiating the key");
        assert_eq!(server.out.next(), "The key has been established");
        for text in TEXTS {
            assert_eq!(server.out.next(), format!("Received: {text}"));
        }
    }

    /// Our name for what the peer may call by an alias.
    fn suite(&self) -> &'static str {
        if matches!(self.name, "3DES" | "TDES") { "DES3" } else { self.name }
    }
}

/// Dialect × suite × size × role.
fn matrix() -> Vec<Cell> {
    let mut cells = Vec::new();
    for theirs in ["spec", "capture", "field2020", "lines"] {
        for suite in SUITES {
            for ours in [Role::Client, Role::Server] {
                cells.push(Cell::new(ours, suite, theirs));
            }
        }
    }
    cells
}

/// What else differs from peer to peer: slicing, single switches, fixed dialects, sizes, names.
fn more_cells() -> Vec<Cell> {
    const SLICED: [&[&str]; 3] = [
        &["--slice", "1", "--slice-pause", "0.0005"],
        &["--slice", "7", "--slice-pause", "0.001"],
        &["--slice", "1000", "--slice-pause", "0.02"],
    ];
    let (client, server) = (Role::Client, Role::Server);
    let mut cells = Vec::new();
    let mut add = |cell: Cell, change: &dyn Fn(&mut Cell)| {
        let mut cell = cell;
        change(&mut cell);
        cells.push(cell);
    };
    for suite in [("AES", 256), ("Blowfish", 112), ("DES3", 192)] {
        for ours in [client, server] {
            for theirs in ["spec", "capture", "field2020", "lines"] {
                let cell = Cell::new(ours, suite, theirs);
                for switches in SLICED {
                    add(cell.clone(), &|c| c.switches = switches);
                }
                let fixed = if theirs == "field2020" { "capture" } else { theirs };
                add(cell, &|c| c.dialect = fixed);
            }
            let spec = Cell::new(ours, suite, "spec");
            let mac: &[&str] = &["--mac", "cumulative"];
            // A server tries both rules; a client has to be told.
            let told = if ours == client { "mac = 'cumulative'" } else { "" };
            add(spec.clone(), &|c| (c.switches, c.more) = (mac, told));
            let cbc: &[&str] = &["--cbc", "restart"];
            add(spec.clone(), &|c| (c.switches, c.more) = (cbc, "cbc = 'restart'"));
            let both: &[&str] = &["--cbc", "restart", "--mac", "cumulative"];
            let told = "cbc = 'restart'\nmac = 'cumulative'";
            add(spec.clone(), &|c| (c.switches, c.more) = (both, told));
            for reply in ["prefixed", "filled"] {
                let (switches, told): (&[&str], &str) = match reply {
                    "prefixed" => (&["--reply", "prefixed"], "reply = 'prefixed'"),
                    _ => (&["--reply", "filled"], "reply = 'filled'"),
                };
                add(spec.clone(), &|c| (c.switches, c.more) = (switches, told));
            }
            let crlf: &[&str] = &["--line-end", "crlf"];
            for theirs in ["spec", "lines"] {
                add(Cell::new(ours, suite, theirs), &|c| c.switches = crlf);
            }
            let lf: &[&str] = &["--line-end", "lf"];
            add(spec, &|c| c.switches = lf);
        }
    }
    // A client with a comma and per-message HMACs is the text's but for the separator.
    add(Cell::new(client, ("AES", 256), "spec"), &|c| {
        (c.switches, c.more) = (&["--separator", ","], "mac = 'per-message'");
    });
    for bits in [32, 40, 128, 256, 440] {
        for ours in [client, server] {
            add(Cell::new(ours, ("Blowfish", bits), "spec"), &|_| {});
        }
    }
    for (name, configured) in [("3DES", "3des"), ("TDES", "TDES"), ("DES3", "des3"), ("AES", "aes")]
    {
        for ours in [client, server] {
            add(Cell::new(ours, (name, 192), "spec"), &|c| c.configured = configured);
        }
    }
    cells
}

#[needs(python)]
#[test]
fn every_dialect_suite_size_and_role_agrees() {
    let python = python();
    let mut cells = matrix();
    if is_full() {
        cells.extend(more_cells());
    }
    run_all("interop matrix", &cells, |cell| cell.run(&python));
}
