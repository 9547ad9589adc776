//! Classic handshakes between two sides in memory, and handshakes that fail.

use std::time::Instant;

use num_bigint::BigUint;

use super::{ClientHandshake, Handshake, ServerHandshake};
use crate::classic::dialect::{Dialect, DialectPlan, LineEnd};
use crate::classic::error::{HandshakeError, SessionError};
use crate::classic::io::Event;
use crate::classic::note::{Note, Telling};
use crate::classic::params::{ClassicParams, HANDSHAKE_LIMIT, Timing};
use crate::classic::session::{ClientSession, ServerSession};
use crate::dh::{DhOutcome, DhTask, Group, PublicValueError};
use crate::fixtures::aes;

fn params(plan: DialectPlan) -> ClassicParams {
    let base = Dialect { group: Group::Modp2048, ..plan.base };
    ClassicParams {
        enabled: aes(&[128, 256]),
        plan: DialectPlan { base, ..plan },
        timing: Timing::default(),
        message_limit: 1024,
        telling: Telling::Everything,
    }
}

fn client(plan: DialectPlan) -> ClientHandshake {
    ClientHandshake::new(params(plan), &mut rand::rng(), Instant::now())
}

fn server(plan: DialectPlan) -> ServerHandshake {
    ServerHandshake::new(params(plan), &mut rand::rng())
}

/// Runs all tasks of a side and returns the bytes to send, and the notes.
fn work(side: &mut impl Handshake) -> (Vec<u8>, Vec<Note>) {
    let (mut bytes, mut notes) = (Vec::new(), Vec::new());
    loop {
        match side.poll_event() {
            Some(Event::Compute(task)) => side.handle_outcome(task.run()).unwrap(),
            Some(Event::Note(note)) => notes.push(note),
            Some(Event::Chosen(id)) => assert_eq!(id.to_string(), "AES256"),
            None => break,
        }
    }
    while let Some(message) = side.poll_transmit() {
        bytes.extend(message);
    }
    (bytes, notes)
}

/// Lets the time of the next timeout come.
fn wait(side: &mut impl Handshake) -> Result<(), HandshakeError> {
    side.handle_timeout(side.poll_timeout().expect("a timeout is set"))
}

fn established(plan: DialectPlan) -> (ClientSession, ServerSession) {
    let (mut client, mut server, now) = (client(plan), server(plan), Instant::now());
    for _ in 0..4 {
        let (bytes, _) = work(&mut client);
        server.handle_input(&bytes, now).unwrap();
        if work_is_pending(&server) {
            wait(&mut server).unwrap();
        }
        let (bytes, _) = work(&mut server);
        client.handle_input(&bytes, now).unwrap();
    }
    (client.take_session().unwrap(), server.take_session().unwrap())
}

fn work_is_pending(side: &impl Handshake) -> bool {
    side.poll_timeout().is_some()
}

const SPEC: DialectPlan = DialectPlan::fixed(Dialect::SPEC);

#[test]
fn texts_and_replies_of_an_established_pair() {
    let (mut client, mut server) = established(DialectPlan::fixed(Dialect::LINES));
    assert_eq!(client.suite().to_string(), server.suite().to_string());
    assert_eq!(client.dialect().line_end, LineEnd::Lf);
    assert_eq!((server.dialect().line_end, client.longest_text()), (LineEnd::Lf, 1024));
    let now = Instant::now();
    let message = client.send("hello", now).unwrap();
    server.handle_input(&message, now);
    assert_eq!(server.next_text(now).unwrap().unwrap(), b"hello");
    assert!(server.is_between_messages());
    let reply = server.reply(b"olleh");
    server.replied(&reply, b"olleh");
    client.handle_input(&reply, now);
    assert_eq!(client.next_reply(now).unwrap().unwrap(), b"olleh");
    let notes = |poll: &mut dyn FnMut() -> Option<Note>| std::iter::from_fn(poll).count();
    assert_eq!(notes(&mut || client.poll_note()), 2);
    assert_eq!(notes(&mut || server.poll_note()), 2);
    let long = client.send(&"x".repeat(1025), now).unwrap_err();
    assert_eq!(long, SessionError::TextTooLong { len: 1025, limit: 1024 });
    // Ends of a session.
    assert_eq!((server.handle_eof(), client.on_unasked_end()), (Ok(()), SessionError::Closed));
    client.handle_input(b"Bad HMAC\n", now);
    let refused = SessionError::Refused { text: b"Bad HMAC\n".to_vec() };
    assert_eq!(client.send("more", now).unwrap_err(), refused);
}

