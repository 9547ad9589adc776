//! Hostile and broken peers get a word, the log says what they did, and nobody else notices.

use std::io::{Read, Write};
use std::time::Instant;

use vpn_proto::Group;
use vpn_proto::classic::{Event, Handshake};

use crate::support::classic::{established, params};
use crate::support::{
    DEADLINE, Ended, SHIPPED, Server, TempDir, accept, client_of, listener, read_to_end,
};

const PROPOSAL: &[u8] = b"ProposedCiphers:AES:[128,192,256]";
const NO_PROPOSAL: &str = "Expected ProposedCiphers:NAME:[BITS,...],...";
const NO_SHARE: &str = "Expected DHMKE:NUMBER";

/// Sends bytes at once and returns everything the server says until it closes.
fn say(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    String::from_utf8(read_to_end(&mut stream)).unwrap()
}

#[test]
fn bad_proposals_are_told_what_was_expected() {
    let server = Server::start(&[]);
    let cases: &[(&[u8], &str, &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_PROPOSAL, "GET / HTTP/1.1"),
        (b"\n", NO_PROPOSAL, "not a proposal"),
        (b"ProposedCiphers:\n", NO_PROPOSAL, "not a proposal"),
        (b"ProposedCiphers:AES:[256", NO_PROPOSAL, "a list of key sizes ends with ]"),
        (b"ProposedCiphers:AES:256", NO_PROPOSAL, "a cipher is written"),
        (b"ProposedCiphers:AES:[-256]", NO_PROPOSAL, "a key size is a number"),
        (b"ProposedCiphers:AES:[99999999999999999999]", NO_PROPOSAL, "a key size is a number"),
        (b"ProposedCiphers:AES:[256],,DES:[56]\n", NO_PROPOSAL, "a cipher name has"),
        (b"ProposedCiphers:A\x1b[2JES:[256]\n", NO_PROPOSAL, "A\\x1b[2JES"),
        (b"ProposedCiphers:\xff\xfe:[256]\n", NO_PROPOSAL, "\\xff\\xfe"),
        (b"DHMKE:5\n", NO_PROPOSAL, "DHMKE:5"),
        (b"ProposedCiphers:AES:[]", "Could not agree on a cipher", "no cipher in common"),
        (b"ProposedCiphers:ROT13:[8],XOR:[0]", "Could not agree on a cipher", "ROT13:[8],XOR:[0]"),
        (b"ProposedCiphers:ROT13:[8]\n", "Could not agree on a cipher\n", "no cipher in common"),
    ];
    for (bytes, words, logged) in cases {
        let shown = bytes.escape_ascii();
        assert_eq!(say(&server, bytes).trim_end(), words.trim_end(), "{shown}");
        server.log.until(logged);
    }
    let mut huge = PROPOSAL.to_vec();
    huge.truncate(huge.len() - 1);
    huge.resize(5 * 1024, b'1');
    assert_eq!(say(&server, &huge), "Expected at most 4096 bytes");
    server.log.until("more than 4096 bytes");
    server.assert_alive();
}

#[test]
fn a_cipher_named_twice_counts_with_all_its_sizes() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"ProposedCiphers:AES:[256],AES:[128]").unwrap();
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ChosenCipher:AES:256");
}

/// Negotiates, sends this as public value, and returns what the server says then.
fn exchange(server: &Server, share: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(PROPOSAL).unwrap();
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(share).unwrap();
    String::from_utf8(read_to_end(&mut stream)).unwrap()
}

#[test]
fn bad_public_values_are_told_what_was_expected() {
    let server = Server::start(&[]);
    let prime = Group::Modp8192.prime();
    let number = |n: &num_bigint::BigUint| format!("DHMKE:{n}\n");
    let range = "Expected another public value: the public value is not between 3 and p-2";
    let residue = "Expected another public value: the public value is not a quadratic residue";
    let cases = [
        ("DHMKE:\n".to_owned(), NO_SHARE),
        ("DHMKE:+5\n".to_owned(), NO_SHARE),
        ("DHMKE:-5\n".to_owned(), NO_SHARE),
        ("DHMKE:5 5\n".to_owned(), NO_SHARE),
        ("DHMKE:0x65\n".to_owned(), NO_SHARE),
        ("DHMKE 5\n".to_owned(), NO_SHARE),
        ("nonsense\n".to_owned(), NO_SHARE),
        (format!("DHMKE:{}\n", "1".repeat(2468)), NO_SHARE),
        (format!("DHMKE:{}", "1".repeat(4000)), NO_SHARE),
        ("DHMKE:0\n".to_owned(), range),
        ("DHMKE:1\n".to_owned(), range),
        ("DHMKE:2\n".to_owned(), range),
        ("DHMKE:0002\n".to_owned(), range),
        (number(&(prime - 1u8)), range),
        (number(prime), range),
        // Complete by silence, not by a line end.
        ("DHMKE:19".to_owned(), residue),
        (number(&(prime - 2u8)), residue),
    ];
    for (share, words) in cases {
        assert_eq!(exchange(&server, share.as_bytes()), words, "{share:.40}");
        server.log.until("public value");
    }
    server.assert_alive();
}

