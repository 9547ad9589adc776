//! An attacker in between who edits lists, versions, refusals or first bytes gets no session that the two
//! sides did not agree on, and never the classic profile.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vpn_proto::sealed::{
    ClientConfig, ClientHello, Decision, Gated, HelloSent, Kex, Part, Ready, Reject, SealedError,
    ServerConfig, next_length,
};

use crate::support::adversary::{
    Gate, Hello, client_config, long, names, read_part, server_config, split_hello,
};
use crate::support::{Dice, Ended, Keys, Server, accept, client_of, connect, known_line, listener};

/// A ClientHello taken to pieces.
fn pieces(hello: &[u8]) -> Hello {
    let parsed = ClientHello::parse(hello).unwrap();
    let text = |list: &[String]| names(&list.iter().map(String::as_str).collect::<Vec<_>>());
    let (kex, suites) = (text(&parsed.kex), text(&parsed.suites));
    let fixed = 9 + 32 + kex.len() + suites.len() + 1 + 2 + parsed.share.len();
    let extensions = hello[fixed..hello.len() - 32].to_vec();
    let gate = Gate::Bytes(parsed.gate.to_vec());
    let (random, index) = (parsed.random, parsed.kex_index);
    let whole = Hello { random, kex, suites, index, extensions, gate, ..Hello::new(&parsed.share) };
    assert_eq!(whole.encode(), hello);
    whole
}

/// A list of names without one, or in another order, or with another one.
fn other_list(list: &mut Vec<u8>, dice: &mut Dice) {
    let mut read = Vec::new();
    let mut rest = &list[1..];
    while let Some((length, more)) = rest.split_first() {
        let (name, more) = more.split_at(usize::from(*length));
        read.push(str::from_utf8(name).unwrap().to_owned());
        rest = more;
    }
    let at = dice.below(read.len());
    match dice.below(4) {
        0 if read.len() > 1 => {
            read.remove(at);
        }
        1 => {
            let other = dice.below(read.len());
            read.swap(at, other);
        }
        2 => read[at] = "aes-128-cbc".to_owned(),
        _ => read.insert(at, ["ffdhe3072", "blowfish-448-cbc", "x"][dice.below(3)].to_owned()),
    }
    *list = names(&read.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Flips a bit somewhere.
fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let at = dice.below(bytes.len());
    bytes[at] ^= 1 << dice.below(8);
}

/// Edits a ClientHello. Anybody who knows the server's key can make a gate for it.
fn edit_hello(hello: &[u8], server_key: &[u8; 32], dice: &mut Dice) -> Vec<u8> {
    let mut pieces = pieces(hello);
    match dice.below(9) {
        0 | 1 => other_list(&mut pieces.kex, dice),
        2 | 3 => other_list(&mut pieces.suites, dice),
        4 => pieces.index ^= 1,
        5 => flip(&mut pieces.random, dice),
        6 => pieces.extensions = long(&[]),
        7 => flip(&mut pieces.preface, dice),
        _ => {
            let mut bytes = pieces.encode();
            flip(&mut bytes, dice);
            return bytes;
        }
    }
    if dice.below(4) > 0 {
        pieces.gate = Gate::Keyed(server_key.to_vec(), "pub");
    }
    pieces.encode()
}

/// Edits a ServerHello and what comes with it, or says something in its place.
fn edit_flight(flight: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut flight = flight.to_vec();
    let length = split_hello(&flight).0.len();
    match dice.below(9) {
        0 => flight[41] ^= 1,
        1 => flight[42] ^= 1,
        2 => flight[42] = dice.next().to_le_bytes()[0] | 2,
        3 => flip(&mut flight[..5], dice),
        4 => flip(&mut flight[..length], dice),
        5 => flip(&mut flight[length..], dice),
        6 => flight = forged_reject(dice),
        7 => flight = [forged_reject(dice), flight].concat(),
        _ => {
            let words: [&[u8]; 4] = [
                b"ChosenCipher:AES:256\n",
                b"ChosenCipher:AES,256DHMKE:25\n",
                b"Could not agree on a cipher",
                b"ProposedCiphers:AES:[256]\n",
            ];
            flight = words[dice.below(4)].to_vec();
        }
    }
    flight
}

fn forged_reject(dice: &mut Dice) -> Vec<u8> {
    let kex = vec![["ffdhe3072", "ffdhe8192", "x25519-mlkem768", "x"][dice.below(4)].to_owned()];
    let suites = vec!["aes-128-cbc".to_owned()];
    let reject = match dice.below(3) {
        0 => Reject::Busy,
        1 => Reject::KexRetry { kex, suites },
        _ => Reject::NoCommonSuite { kex, suites },
    };
    reject.encode()
}

/// How far a handshake came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    is_edited: bool,
    /// The client took the server for who it is.
    is_verified: bool,
    is_established: bool,
}