#[test]
fn a_server_session_names_what_is_wrong() {
    let now = Instant::now();
    let case = |bytes: &[u8]| {
        let (_, mut server) = established(SPEC);
        server.handle_input(bytes, now);
        assert_eq!(server.next_text(now), Ok(None));
        server
    };
    let digits = [&[b'z'; 16][..], &[b'0'; 64]].concat();
    let mut server = case(&digits);
    assert_eq!(server.handle_timeout(now), Ok(()));
    let bad = SessionError::BadHmac { pending: 80 };
    let due = server.poll_timeout().unwrap();
    assert_eq!(server.handle_timeout(due), Err(bad.clone()));
    assert_eq!((server.next_text(now), server.handle_eof()), (Err(bad.clone()), Err(bad)));
    let mut server = case(&digits[1..]);
    let misaligned = SessionError::Misaligned { ciphertext: 15, block: 16 };
    let due = server.poll_timeout().unwrap();
    assert_eq!(server.handle_timeout(due), Err(misaligned));
    let mut server = case(&digits[..20]);
    let due = server.poll_timeout().unwrap();
    assert_eq!(server.handle_timeout(due), Err(SessionError::TimedOut { pending: 20 }));
    assert_eq!(case(&digits[..20]).handle_eof(), Err(SessionError::Truncated { pending: 20 }));
    assert_eq!(case(&[b'z'; 80]).handle_eof(), Err(SessionError::BadHmac { pending: 80 }));
}

#[test]
fn a_client_session_names_what_is_wrong() {
    let now = Instant::now();
    let asked = || {
        let (mut client, _) = established(SPEC);
        client.send("hello", now).unwrap();
        client
    };
    let mut client = asked();
    client.handle_eof();
    assert_eq!(client.next_reply(now), Err(SessionError::Closed));
    let mut client = asked();
    client.handle_input(b"Expected a smile", now);
    assert_eq!(client.next_reply(now), Ok(None));
    let due = client.poll_timeout().unwrap();
    let text = b"Expected a smile".to_vec();
    assert_eq!(client.next_reply(due), Err(SessionError::Refused { text }));
    let mut client = asked();
    client.handle_input(&[b'x'; 1100], now);
    assert!(matches!(client.next_reply(now), Err(SessionError::Open(_))));
    let mut client = asked();
    client.handle_input(b"other text\n", now);
    let due = client.poll_timeout().unwrap();
    assert_eq!(client.next_reply(due).unwrap().unwrap(), b"other text");
    assert_eq!(client.next_reply(due), Ok(None));
    client.handle_input(b"late", now);
    assert_eq!(client.on_unasked_end(), SessionError::Refused { text: b"late".to_vec() });
    assert_eq!(client.danger_send_bytes(&[0xff; 3]).unwrap().len(), 80);
}

#[test]
fn a_server_refuses_and_the_error_stays() {
    let refused = |input: &[u8], expected: &str| {
        let (mut server, now) = (server(DialectPlan::AUTO), Instant::now());
        assert!(server.wants_input());
        let error = server.handle_input(input, now).unwrap_err();
        assert_eq!(String::from_utf8(work(&mut server).0).unwrap(), expected);
        assert_eq!(server.handle_input(b"", now), Err(error.clone()));
        assert_eq!(server.handle_eof(), Err(error.clone()));
        let outcome = DhOutcome::Checked(Err(PublicValueError::OutOfRange));
        assert_eq!(server.handle_outcome(outcome), Err(error.clone()));
        assert!(!server.wants_input() && server.take_session().is_none());
        error
    };
    let proposal = "Expected ProposedCiphers:NAME:[BITS,...],...";
    assert!(matches!(refused(b"GET / HTTP/1.1", proposal), HandshakeError::Offer { .. }));
    assert!(matches!(refused(b"ProposedCiphers:\n", proposal), HandshakeError::Offer { .. }));
    let none = refused(b"ProposedCiphers:DES:[56]\n", "Could not agree on a cipher\n");
    assert!(matches!(none, HandshakeError::NoSuiteInCommon { line_end: LineEnd::Lf, .. }));
    let long = [b"ProposedCiphers:".as_slice(), &[b'A'; HANDSHAKE_LIMIT]].concat();
    let limit = HANDSHAKE_LIMIT;
    assert_eq!(refused(&long, "Expected at most 4096 bytes"), HandshakeError::TooLong { limit });
    let share = refused(
        b"ProposedCiphers:AES:[256]\nhello\n",
        "ChosenCipher:AES,256\nExpected DHMKE:NUMBER\n",
    );
    assert!(matches!(share, HandshakeError::KeyShare { .. }));
    let digits = [b"ProposedCiphers:AES:[256]\nDHMKE:".as_slice(), &[b'7'; 618]].concat();
    let share = refused(&digits, "ChosenCipher:AES,256\nExpected DHMKE:NUMBER\n");
    assert_eq!(share, HandshakeError::KeyShareTooLong { limit: 617 });
}

