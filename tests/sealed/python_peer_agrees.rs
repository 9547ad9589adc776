//! The sealed profile against an independent implementation: the Python peer of tests/interop/, both
//! roles.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use vpn::trust::read_identity;
use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    Alert, ClientConfig, Event, HelloSent, Identity, Kex, KexKeyPair, Limits, Part, Session,
    next_length,
};
use vpn_suite::{KeySize, Registry};
use vpn_test_needs::needs;

use crate::classic::python_peer_agrees::{is_full, peer, python, reversed, run_all};
use crate::support::{DEADLINE, Ended, Lines, Process, Server, TempDir, finish, run, vpn};

const HYBRID: &str = "x25519-mlkem768";
const FINITE: [&str; 3] = ["ffdhe3072", "ffdhe4096", "ffdhe8192"];
const AES256: Suite = ("AES", 256);
const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Our name of a cipher, and the bits.
type Suite = (&'static str, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// How the two know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// By their keys.
    Keys,
    /// The client takes any server's key.
    FirstContact,
    /// By a PSK alone.
    Psk,
    /// By keys and a PSK.
    Both,
}

impl Trust {
    fn has_keys(self) -> bool {
        self != Self::Psk
    }

    fn has_psk(self) -> bool {
        matches!(self, Self::Psk | Self::Both)
    }
}

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

/// The suite's name on the wire.
fn wire_name((name, bits): Suite) -> String {
    format!("{}-{bits}-cbc", name.to_lowercase())
}

/// A configuration with these suites, that lets the longest texts pass.
fn config(suites: &[Suite]) -> String {
    let mut tables = String::new();
    // One table a cipher.
    for name in ["AES", "DES3", "Blowfish"] {
        let sizes: Vec<u32> = suites.iter().filter(|s| s.0 == name).map(|s| s.1).collect();
        if !sizes.is_empty() {
            tables += &format!("[[supported_cipher]]\nname = '{name}'\nkeys = {sizes:?}\n");
        }
    }
    // Python takes its time, and on a busy machine much more.
    let seconds = DEADLINE.as_secs();
    format!(
        "{tables}[limits]\nmessage_bytes = 2000000\nhandshake_seconds = {seconds}\n\
         sealed_handshake_seconds = {seconds}\n"
    )
}