/// One handshake in this process, edited at most once.
fn shake_hands(dice: &mut Dice, is_honest: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let is_gate_required = dice.below(2) == 0;
    // With a gate of its own, or on first contact.
    let server_key = client_config().server_key.filter(|_| is_gate_required || dice.below(2) == 0);
    let client = ClientConfig { server_key, ..client_config() };
    let server = ServerConfig { is_gate_required, ..server_config() };
    let key = server.identity.as_ref().unwrap().public_key();
    let (state, hello) =
        HelloSent::start(Arc::new(client), Kex::X25519MlKem768, &mut rand::rng()).unwrap();
    let edits_hello = !is_honest && dice.below(2) == 0;
    let mut sent = hello.clone();
    if edits_hello {
        while sent == hello {
            sent = edit_hello(&hello, &key, dice);
        }
        outcome.is_edited = true;
    }
    let to_server = match next_length(Part::Hello, &sent) {
        Ok(Some(length)) => sent[..length].to_vec(),
        _ => return outcome,
    };
    let (server, flight) = match Gated::on_hello(Arc::new(server), &to_server) {
        Ok(gated) => match gated.respond(&mut rand::rng()) {
            Ok((server, flight)) => (Some(server), flight),
            Err(_) => return outcome,
        },
        Err(refusal) => (None, refusal.answer.unwrap_or_default()),
    };
    let mut received = flight.clone();
    if !is_honest && !edits_hello {
        while received == flight {
            received = edit_flight(&flight, dice);
        }
        outcome.is_edited = true;
    }
    let Ok(Some(length)) = next_length(Part::Hello, &received) else { return outcome };
    let (first, rest) = received.split_at(length);
    let Ok(state) = state.on_first(first) else { return outcome };
    let Ok(Some(length)) = next_length(Part::Record, rest) else { return outcome };
    let Ok(state) = state.on_record(&rest[..length]) else { return outcome };
    outcome.is_verified = true;
    let (state, proof) = state.accept().unwrap();
    let Some(server) = server else { return outcome };
    let admit = |_| Decision::Admit(Ready::default());
    if let Ok((_, _, ready)) = server.on_record(&proof, admit) {
        outcome.is_established = true;
        assert!(state.on_record(&ready).is_ok());
    }
    outcome
}

#[test]
fn no_edited_handshake_becomes_a_session() {
    let seed = Dice::seed();
    let mut dice = Dice(seed);
    for number in 0..1000 {
        let outcome = shake_hands(&mut dice, false);
        let expected = Outcome { is_edited: true, ..Outcome::default() };
        assert_eq!(outcome, expected, "number {number} of VPN_SEED={seed}");
    }
    // What is not edited does.
    for _ in 0..20 {
        let expected = Outcome { is_edited: false, is_verified: true, is_established: true };
        assert_eq!(shake_hands(&mut dice, true), expected);
    }
}

#[test]
fn a_forged_retry_does_not_change_what_a_server_takes() {
    // The client believed it, and has a share for the second best of its list.
    let start = |kex| HelloSent::start(Arc::new(client_config()), kex, &mut rand::rng()).unwrap();
    let (state, hello) = start(Kex::Ffdhe3072);
    let refusal = Gated::on_hello(Arc::new(server_config()), &hello).unwrap_err();
    let error = state.on_first(&refusal.answer.unwrap()).unwrap_err();
    assert!(matches!(&error, SealedError::KexRetry { theirs, .. } if theirs.starts_with("x25519")));
    // Nor does a list that lacks the best one, with a gate for it.
    let (state, hello) = start(Kex::Ffdhe3072);
    let mut edited = pieces(&hello);
    edited.kex = names(&["ffdhe3072"]);
    edited.index = 0;
    edited.gate = Gate::Keyed(client_config().server_key.unwrap().to_vec(), "pub");
    let gated = Gated::on_hello(Arc::new(server_config()), &edited.encode()).unwrap();
    assert_eq!(gated.kex(), Kex::Ffdhe3072);
    let (_, mut flight) = gated.respond(&mut rand::rng()).unwrap();
    // The index is made to fit.
    flight[41] = 1;
    let (first, record) = split_hello(&flight);
    let error = state.on_first(first).unwrap().on_record(record).unwrap_err();
    assert_eq!(error, SealedError::BadRecord);
}

