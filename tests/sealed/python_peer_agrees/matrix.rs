//! Every suite, key exchange and way to trust works with the Python peer in both roles.

use std::path::Path;

use serde_json::Value;
use vpn_test_needs::needs;

use super::{
    AES256, FINITE, HYBRID, Suite, Trust, client_args, our_client, our_server, short, their_client,
    their_server, wire_name,
};
use crate::support::python::{is_full, python, reversed};
use crate::support::{Keys, Role, finish, run_all};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What a conversation says.
#[derive(Clone, Copy, Debug)]
enum Texts {
    Short,
    /// With texts of 100 kB and 1 MiB.
    Long,
}

impl Texts {
    fn list(self) -> Vec<String> {
        // With the 3 and 4 bytes before it, a text of 1, 9 or 25 ends with a block.
        let mut texts: Vec<String> =
            ["hello", "", "x", "012345678", "0123456789abcdef", "héllo 日本 🎈"]
                .map(ToOwned::to_owned)
                .into();
        if matches!(self, Self::Long) {
            // One full record, and one byte more.
            texts.extend(
                [16380, 16381, 100_000].map(|n| "0123456789".repeat(n / 10 + 1)[..n].into()),
            );
            texts.push("ab日".repeat((1 << 20) / 5));
            texts.last_mut().unwrap().push('z');
        }
        texts
    }
}

/// One conversation between our program and the Python peer.
#[derive(Clone, Debug)]
struct Cell {
    /// Who of the two is ours.
    ours: Role,
    suite: Suite,
    trust: Trust,
    texts: Texts,
    /// The key exchanges that the peer knows, in its order.
    kex: &'static str,
    /// The one of them that is used.
    used: &'static str,
    /// The peer's other switches.
    switches: &'static [&'static str],
}

impl Cell {
    fn new(ours: Role, suite: Suite) -> Self {
        let (trust, texts) = (Trust::Keys, Texts::Short);
        Self { ours, suite, trust, texts, kex: HYBRID, used: HYBRID, switches: &[] }
    }

    fn run(&self, python: &Path, keys: &Keys) {
        match self.ours {
            Role::Client => self.run_client(python, keys),
            Role::Server => self.run_server(python, keys),
        }
    }

    /// Key sets that the peer has gone through when it is done, if this suite asks for none itself.
    fn their_updates(&self, texts: usize) -> usize {
        let has = |switch| self.switches.contains(&switch);
        usize::from(has("--update-keys")) * texts + self.exchanges(texts)
    }

    fn exchanges(&self, texts: usize) -> usize {
        usize::from(self.switches.contains(&"--fresh-exchange")) * (texts - 1)
    }

    /// Whether keys of 64-bit blocks run out on the way.
    fn wears_keys(&self) -> bool {
        self.suite.0 != "AES" && matches!(self.texts, Texts::Long)
    }

    /// Our client against the Python server.
    fn run_client(&self, python: &Path, keys: &Keys) {
        let texts = self.texts.list();
        // Strangers to its key are not even answered, but where the client is new to it.
        let gate = if self.trust == Trust::FirstContact { "optional" } else { "required" };
        let more = [&["--kex", self.kex, "--gate", gate], self.switches].concat();
        let mut server = their_server(keys, python, &wire_name(self.suite), self.trust, &more);
        let args = client_args(keys, server.port, self.trust);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = our_client(server.port, &[self.suite], &args, &texts);
        // Beside what kind of session it is, nothing is to be said.
        let is_kind = |line: &str| line.starts_with("vpn: sealed session with ");
        assert!(ended.code == Some(0) && ended.stderr.lines().all(is_kind), "{ended:?}");
        let mut expected = vec!["Negotiating the cipher".to_owned()];
        expected.push(format!("We are going to use {}{}", self.suite.0, self.suite.1));
        expected.push("Negotiating the key".to_owned());
        expected.push("The key has been established".to_owned());
        expected.extend(texts.iter().map(|text| format!("Server says: {}", reversed(text))));
        assert!(ended.lines()[1..] == expected, "{:?}", short(&ended.stdout));
        // Our client's share is for the first of its list.
        if self.used != HYBRID {
            let reason = server.event("rejected")["reason"].as_str().unwrap().to_owned();
            assert!(reason.starts_with("kex_retry"), "{reason}");
        }
        let established = server.event("established");
        assert_eq!(established["kex"], self.used);
        assert_eq!(established["suite"], wire_name(self.suite));
        assert_eq!(established["psk"], self.trust.has_psk());
        let client =
            if self.trust.has_keys() { keys.fingerprint("client.pub").into() } else { Value::Null };
        assert_eq!(established["client"], client);
        for text in &texts {
            assert!(server.event("message")["text"] == *text, "{:?}", short(text));
        }
        let closed = server.event("closed");
        let (sent, received) = (&closed["sent"].as_u64(), &closed["received"].as_u64());
        let updates = self.their_updates(texts.len()) as u64;
        if self.wears_keys() {
            // Both sides have changed keys when 256 KiB were sent under one.
            assert!(sent.unwrap() >= updates + 4 && received.unwrap() >= 4, "{closed}");
        } else {
            assert_eq!((sent.unwrap(), received.unwrap()), (updates, 0));
        }
        assert!(server.process.code() == Some(0));
    }