#[test]
fn silent_and_slow_peers_are_cut_off() {
    let config = format!("{SHIPPED}\n[limits]\nhandshake_seconds = 3\n");
    let server = Server::with_config(&config, &[]);
    let mut silent = server.connect();
    // One byte whenever the last one had time to arrive, for as long as the server listens.
    let mut slow = server.connect();
    let start = Instant::now();
    slow.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    for byte in PROPOSAL.iter().cycle() {
        if slow.write_all(&[*byte]).is_err() || matches!(slow.read(&mut [0; 64]), Ok(0)) {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "nobody cut the slow peer off");
    }
    assert_eq!(read_to_end(&mut silent), b"");
    server.log.until_all(vec!["the handshake was not over in time"; 2]);
    server.assert_alive();
}

#[test]
fn bad_messages_end_their_session_and_no_other() {
    type Edit = fn(&mut Vec<u8>);
    let cases: &[(&str, Edit, &str, &str)] = &[
        ("a flipped bit", |m| m[3] ^= 1, "Bad HMAC", "bad HMAC"),
        ("a flipped bit in the tag", |m| m[20] ^= 0x40, "Bad HMAC", "bad HMAC"),
        ("the tag first", |m| m.rotate_left(16), "Bad HMAC", "bad HMAC"),
        ("an upper-case tag", |m| m[16..].make_ascii_uppercase(), "Bad HMAC", "bad HMAC"),
        (
            "half a block",
            |m| m.drain(..1).for_each(|_: u8| ()),
            "Expected ciphertext in whole blocks of 16 bytes",
            "15 bytes of ciphertext",
        ),
    ];
    let server = Server::start(&[]);
    // All at once, for the server waits for a while before it says that an HMAC is bad.
    let streams: Vec<_> = cases
        .iter()
        .map(|(_, edit, ..)| {
            let (mut stream, mut session) = established(&server);
            let mut message = session.send("hello", Instant::now()).unwrap();
            edit(&mut message);
            stream.write_all(&message).unwrap();
            stream
        })
        .collect();
    for ((name, _, words, _), mut stream) in cases.iter().zip(streams) {
        assert_eq!(String::from_utf8(read_to_end(&mut stream)).unwrap(), *words, "{name}");
    }
    server.log.until_all(cases.iter().map(|(.., logged)| *logged).collect());
    server.assert_alive();
    // None of their texts was printed: the first one is that of the last client.
    assert_eq!(server.out.until("Received: "), "Received: still there?");
}

#[test]
fn a_message_without_an_end_is_bounded() {
    let server = Server::start(&[]);
    let (mut stream, _session) = established(&server);
    // The server stops reading long before the end.
    let _ = stream.write_all(&vec![0xa5; 1 << 20]);
    let mut words = Vec::new();
    let _ = stream.read_to_end(&mut words);
    assert_eq!(String::from_utf8(words).unwrap(), "Expected an HMAC within 65536 bytes");
    server.log.until("no HMAC within the longest message");
    server.assert_alive();
    #[cfg(target_os = "linux")]
    assert!(server.peak_memory() < 64 * 1024, "{} KiB", server.peak_memory());
}

#[test]
fn an_unfinished_message_is_cut_off() {
    let config = format!("{SHIPPED}\n[limits]\nmessage_seconds = 1\n");
    let server = Server::with_config(&config, &[]);
    let (mut stream, _session) = established(&server);
    stream.write_all(&[0xa5; 40]).unwrap();
    assert_eq!(read_to_end(&mut stream), b"Expected the rest of a message");
    server.log.until("40 bytes and then no end");
    server.assert_alive();
}

#[test]
fn text_that_is_not_utf8_is_answered_byte_by_byte() {
    let server = Server::start(&[]);
    let (mut stream, mut session) = established(&server);
    // The library's client sends text only; so take the first message's place with raw bytes.
    let good = session.send("ok", Instant::now()).unwrap();
    stream.write_all(&good).unwrap();
    let mut reply = [0; 2];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"ko");
    let bytes = session.danger_send_bytes(b"a\xff\xfeb").unwrap();
    stream.write_all(&bytes).unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"b\xfe\xffa");
    server.log.until("not UTF-8");
    assert_eq!(server.out.until("xff"), "Received: a\\xff\\xfeb");
}

#[test]
fn a_disconnect_anywhere_leaves_the_server_serving() {
    let server = Server::start(&[]);
    for cut in 0..=PROPOSAL.len() {
        drop_after(&server, &[&PROPOSAL[..cut]]);
    }
    let share = format!("DHMKE:{}", "5".repeat(2466));
    for cut in (0..share.len()).step_by(97) {
        drop_after(&server, &[PROPOSAL, &share.as_bytes()[..cut]]);
    }
    let (mut stream, mut session) = established(&server);
    let message = session.send("hello", Instant::now()).unwrap();
    for cut in (1..message.len()).step_by(13) {
        let (mut stream, mut session) = established(&server);
        let message = session.send("hello", Instant::now()).unwrap();
        stream.write_all(&message[..cut]).unwrap();
        drop(stream);
        server.log.until(&format!("inside a message, {cut} bytes in"));
    }
    // The session that has been open since is still served.
    stream.write_all(&message).unwrap();
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"olleh");
    server.assert_alive();
}

