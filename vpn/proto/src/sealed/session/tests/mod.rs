//! Sessions between two sides in memory: services, data, limits, key exchanges and ends.

mod frames;

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{Event, Limits, Session};
use crate::fixtures::sessions;
use crate::sealed::alert::{Alert, Undelivered};
use crate::sealed::error::SealedError;
use crate::sealed::kex::{KexKeyPair, KexSecret};
use crate::sealed::record::content;
use crate::sealed::wire::{frame, framed};

/// Moves all records from one side to the other.
fn deliver(from: &mut Session, to: &mut Session) -> Result<(), SealedError> {
    let mut bytes = Vec::new();
    from.take_output(&mut bytes);
    to.handle_input(&bytes)
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Two sessions with an open service.
fn open(limits: Limits) -> (Session, Session) {
    let (mut client, mut server) = sessions(limits);
    client.open("message", b"x").unwrap();
    deliver(&mut client, &mut server).unwrap();
    server.reply_open(0, "ok").unwrap();
    deliver(&mut server, &mut client).unwrap();
    let (service, argument) = ("message".to_owned(), b"x".to_vec());
    assert_eq!(events(&mut server), [Event::Open { service, argument }]);
    assert_eq!(events(&mut client), [Event::OpenReply { status: 0, text: "ok".to_owned() }]);
    (client, server)
}

fn data(bytes: &[u8]) -> Event {
    Event::Data(Zeroizing::new(bytes.to_vec()))
}

/// Seals a record of any type and payload, as a faulty peer could.
fn forged(from: &mut Session, kind: u8, payload: &[u8]) -> Vec<u8> {
    from.sealer.seal(kind, payload, 1).unwrap()
}

#[test]
fn data_and_ends_go_both_ways() {
    let (mut client, mut server) = open(Limits::default());
    client.send(b"one").unwrap();
    client.send(b"two").unwrap();
    client.send_eof().unwrap();
    deliver(&mut client, &mut server).unwrap();
    assert!(server.has_event());
    assert_eq!(events(&mut server), [data(b"onetwo"), Event::Eof]);
    server.send(b"three").unwrap();
    server.send_eof().unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(events(&mut client), [data(b"three"), Event::Eof]);
    assert!(client.is_at_end() && server.is_at_end());
    assert_eq!(client.send(b"more"), Err(SealedError::Internal));
    assert_eq!(client.send_eof(), Err(SealedError::Internal));
    client.close(Alert::CloseNotify).unwrap();
    deliver(&mut client, &mut server).unwrap();
    assert_eq!((events(&mut server), server.is_closed()), (vec![Event::CloseRequested], true));
    server.close(Alert::CloseNotify).unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(events(&mut client), [Event::Closed]);
    assert_eq!((client.handle_eof(), server.handle_eof()), (Ok(()), Ok(())));
    // Later bytes are ignored, and a second close does nothing.
    assert_eq!((client.handle_input(&[1, 2]), client.close(Alert::Busy)), (Ok(()), Ok(())));
    assert_eq!(client.poll_transmit(), None);
}

#[test]
fn calls_in_a_wrong_order_are_refused() {
    let (mut client, mut server) = sessions(Limits::default());
    let internal = Err(SealedError::Internal);
    assert_eq!(client.send(b"x"), internal);
    assert_eq!(client.reply_open(0, ""), internal);
    assert_eq!(server.open("message", b""), internal);
    assert_eq!(server.reply_open(0, ""), internal);
    assert_eq!(client.open(&"s".repeat(256), b""), internal);
    assert_eq!(client.ping(&[0; 65]), internal);
    assert_eq!(server.begin_exchange(b"share"), internal);
    let secret = KexSecret::danger_from_bytes(&[1; 32]);
    assert_eq!(client.answer_exchange(b"share", &secret), internal);
    assert_eq!(client.finish_exchange(&secret), internal);
    client.open("message", b"").unwrap();
    assert_eq!(client.open("message", b""), internal);
    client.close(Alert::CloseNotify).unwrap();
    assert_eq!(client.ping(b""), internal);
}

#[test]
fn a_refused_service_takes_no_data() {
    let (mut client, mut server) = sessions(Limits::default());
    client.open("message", b"").unwrap();
    deliver(&mut client, &mut server).unwrap();
    server.reply_open(3, "no").unwrap();
    assert_eq!(server.reply_open(0, ""), Err(SealedError::Internal));
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(events(&mut client), [Event::OpenReply { status: 3, text: "no".to_owned() }]);
    assert_eq!(client.send(b"x"), Err(SealedError::Internal));
}

#[test]
fn pings_are_answered_with_their_payload() {
    let (mut client, mut server) = sessions(Limits::default());
    client.ping(b"abc").unwrap();
    deliver(&mut client, &mut server).unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(events(&mut client), [Event::Pong(b"abc".to_vec())]);
}

#[test]
fn records_that_do_not_belong_here_end_the_session() {
    let unexpected = |got| SealedError::Unexpected { expected: content::DATA, got };
    let malformed = SealedError::Malformed;
    let cases: [(u8, &[u8], SealedError); 11] = [
        (content::DATA, b"x", unexpected(content::DATA)),
        (content::EOF, b"", unexpected(content::EOF)),
        (content::OPEN_REPLY, b"\0", unexpected(content::OPEN_REPLY)),
        (content::PING, &[0; 65], unexpected(content::PING)),
        (0x7f, b"", unexpected(0x7f)),
        (content::OPEN, b"\x01\xff\0\0", malformed("name of a service")),
        (content::OPEN, b"\x01a\0\0x", malformed("trailing bytes")),
        (content::ALERT, b"\0", malformed("alert")),
        (content::KEY_UPDATE, &[0, 0, 0, 2], malformed("epoch of a key update")),
        (
            content::HANDSHAKE,
            b"\x12\0\0\0",
            SealedError::Unexpected { expected: frame::REKEY_INIT, got: frame::REKEY_DONE },
        ),
        (content::ALERT, &[0, 4], SealedError::Alert(Alert::Timeout)),
    ];
    for (kind, payload, expected) in cases {
        let (mut client, mut server) = sessions(Limits::default());
        let record = forged(&mut client, kind, payload);
        assert_eq!(server.handle_input(&record), Err(expected.clone()));
        // The error stays, and the client is told unless it ended the session itself.
        assert_eq!(server.handle_input(b"x"), Err(expected.clone()));
        assert_eq!(
            (server.handle_eof(), server.ping(b"")),
            (Err(expected.clone()), Err(expected.clone()))
        );
        let told = deliver(&mut server, &mut client);
        match expected {
            SealedError::Alert(_) => assert_eq!(told, Ok(())),
            _ => assert_eq!(told, Err(SealedError::Alert(Alert::ProtocolError))),
        }
    }
}

#[test]
fn answers_of_a_service_must_be_text() {
    for payload in [&b""[..], b"\0\xff"] {
        let (mut client, mut server) = sessions(Limits::default());
        client.open("message", b"").unwrap();
        let record = forged(&mut server, content::OPEN_REPLY, payload);
        let expected = SealedError::Malformed("answer of a service");
        assert_eq!(client.handle_input(&record), Err(expected));
    }
}

#[test]
fn an_altered_record_and_a_cut_stream_tell_the_peer_nothing() {
    let (mut client, mut server) = sessions(Limits::default());
    let mut record = forged(&mut client, content::PING, b"");
    record[4] ^= 1;
    assert_eq!(server.handle_input(&record), Err(SealedError::BadRecord));
    assert_eq!(server.poll_transmit(), None);
    assert_eq!(client.handle_eof(), Err(SealedError::Cut));
    assert_eq!(client.poll_transmit(), None);
    assert_eq!(client.close(Alert::CloseNotify), Ok(()));
}

#[test]
fn a_server_that_drains_does_not_end_the_session() {
    let (mut client, mut server) = open(Limits::default());
    server.close(Alert::Draining(500)).unwrap();
    server.send(b"still here").unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(events(&mut client), [Event::Alert(Alert::Draining(500)), data(b"still here")]);
    client.close(Alert::Undelivered(Undelivered::Output)).unwrap();
    let alert = Alert::Undelivered(Undelivered::Output);
    assert_eq!(deliver(&mut client, &mut server), Err(SealedError::Alert(alert)));
    assert_eq!(events(&mut server), [Event::Alert(alert)]);
}

#[test]
fn keys_change_before_the_limit_of_one_key() {
    // Room for a few records under one key.
    let limits = Limits { blocks_per_key: Some(64), ..Limits::default() };
    let (mut client, mut server) = open(limits);
    for round in 0..20u8 {
        client.send(&[round; 100]).unwrap();
        deliver(&mut client, &mut server).unwrap();
        assert_eq!(events(&mut server), [data(&[round; 100])]);
    }
    assert_eq!(client.epochs()[0], server.epochs()[1]);
    // A record has seven blocks, so every fifth one reaches half of the limit.
    assert_eq!(client.epochs()[0], 3);
    assert_eq!(client.traffic_secrets(), server.traffic_secrets());
    // One record that is too long for any key.
    let policy = SealedError::Limit("the data under one key");
    assert_eq!(client.send(&[0; 2000]), Err(policy));
    assert_eq!(deliver(&mut client, &mut server), Err(SealedError::Alert(Alert::Policy)));
}

#[test]
fn a_peer_beyond_the_limit_of_a_key_is_stopped() {
    let limits = Limits { blocks_per_key: Some(64), ..Limits::default() };
    let (mut client, mut server) = open(limits);
    let record = forged(&mut client, content::DATA, &[0; 2000]);
    assert_eq!(server.handle_input(&record), Err(SealedError::Limit("the data under one key")));
}

/// The client starts a key exchange; both sides go through it.
fn exchange(client: &mut Session, server: &mut Session) {
    let pair = KexKeyPair::generate(client.kex(), &mut rand::rng());
    client.begin_exchange(pair.share()).unwrap();
    assert!(client.is_exchanging() && !server.is_exchanging());
    assert_eq!(client.update_key(), Err(SealedError::Internal));
    assert_eq!(client.begin_exchange(b"again"), Err(SealedError::Internal));
    deliver(client, server).unwrap();
    let [Event::ExchangeWanted(share)] = &events(server)[..] else { panic!("no share") };
    let (share, secret) = server.kex().respond(share, &mut rand::rng()).unwrap();
    server.answer_exchange(&share, &secret).unwrap();
    deliver(server, client).unwrap();
    let [Event::ExchangeAnswered(share)] = &events(client)[..] else { panic!("no answer") };
    client.finish_exchange(&pair.finish(share).unwrap()).unwrap();
    deliver(client, server).unwrap();
}

#[test]
fn a_key_exchange_changes_all_secrets_but_not_the_name() {
    let (mut client, mut server) = open(Limits::default());
    let (id, before) = (client.id(), client.traffic_secrets().map(|secret| *secret));
    exchange(&mut client, &mut server);
    assert_eq!((client.id(), server.id()), (id, id));
    assert_eq!(client.traffic_secrets(), server.traffic_secrets());
    assert!(client.traffic_secrets().iter().all(|secret| !before.contains(secret)));
    assert_eq!((client.epochs(), server.epochs()), ([1, 1], [1, 1]));
    server.send(b"under new keys").unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(events(&mut client), [data(b"under new keys")]);
}

#[test]
fn records_wait_for_the_secret_of_a_key_exchange() {
    let (mut client, mut server) = open(Limits::default());
    let pair = KexKeyPair::generate(client.kex(), &mut rand::rng());
    client.begin_exchange(pair.share()).unwrap();
    deliver(&mut client, &mut server).unwrap();
    let [Event::ExchangeWanted(share)] = &events(&mut server)[..] else { panic!("no share") };
    let (share, secret) = server.kex().respond(share, &mut rand::rng()).unwrap();
    server.answer_exchange(&share, &secret).unwrap();
    server.send(b"after the answer").unwrap();
    server.close(Alert::CloseNotify).unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(client.handle_eof(), Ok(()));
    assert!(!client.has_backlog() && client.batch_length() > 16 * 16384);
    let [Event::ExchangeAnswered(share)] = &events(&mut client)[..] else { panic!("no answer") };
    client.finish_exchange(&pair.finish(share).unwrap()).unwrap();
    assert_eq!(events(&mut client), [data(b"after the answer"), Event::CloseRequested]);
}

#[test]
fn mistakes_in_a_key_exchange_end_the_session() {
    let (mut client, mut server) = sessions(Limits::default());
    client.begin_exchange(b"share").unwrap();
    deliver(&mut client, &mut server).unwrap();
    // A second Init, and a key update in the middle.
    let init = framed(frame::REKEY_INIT, b"\0\x05share");
    let record = forged(&mut client, content::HANDSHAKE, &init);
    let expected = SealedError::Unexpected { expected: content::DATA, got: frame::REKEY_INIT };
    assert_eq!(server.handle_input(&record), Err(expected));

    let (mut client, mut server) = sessions(Limits::default());
    client.begin_exchange(b"share").unwrap();
    deliver(&mut client, &mut server).unwrap();
    let record = forged(&mut client, content::KEY_UPDATE, &[0, 0, 0, 1]);
    let expected = SealedError::Malformed("epoch of a key update");
    assert_eq!(server.handle_input(&record), Err(expected.clone()));
    let secret = KexSecret::danger_from_bytes(&[1; 64]);
    assert_eq!(server.answer_exchange(b"share", &secret), Err(expected.clone()));
    assert_eq!(server.handle_timeout(Instant::now()), Err(expected.clone()));
    assert_eq!(server.finish_exchange(&secret), Err(expected));

    let (mut client, mut server) = sessions(Limits::default());
    client.begin_exchange(b"share").unwrap();
    deliver(&mut client, &mut server).unwrap();
    server.answer_exchange(b"share", &secret).unwrap();
    let done = framed(frame::REKEY_DONE, b"x");
    let record = forged(&mut client, content::HANDSHAKE, &done);
    let expected = SealedError::Malformed("end of an exchange");
    assert_eq!(server.handle_input(&record), Err(expected));
}

#[test]
fn a_key_exchange_is_not_answered_after_the_end() {
    let (mut client, mut server) = sessions(Limits::default());
    client.begin_exchange(b"share").unwrap();
    deliver(&mut client, &mut server).unwrap();
    server.close(Alert::CloseNotify).unwrap();
    let mut close = Vec::new();
    server.take_output(&mut close);
    let secret = KexSecret::danger_from_bytes(&[1; 64]);
    assert_eq!(server.answer_exchange(b"share", &secret), Ok(()));
    assert_eq!(server.poll_transmit(), None);
}

#[test]
fn key_exchanges_are_due_after_bytes_and_after_time() {
    let hour = Duration::from_secs(3600);
    let (mut client, mut server) = open(Limits { bytes_per_exchange: 1000, ..Limits::default() });
    assert!(!client.is_exchange_due());
    client.send(&[0; 1000]).unwrap();
    assert!(client.is_exchange_due() && !server.is_exchange_due());
    deliver(&mut client, &mut server).unwrap();
    assert_eq!(events(&mut server), [data(&[0; 1000])]);
    exchange(&mut client, &mut server);
    assert!(!client.is_exchange_due());

    let (mut client, mut server) = sessions(Limits::default());
    let start = Instant::now();
    assert_eq!(client.poll_timeout(), None);
    client.handle_timeout(start).unwrap();
    server.handle_timeout(start).unwrap();
    assert_eq!(client.poll_timeout(), Some(start + hour));
    assert_eq!(server.poll_timeout(), Some(start + 2 * hour));
    client.handle_timeout(start + hour).unwrap();
    assert!(client.is_exchange_due());
    assert_eq!(client.poll_timeout(), Some(start + 2 * hour));
    let late = SealedError::Limit("the time since the last key exchange");
    assert_eq!(server.handle_timeout(start + 2 * hour), Err(late));
    assert_eq!(deliver(&mut server, &mut client), Err(SealedError::Alert(Alert::Policy)));
}

#[test]
fn memory_of_empty_buffers_is_given_back() {
    let (mut client, mut server) = open(Limits::default());
    client.expect_pieces(10);
    server.expect_pieces(1 << 30);
    client.send(&vec![1; 300_000]).unwrap();
    let mut bytes = vec![];
    client.take_output(&mut bytes);
    client.shrink();
    assert_eq!(client.output.capacity(), 0);
    server.input_buffer().extend_from_slice(&bytes);
    server.handle_buffer().unwrap();
    let mut total = 0;
    for event in events(&mut server) {
        let Event::Data(data) = event else { panic!("not data") };
        total += data.len();
        server.recycle(data);
    }
    assert_eq!(total, 300_000);
    assert!(!server.spare.is_empty());
    server.recycle(Zeroizing::new(vec![0; 8]));
    assert!(server.spare.iter().all(|buffer| buffer.is_empty() && buffer.capacity() > 8));
    server.shrink();
    assert!(server.spare.is_empty());
    // Records one by one, and after bytes that are in the buffer already.
    client.ping(b"1").unwrap();
    client.ping(b"2").unwrap();
    let first = client.poll_transmit().unwrap();
    let mut both = first.clone();
    client.take_output(&mut both);
    assert_eq!(both.len(), 2 * first.len());
    server.handle_input(&both).unwrap();
}

#[test]
fn debug_shows_no_secret() {
    let (client, _) = sessions(Limits::default());
    let shown = format!("{client:?}");
    assert!(shown.contains("keys: Keys(AES256)") && shown.contains("TrafficSecret(..)"));
    let secret = client.traffic_secrets()[0];
    assert!(!shown.contains(&format!("{secret:?}")));
}