    /// The Python client against our server.
    fn run_server(&self, python: &Path, keys: &Keys) {
        let texts = self.texts.list();
        let gate = if self.trust == Trust::FirstContact { "optional" } else { "required" };
        let server = our_server(keys, &[self.suite], self.trust, &["--gate", gate]);
        let mut command = their_client(keys, python, server.port, self.trust, &texts);
        command.args(["--kex", self.kex, "--suite", &wire_name(self.suite)]).args(self.switches);
        let ended = finish(command, b"");
        assert_eq!(ended.code, Some(0), "{}{}", short(&ended.stdout), ended.stderr);
        let replies: Vec<_> = texts.iter().map(|text| reversed(text)).collect();
        assert!(ended.lines() == replies, "{:?}", short(&ended.stdout));
        let mut said = ended.stderr.lines();
        assert_eq!(said.next().unwrap(), format!("{}, {}", self.used, wire_name(self.suite)));
        let epochs: Vec<usize> =
            said.next().unwrap().split(' ').filter_map(|word| word.parse().ok()).collect();
        let updates = self.their_updates(texts.len());
        if self.wears_keys() {
            assert!(epochs[0] >= updates + 4 && epochs[1] >= 4, "{epochs:?}");
        } else {
            assert_eq!(epochs, [updates, self.exchanges(texts.len())]);
        }
        if self.switches.contains(&"--share") {
            server.log.until("the server wants another key exchange");
        }
        server.out.until(&format!("We are going to use {}{}", self.suite.0, self.suite.1));
        server.out.until("The key has been established");
        for text in &texts {
            let line = server.out.next();
            assert!(line == format!("Received: {text}"), "{:?}", short(&line));
        }
        server.log.until("the client closed the session");
    }
}

/// What every run says.
fn matrix() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |cell: Cell, change: &dyn Fn(&mut Cell)| {
        let mut cell = cell;
        change(&mut cell);
        cells.push(cell);
    };
    for ours in ROLES {
        let cell = Cell::new(ours, AES256);
        for suite in [("AES", 128), ("AES", 192), ("DES3", 128)] {
            add(Cell::new(ours, suite), &|_| {});
        }
        for bits in [32, 112] {
            add(Cell::new(ours, ("Blowfish", bits)), &|_| {});
        }
        for suite in [AES256, ("DES3", 192), ("Blowfish", 448)] {
            add(Cell::new(ours, suite), &|c| c.texts = Texts::Long);
            add(Cell::new(ours, suite), &|c| c.switches = updates(ours));
        }
        for trust in [Trust::FirstContact, Trust::Psk, Trust::Both] {
            add(cell.clone(), &|c| c.trust = trust);
        }
        for (kex, trust) in FINITE.into_iter().zip([Trust::Keys, Trust::Psk, Trust::Both]) {
            add(cell.clone(), &|c| (c.kex, c.used, c.trust) = (kex, kex, trust));
        }
        for switches in [&["--split", "1"][..], &["--split", "7"]] {
            add(cell.clone(), &|c| c.switches = switches);
        }
    }
    for change in CLIENT_SWITCHES {
        add(Cell::new(Role::Server, AES256), &|c| c.switches = change);
    }
    add(Cell::new(Role::Server, AES256), &|c| retry(c, "ffdhe3072,x25519-mlkem768"));
    cells
}

/// The first of these is used, after a share for the second.
fn retry(cell: &mut Cell, kex: &'static str) {
    cell.kex = kex;
    cell.used = kex.split_once(',').unwrap().0;
    cell.switches = match kex.split_once(',').unwrap().1 {
        HYBRID => &["--share", HYBRID],
        "ffdhe3072" => &["--share", "ffdhe3072"],
        other => panic!("no switch for {other}"),
    };
}