fn drop_after(server: &Server, pieces: &[&[u8]]) {
    let mut stream = server.connect();
    for piece in pieces {
        stream.write_all(piece).unwrap();
    }
    drop(stream);
}

/// A server that follows a script: for each step, waits for something and says this.
fn scripted(steps: Vec<Vec<u8>>, args: &[&str], input: &[u8]) -> Ended {
    let (listener, port) = listener();
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut bytes = [0; 8192];
        for step in steps {
            assert!(stream.read(&mut bytes).unwrap() > 0, "the client said nothing");
            if step.is_empty() {
                // Silence, until the client gives up.
                while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
                return;
            }
            stream.write_all(&step).unwrap();
        }
    });
    let ended = client_of(port, args, input);
    server.join().unwrap();
    ended
}

#[test]
fn bad_servers_are_seen_through() {
    let chosen = b"ChosenCipher:AES:256".to_vec();
    let cases: Vec<(Vec<Vec<u8>>, i32, &str)> = vec![
        (
            vec![b"Could not agree on a cipher".to_vec()],
            4,
            "refused: 'Could not agree on a cipher'",
        ),
        (vec![b"Error \x1b[31m\n".to_vec()], 4, "'Error \\x1b[31m'"),
        (vec![b"ChosenCipher:None:None".to_vec()], 4, "'ChosenCipher:None:None'"),
        (vec![b"ChosenCipher:CAST:128".to_vec()], 4, "CAST128, which was not offered"),
        (vec![b"ChosenCipher:AES:512".to_vec()], 4, "AES512, which was not offered"),
        (vec![vec![b'x'; 5000]], 4, "more than 4096 bytes"),
        (vec![chosen.clone(), b"DHMKE:1".to_vec()], 4, "not between 3 and p-2"),
        (vec![chosen.clone(), b"DHMKE:19\n".to_vec()], 4, "not a quadratic residue"),
        (vec![chosen.clone(), b"Go away".to_vec()], 4, "refused: 'Go away'"),
        (vec![chosen, b"DHMKE:x".to_vec()], 4, "is not DHMKE:NUMBER"),
    ];
    for (steps, code, words) in cases {
        let ended = scripted(steps, &["-m", "x"], b"");
        assert_eq!(ended.code, Some(code), "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
        assert!(!ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'));
    }
}

#[test]
fn a_server_that_closes_at_once_is_named() {
    let (listener, port) = listener();
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        // Read first, or the close would be a reset.
        stream.read(&mut [0; 4096]).unwrap()
    });
    let ended = client_of(port, &["-m", "x"], b"");
    assert!(server.join().unwrap() > 0);
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("closed the connection while it owed us the server's choice"));
    assert!(ended.stderr.contains("vpn: hint: many servers close without a word"));
}

#[test]
fn a_silent_server_is_given_up() {
    let folder = TempDir::new();
    let config = folder.file("c.toml", format!("{SHIPPED}\n[limits]\nhandshake_seconds = 1\n"));
    let args = ["--config", config.to_str().unwrap(), "-m", "x"];
    let ended = scripted(vec![Vec::new()], &args, b"");
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("not over in time"), "{}", ended.stderr);
}

/// A session of which the client sees a server that answers the first message with `answer`.
fn answered_with(answer: &'static [u8]) -> Ended {
    let (listener, port) = listener();
    let server = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let plan = params();
        let mut server = vpn_proto::classic::ServerHandshake::new(plan, &mut rand::rng());
        let mut bytes = [0; 8192];
        while server.take_session().is_none() {
            while let Some(out) = server.poll_transmit() {
                stream.write_all(&out).unwrap();
            }
            match server.poll_event() {
                Some(Event::Compute(task)) => server.handle_outcome(task.run()).unwrap(),
                Some(_) => {}
                None => {
                    let n = stream.read(&mut bytes).unwrap();
                    server.handle_input(&bytes[..n], Instant::now()).unwrap();
                }
            }
        }
        while let Some(out) = server.poll_transmit() {
            stream.write_all(&out).unwrap();
        }
        assert!(stream.read(&mut bytes).unwrap() > 0);
        stream.write_all(answer).unwrap();
    });
    let ended = client_of(port, &["-q", "-m", "hello"], b"");
    server.join().unwrap();
    ended
}

#[test]
fn answers_other_than_a_reply_are_told_apart() {
    let ended = answered_with(b"Bad HMAC");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), ""));
    assert!(ended.stderr.contains("the server refused: 'Bad HMAC'"), "{}", ended.stderr);
    let ended = answered_with(b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), ""));
    assert_eq!(ended.stderr, "vpn: the server closed the connection\n");
    let ended = answered_with(b"\x1b]0;pwned\x07\r\nnext\xff");
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "\\x1b]0;pwned\\x07\\r\\nnext\\xff\n")
    );
}
