//! Sessions in channel mode: which records they take, and batches of frames.

use super::*;
use crate::sealed::channels::{Frame, FrameSink, StreamKind};
use crate::sealed::record::MAX_PAYLOAD;

/// Two sessions with the service `channels`, accepted.
fn channels(limits: Limits) -> (Session, Session) {
    let (mut client, mut server) = sessions(limits);
    client.open("channels", &[1]).unwrap();
    deliver(&mut client, &mut server).unwrap();
    server.reply_open(0, "").unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!((events(&mut client).len(), events(&mut server).len()), (1, 1));
    (client, server)
}

/// Sends frames as one batch: their types, and their payloads in two parts.
fn send(from: &mut Session, frames: &[(u8, &[u8], &[u8])]) -> Result<(), SealedError> {
    let mut batch = from.frames()?;
    for (kind, header, data) in frames {
        assert!(batch.has_room());
        batch.push(*kind, header, data)?;
    }
    assert_eq!(batch.is_empty(), frames.is_empty());
    batch.seal()
}

const EOF: Frame<'_> = Frame::Eof { id: 1 };
const ID: &[u8] = &[0, 0, 0, 1];

fn channel_data(stream: StreamKind, bytes: &[u8]) -> Event {
    Event::ChannelData { id: 1, stream, data: Zeroizing::new(bytes.to_vec()) }
}

#[test]
fn records_of_other_services_are_fatal_in_channel_mode() {
    let expected = |got| SealedError::Unexpected { expected: content::CHAN_DATA, got };
    for (kind, payload) in [(content::DATA, &b"x"[..]), (content::EOF, b"")] {
        let (mut client, mut server) = channels(Limits::default());
        let record = forged(&mut client, kind, payload);
        assert_eq!(server.handle_input(&record), Err(expected(kind)));
        assert_eq!(
            deliver(&mut server, &mut client),
            Err(SealedError::Alert(Alert::ProtocolError))
        );
        let (mut client, mut server) = channels(Limits::default());
        let record = forged(&mut server, kind, payload);
        assert_eq!(client.handle_input(&record), Err(expected(kind)));
        // Before the answer of the server they are no better.
        let (mut client, mut server) = sessions(Limits::default());
        client.open("channels", &[1]).unwrap();
        let record = forged(&mut server, kind, payload);
        assert_eq!(client.handle_input(&record), Err(expected(kind)));
    }
    let (mut client, mut server) = channels(Limits::default());
    for session in [&mut client, &mut server] {
        assert_eq!(session.send(b"x"), Err(SealedError::Internal));
        assert_eq!(session.send_eof(), Err(SealedError::Internal));
    }
}

#[test]
fn frames_are_fatal_outside_of_channel_mode() {
    let eof = |got| Err(SealedError::Unexpected { expected: content::DATA, got });
    for kind in content::CHAN_OPEN..=content::ASK {
        // Before any service, before the answer, and after a refusal.
        let (mut client, mut server) = sessions(Limits::default());
        let record = forged(&mut client, kind, ID);
        assert_eq!(server.handle_input(&record), eof(kind));
        let (mut client, mut server) = sessions(Limits::default());
        client.open("channels", &[1]).unwrap();
        deliver(&mut client, &mut server).unwrap();
        let record = forged(&mut client, kind, ID);
        assert_eq!(server.handle_input(&record), eof(kind));
        let (mut client, mut server) = sessions(Limits::default());
        client.open("channels", &[1]).unwrap();
        let record = forged(&mut server, kind, ID);
        assert_eq!(client.handle_input(&record), eof(kind));
        let (mut client, mut server) = sessions(Limits::default());
        client.open("channels", &[1]).unwrap();
        deliver(&mut client, &mut server).unwrap();
        server.reply_open(1, "no").unwrap();
        let record = forged(&mut client, kind, ID);
        assert_eq!(server.handle_input(&record), eof(kind));
        // Another service.
        let (mut client, mut server) = open(Limits::default());
        let record = forged(&mut client, kind, ID);
        assert_eq!(server.handle_input(&record), eof(kind));
    }
    // A type without a meaning.
    let (mut client, mut server) = channels(Limits::default());
    let record = forged(&mut client, content::ASK + 1, ID);
    assert_eq!(server.handle_input(&record), eof(content::ASK + 1));
}

#[test]
fn another_version_of_channels_is_a_service_like_others() {
    for argument in [&b""[..], &[2], &[1, 0]] {
        let (mut client, mut server) = sessions(Limits::default());
        client.open("channels", argument).unwrap();
        deliver(&mut client, &mut server).unwrap();
        server.reply_open(0, "").unwrap();
        deliver(&mut server, &mut client).unwrap();
        events(&mut server);
        assert_eq!(client.frames().err(), Some(SealedError::Internal));
        assert_eq!(server.frames().err(), Some(SealedError::Internal));
        client.send(b"x").unwrap();
        deliver(&mut client, &mut server).unwrap();
        assert_eq!(events(&mut server), [data(b"x")]);
        let record = forged(&mut client, content::CHAN_EOF, ID);
        let got = content::CHAN_EOF;
        let expected = SealedError::Unexpected { expected: content::DATA, got };
        assert_eq!(server.handle_input(&record), Err(expected));
    }
}