fn updates(ours: Role) -> &'static [&'static str] {
    match ours {
        Role::Client => &["--update-keys", "--ping"],
        Role::Server => &["--update-keys", "--fresh-exchange"],
    }
}

/// What only the Python client has.
const CLIENT_SWITCHES: [&[&str]; 5] = [
    &["--pipeline"],
    &["--fresh-exchange"],
    &["--update-keys", "--ping"],
    &["--pipeline", "--update-keys", "--fresh-exchange", "--ping", "--split", "3"],
    &["--update-keys", "--fresh-exchange", "--split", "1000"],
];

/// What takes too long for every run.
fn more_cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |cell: Cell, change: &dyn Fn(&mut Cell)| {
        let mut cell = cell;
        change(&mut cell);
        cells.push(cell);
    };
    for ours in ROLES {
        for bits in (32..=448).step_by(8) {
            add(Cell::new(ours, ("Blowfish", bits)), &|c| c.switches = updates(ours));
        }
        for suite in [("AES", 128), ("AES", 192), ("DES3", 128), ("Blowfish", 128)] {
            add(Cell::new(ours, suite), &|c| (c.texts, c.switches) = (Texts::Long, updates(ours)));
        }
        for kex in [HYBRID, FINITE[0], FINITE[1], FINITE[2]] {
            for trust in [Trust::Keys, Trust::FirstContact, Trust::Psk, Trust::Both] {
                for suite in [AES256, ("DES3", 192), ("Blowfish", 448)] {
                    let cell = Cell { kex, used: kex, trust, ..Cell::new(ours, suite) };
                    add(cell, &|c| c.switches = updates(ours));
                }
            }
        }
        for switches in [&["--split", "2"][..], &["--split", "31"], &["--split", "16434"]] {
            for suite in [AES256, ("Blowfish", 448)] {
                add(Cell::new(ours, suite), &|c| (c.texts, c.switches) = (Texts::Long, switches));
            }
        }
    }
    for suite in [("AES", 128), ("DES3", 192), ("Blowfish", 448)] {
        for switches in CLIENT_SWITCHES {
            add(Cell::new(Role::Server, suite), &|c| c.switches = switches);
        }
        for kex in [
            "x25519-mlkem768,ffdhe3072",
            "ffdhe4096,x25519-mlkem768",
            "ffdhe8192,ffdhe3072",
            "ffdhe4096,ffdhe3072",
        ] {
            add(Cell::new(Role::Server, suite), &|c| retry(c, kex));
        }
    }
    cells
}

#[needs(python)]
#[test]
fn every_suite_key_exchange_trust_and_role_agrees() {
    let python = python();
    let mut cells = matrix();
    if is_full() {
        cells.extend(more_cells());
    }
    let keys = &Keys::new();
    run_all("sealed interop matrix", &cells, |cell| cell.run(&python, keys));
}

#[needs(python)]
#[test]
fn the_longest_key_is_chosen_and_small_blocks_come_last() {
    let python = python();
    let keys = &Keys::new();
    let all = [("Blowfish", 448), ("DES3", 192), ("AES", 128), ("AES", 192), AES256];
    let texts = ["hello".to_owned()];
    for (theirs, chosen) in [
        ("blowfish-448-cbc,aes-128-cbc,aes-192-cbc,des3-192-cbc", ("AES", 192)),
        ("des3-192-cbc,blowfish-448-cbc", ("Blowfish", 448)),
        ("aes-128-cbc,blowfish-448-cbc", ("AES", 128)),
    ] {
        let server = our_server(keys, &all, Trust::Keys, &[]);
        let mut command = their_client(keys, &python, server.port, Trust::Keys, &texts);
        command.args(["--suite", theirs]);
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "olleh\n"), "{}", ended.stderr);
        let line = format!("{HYBRID}, {}", wire_name(chosen));
        assert_eq!(ended.stderr.lines().next(), Some(line.as_str()));
        server.out.until(&format!("We are going to use {}{}", chosen.0, chosen.1));
        let mut server = their_server(keys, &python, theirs, Trust::Keys, &[]);
        let args = client_args(keys, server.port, Trust::Keys);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = our_client(server.port, &all, &args, &texts);
        let line = format!("We are going to use {}{}", chosen.0, chosen.1);
        assert_eq!((ended.code, ended.lines()[2]), (Some(0), line.as_str()), "{}", ended.stderr);
        assert_eq!(server.event("established")["suite"], wire_name(chosen));
        assert!(server.process.code() == Some(0));
    }
}