#[test]
fn a_public_value_outside_the_group_is_refused() {
    let (mut server, now) = (server(DialectPlan::AUTO), Instant::now());
    server.handle_input(b"ProposedCiphers:AES:[256]\nDHMKE:1\n", now).unwrap();
    let mut error = None;
    while let Some(event) = server.poll_event() {
        if let Event::Compute(task) = event {
            let name = task.name();
            if let Err(failed) = server.handle_outcome(task.run()) {
                error = Some((name, failed));
            }
        }
    }
    let expected = HandshakeError::PublicValue(PublicValueError::OutOfRange);
    assert_eq!(error, Some(("check", expected)));
    let sent = String::from_utf8(work(&mut server).0).unwrap();
    assert!(sent.ends_with("the public value is not between 3 and p-2\n"), "{sent}");
}

#[test]
fn streams_that_end_early_name_what_was_awaited() {
    let closed = |awaited| Err(HandshakeError::Closed { awaited });
    let now = Instant::now();
    assert_eq!(server(SPEC).handle_eof(), closed("a proposal"));
    let mut whole = server(DialectPlan::AUTO);
    whole.handle_input(b"ProposedCiphers:AES:[256]", now).unwrap();
    assert_eq!(whole.handle_eof(), closed("our choice"));
    let mut cut = server(SPEC);
    cut.handle_input(b"ProposedCiphers:AES:[25", now).unwrap();
    assert!(matches!(cut.handle_eof(), Err(HandshakeError::Offer { .. })));
    let mut chosen = server(SPEC);
    chosen.handle_input(b"ProposedCiphers:AES:[256]\n", now).unwrap();
    assert_eq!(chosen.handle_eof(), closed("the key exchange"));
    assert_eq!(client(SPEC).handle_eof(), closed("the server's choice"));
    let mut chosen = client(DialectPlan::AUTO);
    chosen.handle_input(b"ChosenCipher:AES:256", now).unwrap();
    assert_eq!(chosen.handle_eof(), closed("the key exchange"));
    let mut waiting = client(DialectPlan::AUTO);
    waiting.handle_input(b"ChosenCipher:AES,256", now).unwrap();
    assert_eq!(waiting.handle_eof(), closed("the key exchange"));
}

#[test]
fn a_client_refuses_what_it_did_not_offer() {
    let after = |bytes: &[u8]| {
        let (mut client, now) = (client(SPEC), Instant::now());
        let error = client.handle_input(bytes, now).unwrap_err();
        // A client does not explain itself to the server.
        assert_eq!(client.poll_transmit(), None);
        assert_eq!(client.handle_eof(), Err(error.clone()));
        error
    };
    let (choice, offered) = ("DES356".to_owned(), "AES:[128,256]".to_owned());
    assert_eq!(after(b"ChosenCipher:DES3:56\n"), HandshakeError::NotOffered { choice, offered });
    let got = b"ChosenCipher:?".to_vec();
    assert_eq!(after(b"ChosenCipher:?\n"), HandshakeError::Choice { got });
    let text = b"Could not agree on a cipher".to_vec();
    assert_eq!(after(b"Could not agree on a cipher\n"), HandshakeError::Refused { text });
    let limit = HANDSHAKE_LIMIT;
    assert_eq!(after(&[b'x'; HANDSHAKE_LIMIT + 1]), HandshakeError::TooLong { limit });
    let text = b"busy".to_vec();
    assert_eq!(after(b"ChosenCipher:AES:256\nbusy\n"), HandshakeError::Refused { text });
    let long = [b"ChosenCipher:AES:256\n".as_slice(), &[b'x'; HANDSHAKE_LIMIT + 1]].concat();
    assert_eq!(after(&long), HandshakeError::TooLong { limit });
}

#[test]
fn a_silent_server_gets_a_line_feed() {
    let mut client = client(DialectPlan::AUTO);
    assert_eq!(client.handle_timeout(Instant::now()), Ok(()));
    work(&mut client);
    wait(&mut client).unwrap();
    assert_eq!(client.poll_transmit(), Some(b"\n".to_vec()));
    // Part of a choice ends by silence, and is then malformed.
    client.handle_input(b"ChosenCipher:", Instant::now()).unwrap();
    assert!(matches!(wait(&mut client), Err(HandshakeError::Choice { .. })));
}

#[test]
fn outcomes_that_nobody_asked_for_are_internal_errors() {
    let (mut server, now) = (server(DialectPlan::AUTO), Instant::now());
    server.handle_input(b"ProposedCiphers:AES:[256]\n", now).unwrap();
    let task = DhTask::Check(Group::Modp2048, BigUint::from(4u8));
    assert_eq!(server.handle_outcome(task.run()), Err(HandshakeError::Internal));
    let (client, _) = established(SPEC);
    assert!(format!("{client:?}").starts_with("ClientSession"));
}
