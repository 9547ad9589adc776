//! `--explain` and `--keylog` show what goes over the wire, keys only if asked, and advice after a failure.

use std::io::{Read, Write};

use vpn_proto::SuiteId;
use vpn_proto::classic::{Chaining, MacRule, Opener, SessionKeys, Strip};
use vpn_suite::{KeySize, Registry, testkit::unhex};
use zeroize::Zeroizing;

use crate::support::{Ended, SHIPPED, Server, TempDir, accept, client_of, listener, run};

/// Asserts that all of these occur, in this order.
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("no '{part}' in order in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// What stands behind a word in the commentary, the n-th time.
fn item<'a>(text: &'a str, word: &str, n: usize) -> &'a str {
    let start = format!("     {word} ");
    let mut items = text.lines().filter_map(|line| line.strip_prefix(&start));
    items.nth(n).unwrap_or_else(|| panic!("no {word} number {n} in:\n{text}")).trim()
}

#[test]
fn a_session_is_explained_from_both_ends() {
    let server = Server::start(&["--explain"]);
    let ended = server.client(&["--explain", "-m", "hello", "-m", "again"], b"");
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.lines()[5..], ["Server says: olleh", "Server says: niaga"]);
    let story = [
        "C1  client -> server  proposal",
        "ProposedCiphers:AES:[128,192,256]",
        "50726f706f736564436970686572733a",
        "weakness   nothing authenticates the list",
        "S1  server -> client  choice",
        "ChosenCipher:AES:256",
        "C2  client -> server  Diffie-Hellman public value",
        "(246",
        "weakness   nothing proves who sent it",
        "S2  server -> client",
        "both sides have computed the same secret",
        "its first 32 characters",
        "weakness   a character of the key is one of 16",
        "weakness   the same key serves",
        "C4  client -> server  message 1, 80 bytes",
        "text       hello",
        "padding    11 zero bytes",
        "S4  server -> client  reply to message 1, 5 bytes in the clear",
        "6f6c6c6568",
        "weakness   the reply is in the clear",
        "message 2",
        "last ciphertext block of the message before",
        "text       again",
        "weakness   the IV is the last block",
        "reply to message 2",
    ];
    assert_in_order(&ended.stderr, &story);
    assert_in_order(
        &ended.stderr,
        &["AES           256  both have it   <- chosen", "192  not longer"],
    );
    assert!(!ended.stderr.contains('\x1b'), "colours without a terminal");
    let mut said = String::new();
    while !said.contains("reply to message 2") {
        said.push_str(&server.log.next());
        said.push('\n');
    }
    assert_in_order(&said, &story);
    assert_in_order(&said, &["AES           256  both have it   <- chosen", "Blowfish"]);
    // Each weakness is explained once.
    assert_eq!(said.matches("the reply is in the clear and").count(), 1);
}