/// What the attacker in between does with one connection, given its number.
type Meddle = dyn Fn(usize, TcpStream, &dyn Fn() -> TcpStream) -> Vec<u8> + Send + Sync;

/// A real server, for real clients that reach it through an attacker.
struct Between {
    keys: Keys,
    server: Server,
    server_key: [u8; 32],
}

impl Between {
    fn new() -> Self {
        let keys = Keys::new();
        let (server, server_key) = (keys.server(&[]), keys.public("server").bytes);
        Self { keys, server, server_key }
    }

    /// Runs a client: how it ended, and everything that it said on each connection.
    fn client(&self, meddle: &Meddle) -> (Ended, Vec<Vec<u8>>) {
        let (listener, port) = listener();
        let line = known_line(&format!("127.0.0.1:{port}"), &self.keys.read("server.pub"));
        let known = self.keys.folder.file("known", line);
        let args = ["--sealed", "--identity", &self.keys.path("client"), "-q", "-m", "abc"];
        let known = ["--known-servers", known.to_str().unwrap()];
        let is_over = AtomicBool::new(false);
        let server = self.server.port;
        let connect_on = move || connect(server);
        std::thread::scope(|scope| {
            let between = scope.spawn(|| {
                let mut said = Vec::new();
                loop {
                    let stream = accept(&listener);
                    if is_over.load(Ordering::SeqCst) {
                        return said;
                    }
                    said.push(meddle(said.len(), stream, &connect_on));
                }
            });
            let ended = client_of(port, &[&args[..], &known].concat(), b"");
            is_over.store(true, Ordering::SeqCst);
            drop(connect(port));
            (ended, between.join().unwrap())
        })
    }
}

/// Carries bytes both ways until one side ends; what went up.
fn carry(client: &TcpStream, server: &TcpStream) -> Vec<u8> {
    let (mut up, mut down) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = server;
            let _ = std::io::copy(&mut from, &mut down);
            let _ = client.shutdown(Shutdown::Write);
        });
        let (mut from, mut said, mut bytes) = (client, Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            said.extend(&bytes[..length]);
            if up.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        said
    })
}

/// Reads on until the client ends.
fn hear_out(mut stream: TcpStream, mut said: Vec<u8>) -> Vec<u8> {
    let _ = stream.shutdown(Shutdown::Write);
    // What it has said counts, also if it goes away with a reset.
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        said.extend(&bytes[..length]);
    }
    said
}

/// Nothing but the sealed profile was spoken.
fn assert_sealed(said: &[Vec<u8>], context: &str) {
    // One more for another share, and one more because the server may be busy.
    assert!(!said.is_empty() && said.len() <= 3, "{context}: {} connections", said.len());
    for bytes in said {
        assert!(bytes.starts_with(b"\xf5VPN\x01"), "{context}: {bytes:?}");
        for word in [&b"ProposedCiphers"[..], b"DHMKE"] {
            assert!(!bytes.windows(word.len()).any(|w| w == word), "{context}: {bytes:?}");
        }
    }
}