/// A folder with keys of both sides and of a stranger, and two PSKs.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { folder: TempDir::new() };
        for name in ["server", "client", "stranger"] {
            let ended = run(&["keygen", "--out", &keys.path(name), "--comment", name], b"");
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        for (name, digits) in [("psk", "5a"), ("other", "5b")] {
            keys.private(name, &format!("{}\n", digits.repeat(32)));
        }
        keys.private("authorized", &keys.read("client.pub"));
        keys
    }

    fn private(&self, name: &str, content: &str) {
        let path = self.folder.file(name, content);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn fingerprint(&self, name: &str) -> String {
        let ended = run(&["fingerprint", &self.path(name)], b"");
        ended.stdout.split(' ').next().unwrap().to_owned()
    }

    /// Our server.
    fn our_server(&self, suites: &[Suite], trust: Trust, more: &[&str]) -> Server {
        let (identity, clients, psk) =
            (self.path("server"), self.path("authorized"), self.path("psk"));
        let mut args = vec!["--allow-64bit", "--no-classic"];
        if trust.has_keys() {
            args.extend(["--identity", &identity, "--authorized-clients", &clients]);
        }
        if trust.has_psk() {
            args.extend(["--psk", &psk]);
        }
        args.extend(more);
        Server::with_config(&config(suites), &args)
    }

    /// Our client with one text a line.
    fn our_client(&self, port: u16, suites: &[Suite], more: &[&str], texts: &[String]) -> Ended {
        let folder = TempDir::new();
        let config = folder.file("c.toml", config(suites));
        let mut command = vpn();
        // Nobody's own keys.
        command.env("XDG_CONFIG_HOME", folder.path());
        command.args(["client", "--sealed", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--allow-64bit", "--config"]).arg(config).args(more);
        let input: String = texts.iter().map(|text| format!("{text}\n")).collect();
        finish(command, input.as_bytes())
    }

    /// What our client says for who it is and whom it trusts, with a file for the server's key.
    fn client_args(&self, port: u16, trust: Trust) -> Vec<String> {
        let known = self.path(&format!("known-{port}"));
        let mut args = vec!["--known-servers".to_owned(), known.clone()];
        if trust.has_keys() {
            args.extend(["--identity".to_owned(), self.path("client")]);
        }
        if trust == Trust::FirstContact {
            args.push("--accept-new".to_owned());
        } else if trust.has_keys() {
            let line = format!("127.0.0.1:{port} sealed {}", self.read("server.pub"));
            std::fs::write(known, line).unwrap();
        }
        if trust.has_psk() {
            args.extend(["--psk".to_owned(), self.path("psk")]);
        }
        args
    }

    /// The Python server.
    fn their_server(
        &self,
        python: &Path,
        suites: &str,
        trust: Trust,
        more: &[&str],
    ) -> TheirServer {
        let deadline = DEADLINE.as_secs().to_string();
        let args = ["server", "--suites", suites, "--deadline", &deadline];
        let mut command = peer(python, "sealed_peer.py", &args);
        if trust.has_keys() {
            let (identity, clients) = (self.path("server"), self.path("authorized"));
            command.args(["--identity", &identity, "--authorized-clients", &clients]);
        }
        if trust.has_psk() {
            command.args(["--psk", &self.path("psk")]);
        }
        command.args(["--sessions", "1"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = Process(command.spawn().unwrap());
        let out = Lines::of(process.0.stdout.take().unwrap());
        let port = out.until("PORT ").trim_start_matches("PORT ").parse().unwrap();
        TheirServer { process, out, port }
    }

    /// The Python client.
    fn their_client(&self, python: &Path, port: u16, trust: Trust, texts: &[String]) -> Command {
        let (port, deadline) = (port.to_string(), DEADLINE.as_secs().to_string());
        let args = ["client", "--port", &port, "--deadline", &deadline];
        let mut command = peer(python, "sealed_peer.py", &args);
        if trust.has_keys() {
            command.args(["--identity", &self.path("client")]);
        }
        if matches!(trust, Trust::Keys | Trust::Both) {
            command.args(["--server-key", &self.path("server.pub")]);
        }
        if trust.has_psk() {
            command.args(["--psk", &self.path("psk")]);
        }
        for (number, text) in texts.iter().enumerate() {
            // An argument has at most 128 KiB.
            if text.len() < 1000 {
                command.args(["--text", text]);
            } else {
                let path = self.path(&format!("text-{port}-{number}"));
                std::fs::write(&path, text).unwrap();
                command.args(["--text-file", &path]);
            }
        }
        command
    }
}

struct TheirServer {
    process: Process,
    out: Lines,
    port: u16,
}

impl TheirServer {
    fn event(&self, name: &str) -> Value {
        serde_json::from_str(&self.out.until(&format!("\"event\": \"{name}\""))).unwrap()
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
        let mut server = keys.their_server(python, &wire_name(self.suite), self.trust, &more);
        let args = keys.client_args(server.port, self.trust);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = keys.our_client(server.port, &[self.suite], &args, &texts);
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
        assert!(server.process.wait().success());
    }

    /// The Python client against our server.
    fn run_server(&self, python: &Path, keys: &Keys) {
        let texts = self.texts.list();
        let gate = if self.trust == Trust::FirstContact { "optional" } else { "required" };
        let server = keys.our_server(&[self.suite], self.trust, &["--gate", gate]);
        let mut command = keys.their_client(python, server.port, self.trust, &texts);
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

/// The beginning, for messages.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
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
fn the_matrix_of_suites_key_exchanges_trust_and_roles() {
    let python = python();
    let mut cells = matrix();
    if is_full() {
        cells.extend(more_cells());
    }
    let keys = Keys::new();
    run_all("sealed interop matrix", &cells, |cell| cell.run(&python, &keys));
}

#[needs(python)]
#[test]
fn the_longest_key_is_chosen_and_small_blocks_come_last() {
    let python = python();
    let keys = Keys::new();
    let all = [("Blowfish", 448), ("DES3", 192), ("AES", 128), ("AES", 192), AES256];
    let texts = ["hello".to_owned()];
    for (theirs, chosen) in [
        ("blowfish-448-cbc,aes-128-cbc,aes-192-cbc,des3-192-cbc", ("AES", 192)),
        ("des3-192-cbc,blowfish-448-cbc", ("Blowfish", 448)),
        ("aes-128-cbc,blowfish-448-cbc", ("AES", 128)),
    ] {
        let server = keys.our_server(&all, Trust::Keys, &[]);
        let mut command = keys.their_client(&python, server.port, Trust::Keys, &texts);
        command.args(["--suite", theirs]);
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "olleh\n"), "{}", ended.stderr);
        let line = format!("{HYBRID}, {}", wire_name(chosen));
        assert_eq!(ended.stderr.lines().next(), Some(line.as_str()));
        server.out.until(&format!("We are going to use {}{}", chosen.0, chosen.1));
        let mut server = keys.their_server(&python, theirs, Trust::Keys, &[]);
        let args = keys.client_args(server.port, Trust::Keys);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = keys.our_client(server.port, &all, &args, &texts);
        let line = format!("We are going to use {}{}", chosen.0, chosen.1);
        assert_eq!((ended.code, ended.lines()[2]), (Some(0), line.as_str()), "{}", ended.stderr);
        assert_eq!(server.event("established")["suite"], wire_name(chosen));
        assert!(server.process.wait().success());
    }
}

#[needs(python)]
#[test]
fn our_server_refuses_the_python_client_that_is_not_welcome() {
    let python = python();
    let keys = Keys::new();
    let server = keys.our_server(&[AES256], Trust::Keys, &[]);
    let texts = ["hello".to_owned()];
    let path = |name| keys.path(name);
    let refused = |args: &[&str], code: i32, said: &str, logged: &str| {
        let mut command = keys.their_client(&python, server.port, Trust::FirstContact, &texts);
        command.args(args);
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{}", ended.stderr);
        assert_eq!(ended.stderr, format!("sealed_peer: {said}\n"));
        server.log.until(logged);
    };
    // Without any key of its own, and no PSK either.
    let at = server.port.to_string();
    let args = ["client", "--port", &at, "--text", "hello"];
    let ended = finish(peer(&python, "sealed_peer.py", &args), b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{}", ended.stderr);
    server.log.until("authentication failed");
    let pin = path("server.pub");
    let stranger = path("stranger");
    let unknown = "authentication failed: its key is unknown";
    refused(&["--identity", &stranger], 5, "alert access_denied", unknown);
    refused(&["--identity", &stranger, "--server-key", &pin], 5, "alert access_denied", unknown);
    let other = path("stranger.pub");
    let ended = "the peer ended the session: access_denied";
    refused(&["--server-key", &other], 6, "the server has another key", ended);
    refused(&["--psk", &path("psk")], 4, "PSK not accepted", "");
    let lists = format!("kex {:?}, suites ['aes-256-cbc']", [&[HYBRID][..], &FINITE].concat());
    let said = format!("no_common_suite: {}", lists.replace('"', "'"));
    refused(&["--suite", "aes-128-cbc"], 4, &said, "");
    // Who knows neither key nor PSK is not answered, if that is asked for.
    let server = keys.our_server(&[AES256], Trust::Both, &["--gate", "required"]);
    for args in [&[][..], &["--psk", &path("other")], &["--server-key", &other]] {
        let mut command = keys.their_client(&python, server.port, Trust::FirstContact, &texts);
        command.args(args);
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("sealed_peer: closed without an answer"));
        server.log.until("the gate does not match");
    }
}

#[needs(python)]
#[test]
fn our_client_is_refused_by_the_python_server_and_refuses_it() {
    let python = python();
    let keys = Keys::new();
    let texts = ["hello".to_owned()];
    let ended_with = |server: &TheirServer, args: &[&str], suites: &[Suite]| {
        let known = keys.path(&format!("known-{}", server.port));
        let ended = keys.our_client(
            server.port,
            suites,
            &[&["-q", "--known-servers", &known], args].concat(),
            &texts,
        );
        assert_eq!(ended.stdout, "");
        ended
    };
    let serve = |more: &[&str]| keys.their_server(&python, "aes-256-cbc", Trust::Keys, more);
    let failed = |mut server: TheirServer, kind: &str| {
        assert_eq!(server.event("failed")["kind"], kind);
        assert_eq!(server.process.wait().code(), Some(1));
    };
    let (client, stranger) = (keys.path("client"), keys.path("stranger"));
    let (psk, other) = (keys.path("psk"), keys.path("other"));
    let server = serve(&[]);
    let ended = ended_with(&server, &["--identity", &stranger, "--accept-new"], &[AES256]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    failed(server, "Denied");
    // Another server than the one that is meant.
    let server = serve(&[]);
    let pin = keys.fingerprint("stranger.pub");
    let ended = ended_with(&server, &["--identity", &client, "--server-key", &pin], &[AES256]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    failed(server, "Alerted");
    // A PSK that it does not have, where that is no reason to be silent, and where it is.
    let server = serve(&["--psk", &psk]);
    let args = ["--identity", &client, "--psk", &other, "--accept-new"];
    let ended = ended_with(&server, &args, &[AES256]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("does the server have the same PSK?"), "{}", ended.stderr);
    failed(server, "Truncated");
    let server = serve(&["--psk", &psk, "--gate", "required"]);
    let ended = ended_with(&server, &args, &[AES256]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    failed(server, "Silent");
    let server = serve(&[]);
    let ended = ended_with(&server, &["--identity", &client, "--accept-new"], &[("AES", 128)]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("aes-256-cbc"), "{}", ended.stderr);
    assert!(server.event("rejected")["reason"].as_str().unwrap().starts_with("no_common_suite"));
}

/// A connection that is read message by message.
struct Parts {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Parts {
    fn next(&mut self, part: Part) -> Vec<u8> {
        loop {
            let length = next_length(part, &self.buffer).unwrap();
            if let Some(length) = length.filter(|length| *length <= self.buffer.len()) {
                return self.buffer.drain(..length).collect();
            }
            let mut bytes = [0; 4096];
            let n = self.stream.read(&mut bytes).unwrap();
            assert!(n > 0, "the peer has closed");
            self.buffer.extend_from_slice(&bytes[..n]);
        }
    }

    /// Sends what there is to send, and takes records until something has happened.
    fn step(&mut self, session: &mut Session) -> Event {
        loop {
            while let Some(bytes) = session.poll_transmit() {
                self.stream.write_all(&bytes).unwrap();
            }
            if let Some(event) = session.poll_event() {
                return event;
            }
            let record = self.next(Part::Record);
            session.handle_input(&record).unwrap();
        }
    }

    /// A message and its answer.
    fn ask(&mut self, session: &mut Session, text: &str) -> String {
        let framed = [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        session.send(&framed).unwrap();
        self.hear(session, text.len())
    }

    fn hear(&mut self, session: &mut Session, length: usize) -> String {
        let mut data = Vec::new();
        while data.len() < 4 + length {
            match self.step(session) {
                Event::Data(bytes) => data.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        String::from_utf8(data.split_off(4)).unwrap()
    }
}

/// The core of our client, behind its handshake.
fn meet(
    port: u16,
    (name, bits): Suite,
    kex: Kex,
    ours: Identity,
    theirs: [u8; 32],
) -> (Parts, Session) {
    let suite = Registry::linked().unwrap().find(name).unwrap();
    let sizes = vec![KeySize::from_bits(bits).unwrap()];
    let config = ClientConfig {
        enabled: [EnabledSuite { suite, wire_name: suite.name(), sizes }].into(),
        kex: vec![kex],
        identity: Some(ours),
        server_key: Some(theirs),
        psk: None,
        limits: Limits::default(),
    };
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut parts = Parts { stream, buffer: Vec::new() };
    let (state, hello) = HelloSent::start(Arc::new(config), kex, &mut rand::rng()).unwrap();
    parts.stream.write_all(&hello).unwrap();
    let state = state.on_first(&parts.next(Part::Hello)).unwrap();
    let (state, auth) = state.on_record(&parts.next(Part::Record)).unwrap().accept().unwrap();
    parts.stream.write_all(&auth).unwrap();
    let (session, _) = state.on_record(&parts.next(Part::Record)).unwrap();
    (parts, session)
}

/// It kept the session until the client closed the connection, or for fifteen minutes.
#[test]
fn our_server_ends_a_session_whose_client_ended_it_for_a_reason() {
    let keys = Keys::new();
    let server = keys.our_server(&[AES256], Trust::Keys, &[]);
    let ours = read_identity(Path::new(&keys.path("client")), || panic!()).unwrap();
    let theirs = read_identity(Path::new(&keys.path("server")), || panic!()).unwrap();
    let theirs = theirs.public_key();
    let (mut parts, mut session) = meet(server.port, AES256, Kex::X25519MlKem768, ours, theirs);
    session.close(Alert::Busy).unwrap();
    while let Some(bytes) = session.poll_transmit() {
        parts.stream.write_all(&bytes).unwrap();
    }
    server.log.until("the peer ended the session: busy");
    assert_eq!(parts.stream.read(&mut [0]).unwrap(), 0);
}

/// Our client does this after an hour; here its core does it at once.
#[needs(python)]
#[test]
fn fresh_exchanges_of_our_client_are_answered_by_the_python_server() {
    let python = python();
    let mut rng = rand::rng();
    let keys = Keys::new();
    let ours = read_identity(Path::new(&keys.path("client")), || panic!()).unwrap();
    let theirs = Identity::from_seed(&[2; 32]);
    for (kex, (name, bits)) in
        [(Kex::X25519MlKem768, AES256), (Kex::Ffdhe3072, ("DES3", 192)), (Kex::Ffdhe3072, AES256)]
    {
        let seed = "02".repeat(32);
        let suite = wire_name((name, bits));
        let more = ["--identity", &seed, "--kex", kex.name(), "--update-keys"];
        let mut server = keys.their_server(&python, &suite, Trust::Keys, &more);
        let (mut parts, mut session) =
            meet(server.port, (name, bits), kex, ours.clone(), theirs.public_key());
        session.open("message", b"").unwrap();
        assert!(matches!(parts.step(&mut session), Event::OpenReply { status: 0, .. }));
        for round in 1..=3u32 {
            assert_eq!(parts.ask(&mut session, "hello"), "olleh");
            session.update_key().unwrap();
            let pair = KexKeyPair::generate(kex, &mut rng);
            session.begin_exchange(pair.share()).unwrap();
            // Still under the old keys, there and back.
            let framed = [&[0, 0, 0, 3], &b"abc"[..]].concat();
            session.send(&framed).unwrap();
            let Event::ExchangeAnswered(share) = parts.step(&mut session) else { panic!() };
            session.finish_exchange(&pair.finish(&share).unwrap()).unwrap();
            assert_eq!(parts.hear(&mut session, 3), "cba");
            // Ours: an update and an exchange a round; theirs: an update a message, and exchanges.
            assert_eq!(parts.ask(&mut session, "日本"), "本日");
            assert_eq!(session.epochs()[0], 2 * round);
        }
        session.send_eof().unwrap();
        assert_eq!(parts.step(&mut session), Event::Eof);
        session.close(Alert::CloseNotify).unwrap();
        assert_eq!(parts.step(&mut session), Event::Closed);
        let closed = server.event("closed");
        assert_eq!((&closed["sent"], &closed["received"]), (&12.into(), &6.into()));
        assert!(server.process.wait().success());
    }
}