/// The line of a key log, by columns.
fn logged(path: &std::path::Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn keys_are_told_only_when_asked_for() {
    let folder = TempDir::new();
    let log = folder.path().join("keys.log");
    let log_arg = log.to_str().unwrap();
    let server = Server::start(&[]);
    let ended = server.client(&["--explain", "--keylog", log_arg, "-m", "x", "-vvv"], b"");
    assert!(ended.stderr.contains("vpn: warning: the keys of every session go to "));
    let key = logged(&log)[0][6].clone();
    let text = String::from_utf8(unhex(&key)).unwrap();
    assert_eq!(text.len(), 32);
    assert!(!ended.stderr.contains(&key) && !ended.stderr.contains(&text), "{}", ended.stderr);

    let ended = server.client(&["--explain=secrets", "--keylog", log_arg, "-m", "x"], b"");
    assert!(ended.stderr.contains("vpn: warning: keys are shown here"));
    // Appended to, not overwritten.
    let lines = logged(&log);
    assert_eq!(lines.len(), 2);
    assert!(ended.stderr.contains(&lines[1][6]), "{}", ended.stderr);
}

#[test]
fn a_key_log_opens_what_was_on_the_wire() {
    let registry = Registry::linked().unwrap();
    for (name, bits, cbc) in [
        ("AES", 256, "chain"),
        ("DES3", 192, "chain"),
        ("Blowfish", 112, "restart"),
        ("DES", 56, "chain"),
    ] {
        let folder = TempDir::new();
        let log = folder.path().join("keys.log");
        let config = format!(
            "[[supported_cipher]]\nname = '{name}'\nkeys = [{bits}]\n[classic]\ncbc = '{cbc}'\n"
        );
        let server = Server::with_config(&config, &["--keylog", log.to_str().unwrap()]);
        let config = folder.file("c.toml", &config);
        let args = ["--config", config.to_str().unwrap(), "--explain", "-m", "one", "-m", "two"];
        let ended = server.client(&args, b"");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = &logged(&log)[0];
        assert_eq!(line[0], "CLASSIC");
        for (n, column) in [(0, 1), (1, 2)] {
            let number = item(&ended.stderr, "number", n);
            let shown = number.split_once("...").unwrap().1.split(' ').next().unwrap();
            assert!(line[column].len() == 40 && line[column].ends_with(shown), "{line:?}");
        }
        assert_eq!(line[3..6], [name.to_owned(), bits.to_string(), cbc.to_owned()]);
        let suite = registry.find(name).unwrap();
        let id = SuiteId { suite, size: KeySize::from_bits(bits).unwrap() };
        let [key, iv] = [6, 7].map(|column| Zeroizing::new(unhex(&line[column])));
        let chaining = if cbc == "chain" { Chaining::Chain } else { Chaining::Restart };
        let keys = SessionKeys { key, iv };
        let rules = [MacRule::PerMessage];
        let mut opener = Opener::new(id, &keys, &rules, chaining, Strip::Both, 4096).unwrap();
        for (n, text) in ["one", "two"].iter().enumerate() {
            opener.push(&unhex(item(&ended.stderr, "ciphertext", n)));
            opener.push(item(&ended.stderr, "HMAC", n).as_bytes());
            assert_eq!(opener.next_message().unwrap().unwrap(), text.as_bytes(), "{name}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_key_log_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new();
    let open_to_all = folder.file("old.log", "# mine\n");
    std::fs::set_permissions(&open_to_all, PermissionsExt::from_mode(0o644)).unwrap();
    for path in [open_to_all, folder.path().join("new.log")] {
        let ended = run(&["demo", "-m", "x", "--keylog", path.to_str().unwrap()], b"");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        // Both sides of the demo write the same.
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("CLASSIC ")).collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{text}");
    }
}

#[test]
fn a_key_log_that_cannot_be_written_is_said_at_once() {
    let ended = run(&["server", "--port", "0", "--keylog", "/no/such/folder/keys.log"], b"");
    assert_eq!(ended.code, Some(9));
    assert_eq!(
        ended.stderr,
        "vpn: cannot write the key log /no/such/folder/keys.log: there is no such folder\n"
    );
}

/// A session of our client with other settings than our server's.
fn disagree(server: &[&str], theirs: &str, client: &[&str], ours: &str) -> (Server, Ended) {
    let server = Server::with_config(&format!("{SHIPPED}\n{theirs}"), server);
    let folder = TempDir::new();
    let config = folder.file("c.toml", format!("{SHIPPED}\n{ours}"));
    let texts = ["-m", "hello", "-m", "the second text", "-m", "bye"];
    let args = [&["--config", config.to_str().unwrap()], client, &texts].concat();
    let ended = server.client(&args, b"");
    (server, ended)
}

#[test]
fn a_server_finds_the_hmac_rule_of_its_client() {
    let (server, ended) =
        disagree(&["--dialect", "spec", "--explain"], "", &["--dialect", "capture"], "");
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    server.log.until("it failed: bad HMAC");
    let advice = server.log.next();
    assert!(
        advice.contains(
            "[classic] mac = \"cumulative\" would have made it work (or --dialect capture)"
        ),
        "{advice}"
    );
}

#[test]
fn a_client_suspects_the_hmac_rule() {
    let (_server, ended) =
        disagree(&["--dialect", "spec"], "", &["--explain"], "[classic]\nmac = 'cumulative'\n");
    assert_in_order(
        &ended.stderr,
        &[
            "it failed: the server refused: 'Bad HMAC'",
            "[classic] mac = \"per-message\" may make it work",
        ],
    );
}

#[test]
fn a_server_finds_the_chaining_of_its_client() {
    let (server, ended) = disagree(&["--explain"], "", &[], "[classic]\ncbc = 'restart'\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let advice = server.log.until("advice");
    assert!(advice.contains("[classic] cbc = \"restart\" would have made it work"), "{advice}");
}

#[test]
fn a_client_suspects_the_chaining() {
    let (_server, ended) = disagree(&[], "[classic]\ncbc = 'restart'\n", &["--explain"], "");
    assert_in_order(
        &ended.stderr,
        &["message 2", "not our text reversed", "[classic] cbc = \"restart\" may"],
    );
}

#[test]
fn the_group_of_the_other_side_is_guessed_from_its_number() {
    let (server, ended) = disagree(&["--explain"], "", &["--explain", "--group", "14"], "");
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    // The server's number is longer than any of the client's group.
    assert_in_order(&ended.stderr, &["it failed: ", "[classic] group = 18 may make it work"]);
    // The client's is shorter than nearly all of the server's group.
    let advice = server.log.until("advice");
    assert!(advice.contains("[classic] group = 14 may make it work"), "{advice}");
}

/// A client that goes away when it has read our choice.
fn goes_away(args: &[&str], proposal: &[u8]) -> String {
    let server = Server::start(&[&["--explain"], args].concat());
    let mut stream = server.connect();
    stream.write_all(proposal).unwrap();
    assert!(stream.read(&mut [0; 64]).unwrap() > 0);
    drop(stream);
    server.log.until("it failed: the peer closed the connection");
    server.log.next()
}

#[test]
fn a_client_that_leaves_at_the_choice_wants_another_form_of_it() {
    let proposal = b"ProposedCiphers:AES:[256]";
    let advice = goes_away(&[], proposal);
    assert!(
        advice.contains("[classic] separator = \",\" may make it work (or --dialect capture)"),
        "{advice}"
    );
    let advice = goes_away(&["--dialect", "capture"], proposal);
    assert!(
        advice.contains("[classic] separator = \":\" may make it work (or --dialect spec)"),
        "{advice}"
    );
    let advice = goes_away(&["--dialect", "spec"], b"ProposedCiphers:AES:[256]\n");
    assert!(
        advice.contains("[classic] line_end = \"lf\" may make it work (or --dialect auto)"),
        "{advice}"
    );
}

#[test]
fn a_server_that_waits_for_a_line_is_suspected() {
    let (listener, port) = listener();
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        // Until the client gives up.
        while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    });
    let folder = TempDir::new();
    let config = folder.file("c.toml", format!("{SHIPPED}\n[limits]\nhandshake_seconds = 1\n"));
    let args = ["--config", config.to_str().unwrap(), "--dialect", "spec", "--explain", "-m", "x"];
    let ended = client_of(port, &args, b"");
    server.join().unwrap();
    assert_eq!(ended.code, Some(3));
    assert_in_order(
        &ended.stderr,
        &[
            "it failed: the handshake was not over in time",
            "[classic] line_end = \"lf\" may make it work (or --dialect lines)",
            "vpn: the handshake was not over in time",
        ],
    );
}

#[test]
fn words_of_a_peer_are_escaped_in_the_commentary() {
    let server = Server::start(&["--explain"]);
    let mut stream = server.connect();
    stream.write_all(b"ProposedCiphers:\x1b]0;x\x07:[1]\n").unwrap();
    let line = server.log.until("ProposedCiphers:");
    assert!(line.contains("\\x1b]0;x\\x07") && !line.contains('\x1b'), "{line}");
    drop(stream);
}
