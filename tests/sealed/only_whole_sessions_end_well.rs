//! A session ends well only if both ends of it came through, whole and in order.

use vpn_proto::sealed::{
    Alert, Event, Kex, KexKeyPair, KexSecret, Limits, SealedError, Undelivered,
};
use zeroize::Zeroizing;

use crate::support::in_memory::{established, events, pass, received, sent};

#[test]
fn a_cut_session_is_never_taken_for_a_whole_one() {
    let (mut client, mut server) = established("AES", 128, Limits::default());
    let mut stream = Vec::new();
    for n in 0..20u8 {
        client.send(&[n; 7]).unwrap();
    }
    client.send_eof().unwrap();
    client.close(Alert::CloseNotify).unwrap();
    for record in sent(&mut client) {
        stream.extend(record);
    }
    // Byte by byte, the end of the stream would be a cut after each of them but the last.
    for (at, byte) in stream.iter().enumerate() {
        server.handle_input(&[*byte]).unwrap();
        assert_eq!(server.is_closed(), at + 1 == stream.len(), "{at}");
    }
    assert_eq!(received(&mut server), (0..20u8).flat_map(|n| [n; 7]).collect::<Vec<_>>());
    assert_eq!(server.handle_eof(), Ok(()));
    let (_, mut server) = established("AES", 128, Limits::default());
    assert_eq!(server.handle_eof(), Err(SealedError::Cut));
}

#[test]
fn a_close_notify_that_comes_with_the_data_is_answered_when_the_service_says_so() {
    let (mut client, mut server) = established("AES", 256, Limits::default());
    client.send(b"data").unwrap();
    client.send_eof().unwrap();
    client.close(Alert::CloseNotify).unwrap();
    let all = sent(&mut client).concat();
    server.handle_input(&all).unwrap();
    // The server says nothing by itself, also if more bytes come or the stream ends.
    assert!(sent(&mut server).is_empty());
    server.handle_input(b"later bytes are ignored").unwrap();
    assert_eq!(server.handle_eof(), Ok(()));
    let data = Event::Data(Zeroizing::new(b"data".to_vec()));
    assert_eq!(events(&mut server), [data, Event::Eof, Event::CloseRequested]);
    assert!(sent(&mut server).is_empty() && server.is_closed() && !client.is_closed());
    // Nothing but the answer can be said.
    assert_eq!(server.send(b"x"), Err(SealedError::Internal));
    assert_eq!(server.ping(b""), Err(SealedError::Internal));
    server.close(Alert::CloseNotify).unwrap();
    server.close(Alert::CloseNotify).unwrap();
    let answer = sent(&mut server);
    assert_eq!(answer.len(), 1, "it is answered once");
    client.handle_input(&answer.concat()).unwrap();
    assert_eq!(events(&mut client), [Event::Closed]);
}

#[test]
fn a_close_notify_can_be_answered_with_a_failure() {
    for what in [Undelivered::Output, Undelivered::Input, Undelivered::Unspecified] {
        let (mut client, mut server) = established("AES", 256, Limits::default());
        client.send_eof().unwrap();
        client.close(Alert::CloseNotify).unwrap();
        pass(&mut client, &mut server);
        assert_eq!(events(&mut server), [Event::Eof, Event::CloseRequested]);
        server.close(Alert::Undelivered(what)).unwrap();
        // The failure is not taken back.
        server.close(Alert::CloseNotify).unwrap();
        let answer = sent(&mut server).concat();
        let failed = SealedError::Alert(Alert::Undelivered(what));
        assert_eq!(client.handle_input(&answer), Err(failed));
        assert!(!client.is_closed());
    }
}

#[test]
fn ends_that_cross_are_ends_on_both_sides() {
    let (mut client, mut server) = established("AES", 256, Limits::default());
    client.close(Alert::CloseNotify).unwrap();
    server.close(Alert::CloseNotify).unwrap();
    let (ours, theirs) = (sent(&mut client).concat(), sent(&mut server).concat());
    client.handle_input(&theirs).unwrap();
    server.handle_input(&ours).unwrap();
    assert_eq!(
        (events(&mut client), events(&mut server)),
        (vec![Event::Closed], vec![Event::Closed])
    );
    assert!(sent(&mut client).is_empty() && sent(&mut server).is_empty());
}