#[test]
fn batches_need_an_accepted_session_that_runs() {
    let internal = Some(SealedError::Internal);
    let (mut client, mut server) = sessions(Limits::default());
    assert_eq!(client.frames().err(), internal);
    client.open("channels", &[1]).unwrap();
    deliver(&mut client, &mut server).unwrap();
    assert_eq!(
        (client.frames().err(), server.frames().err()),
        (internal.clone(), internal.clone())
    );
    server.reply_open(3, "no").unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(
        (client.frames().err(), server.frames().err()),
        (internal.clone(), internal.clone())
    );
    let (mut client, mut server) = channels(Limits::default());
    client.close(Alert::CloseNotify).unwrap();
    assert_eq!(client.frames().err(), internal);
    let error = SealedError::Malformed("a frame of channels");
    assert_eq!(server.fail(error.clone()), error);
    assert_eq!(server.frames().err(), Some(error.clone()));
    // The first error stays.
    assert_eq!(server.fail(SealedError::Cut), SealedError::Cut);
    assert_eq!(server.ping(b""), Err(error));
    let protocol_error = SealedError::Alert(Alert::ProtocolError);
    assert_eq!(deliver(&mut server, &mut client), Err(protocol_error));
}

#[test]
fn frames_arrive_in_order_and_data_of_a_channel_at_once() {
    let (mut client, mut server) = channels(Limits::default());
    let full = vec![7; MAX_PAYLOAD - 4];
    send(
        &mut client,
        &[
            (content::CHAN_DATA, ID, b"one"),
            (content::CHAN_DATA, ID, &full),
            (content::CHAN_NOTE, &[0, 0, 0, 1, 1], b"two"),
            (content::CHAN_EOF, ID, b""),
            (content::CHAN_DATA, &[0, 0, 0, 3], b"three"),
        ],
    )
    .unwrap();
    deliver(&mut client, &mut server).unwrap();
    let three = Event::ChannelData {
        id: 3,
        stream: StreamKind::Data,
        data: Zeroizing::new(b"three".to_vec()),
    };
    let expected = [
        channel_data(StreamKind::Data, &[b"one", &full[..]].concat()),
        channel_data(StreamKind::StandardError, b"two"),
        Event::Frame(EOF),
        three,
    ];
    assert_eq!(events(&mut server), expected);
    // No more than a batch is one event.
    for _ in 0..2 {
        send(&mut server, &[(content::CHAN_DATA, ID, &full[..]); 16]).unwrap();
    }
    deliver(&mut server, &mut client).unwrap();
    let lengths = events(&mut client).into_iter().map(|event| match event {
        Event::ChannelData { data, .. } => data.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [17 * full.len(), 15 * full.len()]);
}

#[test]
fn a_malformed_frame_ends_the_session() {
    let (mut client, mut server) = channels(Limits::default());
    send(&mut client, &[(content::CHAN_EOF, ID, b""), (content::CHAN_EOF, ID, b"x")]).unwrap();
    let error = SealedError::Malformed("trailing bytes");
    assert_eq!(deliver(&mut client, &mut server), Err(error));
    // What came before is there.
    assert_eq!(events(&mut server), [Event::Frame(EOF)]);
    let told = Err(SealedError::Alert(Alert::ProtocolError));
    assert_eq!(deliver(&mut server, &mut client), told);
}

#[test]
fn a_batch_that_is_dropped_leaves_nothing() {
    let (mut client, mut server) = channels(Limits::default());
    client.ping(b"before").unwrap();
    let before = client.output.clone();
    let mut batch = client.frames().unwrap();
    assert!(batch.is_empty() && batch.has_room());
    batch.push(content::CHAN_DATA, ID, &[0xee; 5000]).unwrap();
    batch.push(content::CHAN_DATA, ID, &[0xee; 500]).unwrap();
    drop(batch);
    assert_eq!(client.output, before);
    drop(client.frames().unwrap());
    client.frames().unwrap().seal().unwrap();
    assert_eq!(client.output, before);
    send(&mut client, &[(content::CHAN_EOF, ID, b"")]).unwrap();
    deliver(&mut client, &mut server).unwrap();
    assert_eq!(events(&mut server), [Event::Frame(EOF)]);
}

#[test]
fn a_batch_has_room_for_sixteen_frames_and_none_that_is_too_long() {
    let (mut client, _) = channels(Limits::default());
    let mut batch = client.frames().unwrap();
    let long = batch.push(content::CHAN_DATA, ID, &vec![0; MAX_PAYLOAD - 3]);
    assert_eq!(long, Err(SealedError::Limit("the length of a record")));
    assert!(batch.is_empty());
    for _ in 0..16 {
        assert!(batch.has_room());
        batch.push(content::CHAN_EOF, ID, b"").unwrap();
    }
    assert!(!batch.has_room());
    batch.seal().unwrap();
    // A record has a length, a block and a tag.
    assert_eq!(client.output.len(), 16 * (2 + 16 + 32));
}

#[test]
fn a_batch_beyond_the_limit_of_a_key_is_wiped_and_ends_the_session() {
    let limits = Limits { blocks_per_key: Some(64), ..Limits::default() };
    let (mut client, mut server) = channels(limits);
    assert_eq!(client.output, []);
    let beyond = send(&mut client, &[(content::CHAN_DATA, ID, &[0; 1000])]);
    let policy = SealedError::Limit("the data under one key");
    assert_eq!(beyond, Err(policy.clone()));
    // Only the alert.
    assert_eq!(client.output.len(), 2 + 64 + 32);
    assert_eq!(client.frames().err(), Some(policy));
    assert_eq!(deliver(&mut client, &mut server), Err(SealedError::Alert(Alert::Policy)));
}

#[test]
fn keys_change_between_batches() {
    let limits = Limits { blocks_per_key: Some(256), ..Limits::default() };
    let (mut client, mut server) = channels(limits);
    for round in 0..50u8 {
        send(&mut client, &[(content::CHAN_DATA, ID, &[round; 300])]).unwrap();
        deliver(&mut client, &mut server).unwrap();
        assert_eq!(events(&mut server), [channel_data(StreamKind::Data, &[round; 300])]);
    }
    // A record has 20 blocks, so every eighth one comes after half of the limit.
    assert_eq!((client.epochs(), server.epochs()), ([7, 0], [0, 7]));
    // Both sides at once, with frames on their way.
    send(&mut client, &[(content::CHAN_EOF, ID, b"")]).unwrap();
    send(&mut server, &[(content::CHAN_EOF, ID, b"")]).unwrap();
    client.update_key().unwrap();
    server.update_key().unwrap();
    send(&mut client, &[(content::CHAN_DATA, ID, b"new")]).unwrap();
    send(&mut server, &[(content::CHAN_DATA, ID, b"new")]).unwrap();
    let expected = [Event::Frame(EOF), channel_data(StreamKind::Data, b"new")];
    deliver(&mut client, &mut server).unwrap();
    deliver(&mut server, &mut client).unwrap();
    assert_eq!(
        (events(&mut client).as_slice(), events(&mut server).as_slice()),
        (&expected[..], &expected[..])
    );
}

#[test]
fn frames_go_on_during_a_fresh_key_exchange() {
    let (mut client, mut server) = channels(Limits::default());
    let say = |from: &mut Session, text: &[u8]| {
        send(from, &[(content::CHAN_DATA, ID, text), (content::CHAN_EOF, ID, b"")]).unwrap();
    };
    let said = |text: &[u8]| [channel_data(StreamKind::Data, text), Event::Frame(EOF)];
    let pair = KexKeyPair::generate(client.kex(), &mut rand::rng());
    say(&mut server, b"before");
    client.begin_exchange(pair.share()).unwrap();
    say(&mut client, b"behind Init");
    deliver(&mut client, &mut server).unwrap();
    let mut heard = events(&mut server);
    let Event::ExchangeWanted(share) = heard.remove(0) else { panic!("no share") };
    assert_eq!(heard, said(b"behind Init"));
    // The server goes on under its old key until it answers.
    say(&mut server, b"in front of Reply");
    let (share, secret) = server.kex().respond(&share, &mut rand::rng()).unwrap();
    server.answer_exchange(&share, &secret).unwrap();
    say(&mut server, b"behind Reply");
    say(&mut client, b"in front of Done");
    deliver(&mut server, &mut client).unwrap();
    let mut heard = events(&mut client);
    let Some(Event::ExchangeAnswered(share)) = heard.pop() else { panic!("no answer") };
    assert_eq!(heard, [said(b"before"), said(b"in front of Reply")].concat());
    // What is behind Reply waits for the secret.
    client.finish_exchange(&pair.finish(&share).unwrap()).unwrap();
    assert_eq!(events(&mut client), said(b"behind Reply"));
    say(&mut client, b"behind Done");
    deliver(&mut client, &mut server).unwrap();
    assert_eq!(events(&mut server), [said(b"in front of Done"), said(b"behind Done")].concat());
    assert_eq!((client.epochs(), server.epochs()), ([1, 1], [1, 1]));
    assert_eq!(client.traffic_secrets(), server.traffic_secrets());
}