#[test]
fn no_edited_connection_of_the_program_becomes_a_session() {
    let seed = Dice::seed();
    let between = Between::new();
    let key = between.server_key;
    for number in 0..40u64 {
        let (ended, said) = between.client(&move |at, mut stream, connect| {
            let mut dice = Dice(seed ^ (number << 8) ^ at as u64);
            let hello = read_part(&mut stream, Part::Hello);
            let mut server = connect();
            let mut sent = hello.clone();
            let edits_hello = dice.below(2) == 0;
            while edits_hello && sent == hello {
                sent = edit_hello(&hello, &key, &mut dice);
            }
            let mut flight = Vec::new();
            // It may wait for more, or be gone in the middle.
            let _ = server.write_all(&sent);
            let _ = server.shutdown(Shutdown::Write);
            let _ = server.read_to_end(&mut flight);
            // After a forged refusal the server may refuse a further try, truly.
            let is_refused = at >= 1 && flight.len() < 1000;
            if !edits_hello && !is_refused {
                flight = edit_flight(&flight, &mut dice);
            }
            let _ = stream.write_all(&flight);
            hear_out(stream, hello)
        });
        let context = format!("number {number} of VPN_SEED={seed}, {ended:?}");
        assert!(ended.stdout.is_empty() && matches!(ended.code, Some(3..=8 | 10)), "{context}");
        assert_sealed(&said, &context);
    }
    // A proxy that only carries does no harm.
    let (ended, said) = between.client(&|_, stream, connect| carry(&stream, &connect()));
    assert_eq!((ended.stdout.as_str(), ended.code), ("cba\n", Some(0)), "{}", ended.stderr);
    assert_sealed(&said, "carried");
    between.server.log.until("sealed session with");
}

#[test]
fn a_forged_retry_ends_where_the_honest_server_is() {
    let between = Between::new();
    let retry = |kex: &str| {
        let suites = vec!["aes-256-cbc".to_owned()];
        Reject::KexRetry { kex: vec![kex.to_owned()], suites }.encode()
    };
    for kex in ["ffdhe3072", "ffdhe8192"] {
        // First a forged one, then the server itself.
        let forged = retry(kex);
        let (ended, said) = between.client(&move |at, mut stream, connect| match at {
            0 => {
                let hello = read_part(&mut stream, Part::Hello);
                stream.write_all(&forged).unwrap();
                hear_out(stream, hello)
            }
            _ => carry(&stream, &connect()),
        });
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("wants another key exchange"), "{}", ended.stderr);
        assert_sealed(&said, kex);
        assert_eq!(said.len(), 2);
    }
    // Then an attacker that edits the second try too, so that the server takes the offer.
    let forged = retry("ffdhe3072");
    let key = between.server_key;
    let (ended, said) = between.client(&move |at, mut stream, connect| {
        let hello = read_part(&mut stream, Part::Hello);
        if at == 0 {
            stream.write_all(&forged).unwrap();
            return hear_out(stream, hello);
        }
        let mut edited = pieces(&hello);
        edited.kex = names(&["ffdhe3072"]);
        edited.index = 0;
        edited.gate = Gate::Keyed(key.to_vec(), "pub");
        let mut server = connect();
        server.write_all(&edited.encode()).unwrap();
        let mut answer = read_part(&mut server, Part::Hello);
        answer[41] = ClientHello::parse(&hello).unwrap().kex_index;
        let record = read_part(&mut server, Part::Record);
        stream.write_all(&[answer, record].concat()).unwrap();
        let said = carry(&stream, &server);
        [hello, said].concat()
    });
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("a record was altered"), "{}", ended.stderr);
    // Nothing but two hellos: no proof of who the client is.
    assert_sealed(&said, "in between");
    assert_eq!(split_hello(&said[1]).1, b"");
    between.server.log.until("the connection was cut");
}

#[test]
fn a_client_comes_back_once_to_a_server_that_closes_without_an_answer_or_is_busy() {
    let between = Between::new();
    for words in [Vec::new(), Reject::Busy.encode()] {
        let first = words.clone();
        let (ended, said) = between.client(&move |at, mut stream, connect| {
            if at > 0 {
                return carry(&stream, &connect());
            }
            let hello = read_part(&mut stream, Part::Hello);
            stream.write_all(&first).unwrap();
            hear_out(stream, hello)
        });
        assert_eq!((ended.stdout.as_str(), ended.code), ("cba\n", Some(0)), "{}", ended.stderr);
        assert_sealed(&said, "once");
        assert_eq!(said.len(), 2);
        let (ended, said) = between.client(&move |_, mut stream, _| {
            let hello = read_part(&mut stream, Part::Hello);
            stream.write_all(&words).unwrap();
            hear_out(stream, hello)
        });
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains("busy"), "{}", ended.stderr);
        assert_eq!(said.len(), 2, "{}", ended.stderr);
    }
}