#[test]
fn an_exchange_that_the_end_overtakes_does_no_harm() {
    let mut rng = rand::rng();
    let (mut client, mut server) = established("AES", 256, Limits::default());
    let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rng);
    client.begin_exchange(pair.share()).unwrap();
    client.send_eof().unwrap();
    client.close(Alert::CloseNotify).unwrap();
    pass(&mut client, &mut server);
    let got = events(&mut server);
    let [Event::ExchangeWanted(share), Event::Eof, Event::CloseRequested] = &got[..] else {
        panic!("{got:?}")
    };
    let (share, secret) = Kex::X25519MlKem768.respond(share, &mut rng).unwrap();
    server.answer_exchange(&share, &secret).unwrap();
    server.close(Alert::CloseNotify).unwrap();
    pass(&mut server, &mut client);
    assert_eq!(events(&mut client), [Event::Closed]);
}

#[test]
fn an_end_that_comes_during_a_fresh_exchange_is_still_an_end() {
    let mut rng = rand::rng();
    for is_proper in [true, false] {
        let (mut client, mut server) = established("AES", 256, Limits::default());
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rng);
        client.begin_exchange(pair.share()).unwrap();
        pass(&mut client, &mut server);
        let [Event::ExchangeWanted(share)] = &events(&mut server)[..] else {
            panic!("no exchange is wanted")
        };
        let (share, secret) = Kex::X25519MlKem768.respond(share, &mut rng).unwrap();
        server.answer_exchange(&share, &secret).unwrap();
        if is_proper {
            server.close(Alert::CloseNotify).unwrap();
        }
        pass(&mut server, &mut client);
        let [Event::ExchangeAnswered(share)] = &events(&mut client)[..] else {
            panic!("the exchange is not answered")
        };
        // Records behind the answer are read once its secret is there.
        assert_eq!(client.handle_eof(), Ok(()));
        let finished = client.finish_exchange(&pair.finish(share).unwrap());
        assert_eq!(finished.is_ok(), is_proper, "{finished:?}");
        assert_eq!(client.is_closed(), is_proper);
    }
}

#[test]
fn records_that_are_altered_repeated_or_left_out_end_a_session() {
    let sent_by = |edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let (mut client, mut server) = established("AES", 256, Limits::default());
        client.send(b"one").unwrap();
        client.send(b"two").unwrap();
        let mut records = sent(&mut client);
        edit(&mut records);
        let result = records.iter().try_for_each(|record| server.handle_input(record));
        // There is no answer to a bad record, and the session stays over.
        assert!(sent(&mut server).is_empty());
        assert_eq!(server.handle_input(b"x"), result);
        (result, received(&mut server))
    };
    let bad = Err(SealedError::BadRecord);
    assert_eq!(sent_by(&|r| r[1][5] ^= 1), (bad.clone(), b"one".to_vec()));
    assert_eq!(sent_by(&|r| r.swap(0, 1)), (bad.clone(), Vec::new()));
    assert_eq!(sent_by(&|r| r[1] = r[0].clone()), (bad.clone(), b"one".to_vec()));
    assert_eq!(
        sent_by(&|r| {
            r.remove(0);
        }),
        (bad, Vec::new())
    );
}

#[test]
fn calls_out_of_order_are_errors() {
    // Data after the end, a second service, an answer without a question.
    let (mut client, mut server) = established("AES", 256, Limits::default());
    client.send_eof().unwrap();
    assert_eq!(client.send(b"late"), Err(SealedError::Internal));
    assert_eq!(client.open("message", b""), Err(SealedError::Internal));
    assert_eq!(server.open("message", b""), Err(SealedError::Internal));
    assert_eq!(server.reply_open(0, ""), Err(SealedError::Internal));
    assert!(
        server.begin_exchange(b"").is_err()
            && server.answer_exchange(b"", &KexSecret::danger_from_bytes(b"")).is_err()
    );
    pass(&mut client, &mut server);
    assert_eq!(events(&mut server), [Event::Eof]);
}
