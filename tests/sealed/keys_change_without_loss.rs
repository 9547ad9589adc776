//! Keys change as often as they like, under traffic and by fresh exchanges, and no byte is lost.

use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    Alert, Event, Kex, KexKeyPair, Limits, SealedError, ServerConfig, Session,
};
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

use crate::support::Dice;
use crate::support::adversary::{client_config, server_config, session_pair, session_pair_of};
use crate::support::in_memory::{established, events, pass, received};

/// One direction: bytes on their way, and bytes that have to arrive.
#[derive(Default)]
struct Way {
    wire: Vec<u8>,
    sent: Vec<u8>,
    arrived: usize,
}

impl Way {
    /// Takes what a side has to send.
    fn take(&mut self, from: &mut Session) {
        while let Some(bytes) = from.poll_transmit() {
            self.wire.extend(bytes);
        }
    }

    /// Sends data.
    fn send(&mut self, from: &mut Session, data: &[u8]) {
        from.send(data).unwrap();
        self.sent.extend(data);
        self.take(from);
    }

    /// Delivers at most so many bytes.
    fn deliver(&mut self, to: &mut Session, most: usize) {
        let piece: Vec<u8> = self.wire.drain(..most.min(self.wire.len())).collect();
        to.handle_input(&piece).unwrap();
    }

    /// Compares data that has arrived, byte by byte.
    fn compare(&mut self, data: &[u8]) {
        let end = self.arrived + data.len();
        assert!(self.sent.get(self.arrived..end) == Some(data), "at {}", self.arrived);
        self.arrived = end;
    }
}

/// What a server does with its events; whether the end is among them.
fn serve(server: &mut Session, there: &mut Way, back: &mut Way) -> bool {
    while let Some(event) = server.poll_event() {
        match event {
            Event::Data(data) => there.compare(&data),
            Event::ExchangeWanted(share) => {
                let (share, secret) =
                    Kex::X25519MlKem768.respond(&share, &mut rand::rng()).unwrap();
                server.answer_exchange(&share, &secret).unwrap();
                back.take(server);
            }
            Event::Eof => {
                assert!(server.poll_event().is_none(), "something behind the end");
                return true;
            }
            other => panic!("{other:?}"),
        }
    }
    false
}

/// What a client does with its events; how many exchanges are over.
fn hear(
    client: &mut Session,
    there: &mut Way,
    back: &mut Way,
    pair: &mut Option<KexKeyPair>,
) -> usize {
    let mut exchanges = 0;
    while let Some(event) = client.poll_event() {
        match event {
            Event::Data(data) => back.compare(&data),
            Event::ExchangeAnswered(share) => {
                let secret = pair.take().unwrap().finish(&share).unwrap();
                client.finish_exchange(&secret).unwrap();
                there.take(client);
                exchanges += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    exchanges
}

#[test]
fn a_thousand_changes_of_keys_lose_no_byte() {
    let seed = Dice::seed();
    println!("VPN_SEED={seed}");
    let mut dice = Dice(seed);
    let limits =
        Limits { blocks_per_key: Some(512), bytes_per_exchange: 40_000, ..Limits::default() };
    let (mut client, mut server) = session_pair(limits);
    let (mut there, mut back) = (Way::default(), Way::default());
    let mut pair: Option<KexKeyPair> = None;
    let (mut exchanges, mut rounds) = (0, 0);
    let mut while_renewing = 0;
    while client.epochs().iter().sum::<u32>() < 1100 || exchanges < 40 || pair.is_some() {
        rounds += 1;
        assert!(rounds < 200_000, "{exchanges} exchanges, {:?}", client.epochs());
        if client.is_exchange_due() && pair.is_none() {
            let fresh = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
            client.begin_exchange(fresh.share()).unwrap();
            there.take(&mut client);
            pair = Some(fresh);
            while_renewing = 0;
        }
        // While an exchange is under way a client may not change keys by itself.
        let most = if pair.is_some() { 100 } else { 1500 };
        let length = 1 + dice.below(most);
        let data = dice.bytes(length);
        match dice.below(4) {
            0 if pair.is_some() && while_renewing >= 8 => {}
            0 => {
                there.send(&mut client, &data);
                while_renewing += 1;
            }
            1 => back.send(&mut server, &data),
            2 => there.deliver(&mut server, length * 2),
            _ => back.deliver(&mut client, length * 2),
        }
        assert!(!serve(&mut server, &mut there, &mut back), "an early end");
        exchanges += hear(&mut client, &mut there, &mut back, &mut pair);
    }
    // The rest arrives, and the end.
    client.send_eof().unwrap();
    there.take(&mut client);
    there.deliver(&mut server, usize::MAX);
    back.deliver(&mut client, usize::MAX);
    assert!(serve(&mut server, &mut there, &mut back), "no end");
    assert_eq!(hear(&mut client, &mut there, &mut back, &mut pair), 0);
    assert_eq!([&there, &back].map(|way| way.sent.len() - way.arrived), [0, 0], "bytes lost");
    assert_eq!(client.traffic_secrets(), server.traffic_secrets());
    let [ours, theirs] = client.epochs();
    assert!(ours > 300 && theirs > 300, "{ours} {theirs}");
    println!(
        "{ours} + {theirs} keys, {exchanges} exchanges, {} bytes",
        there.arrived + back.arrived
    );
}

#[test]
fn a_server_may_change_keys_until_an_exchange_is_done() {
    // Between its answer and the client's last word there is a round trip, in which more may be sent
    // than one key is for.
    let limits = Limits { blocks_per_key: Some(512), ..Limits::default() };
    let (mut client, mut server) = session_pair(limits);
    let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
    client.begin_exchange(pair.share()).unwrap();
    let (mut there, mut back) = (Way::default(), Way::default());
    there.take(&mut client);
    there.deliver(&mut server, usize::MAX);
    let Some(Event::ExchangeWanted(share)) = server.poll_event() else { panic!() };
    let mut burst = |server: &mut Session| {
        for number in 0..20u8 {
            back.send(server, &[number; 1000]);
        }
    };
    burst(&mut server);
    let (share, secret) = Kex::X25519MlKem768.respond(&share, &mut rand::rng()).unwrap();
    server.answer_exchange(&share, &secret).unwrap();
    burst(&mut server);
    back.deliver(&mut client, usize::MAX);
    let mut pair = Some(pair);
    while let Some(event) = client.poll_event() {
        match event {
            Event::Data(data) => back.compare(&data),
            Event::ExchangeAnswered(share) => {
                client.finish_exchange(&pair.take().unwrap().finish(&share).unwrap()).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back.arrived, 40_000);
    there.take(&mut client);
    there.deliver(&mut server, usize::MAX);
    assert_eq!(client.traffic_secrets(), server.traffic_secrets());
}

#[test]
fn a_limit_ends_a_session_with_the_alert_for_it() {
    // A client that sends on while it waits for the answer to an exchange.
    let limits = Limits { blocks_per_key: Some(256), ..Limits::default() };
    let (mut client, mut server) = session_pair(limits);
    let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
    client.begin_exchange(pair.share()).unwrap();
    let error = (0..300).find_map(|_| client.send(&[1; 100]).err()).unwrap();
    assert!(matches!(error, SealedError::Limit(_)));
    assert_eq!(client.send(b"more"), Err(error));
    let mut way = Way::default();
    way.take(&mut client);
    // All that was sent is whole, and the alert comes behind it.
    assert_eq!(server.handle_input(&way.wire), Err(SealedError::Alert(Alert::Policy)));
    // All data of a session with small blocks.
    let limits = Limits { bytes_of_small_blocks: 20_000, ..Limits::default() };
    let suite = Registry::linked().unwrap().find("DES3").unwrap();
    let sizes = vec![KeySize::from_bits(192).unwrap()];
    let enabled: std::sync::Arc<[_]> =
        vec![EnabledSuite { suite, wire_name: suite.name(), sizes }].into();
    let client =
        vpn_proto::sealed::ClientConfig { enabled: enabled.clone(), limits, ..client_config() };
    let server = ServerConfig { enabled, ..server_config() };
    let (mut client, mut server) = session_pair_of(client, server);
    let error = (0..300).find_map(|_| client.send(&[1; 100]).err()).unwrap();
    assert!(matches!(error, SealedError::Limit(_)));
    let mut way = Way::default();
    way.take(&mut client);
    assert!(way.wire.len() < 20_000);
    assert_eq!(server.handle_input(&way.wire), Err(SealedError::Alert(Alert::Policy)));
}

#[test]
fn keys_change_under_two_way_traffic_without_losing_a_byte() {
    let limits = Limits { blocks_per_key: Some(72), ..Limits::default() };
    for (suite, bits) in [("AES", 256), ("DES3", 192), ("Blowfish", 448)] {
        let (mut client, mut server) = established(suite, bits, limits);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for round in 0..600u32 {
            let data = round.to_be_bytes().repeat(50);
            client.send(&data).unwrap();
            server.send(&data).unwrap();
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
            to_server.extend(received(&mut server));
            to_client.extend(received(&mut client));
        }
        let expected: Vec<u8> = (0..600u32).flat_map(|n| n.to_be_bytes().repeat(50)).collect();
        assert_eq!(to_server, expected);
        assert_eq!(to_client, expected);
        let epochs: u32 = client.epochs().iter().sum();
        assert!(epochs >= 200, "{suite}: {epochs} changes of keys");
        assert_eq!(client.epochs(), {
            let [a, b] = server.epochs();
            [b, a]
        });
    }
}

#[test]
fn a_fresh_exchange_renews_both_directions_under_traffic() {
    let mut rng = rand::rng();
    let (mut client, mut server) = established("AES", 256, Limits::default());
    let before = client.traffic_secrets().map(|s| *s);
    for round in 0..5u8 {
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rng);
        client.begin_exchange(pair.share()).unwrap();
        assert!(client.update_key().is_err(), "not between Init and Done");
        client.send(&[round, 1]).unwrap();
        pass(&mut client, &mut server);
        let wanted = events(&mut server);
        let [Event::ExchangeWanted(share), Event::Data(_)] = &wanted[..] else {
            panic!("{wanted:?}")
        };
        server.send(&[round, 2]).unwrap();
        let (share, secret) = Kex::X25519MlKem768.respond(share, &mut rng).unwrap();
        server.answer_exchange(&share, &secret).unwrap();
        server.send(&[round, 3]).unwrap();
        pass(&mut server, &mut client);
        let answered = events(&mut client);
        let [Event::Data(_), Event::ExchangeAnswered(share)] = &answered[..] else {
            panic!("{answered:?}")
        };
        client.send(&[round, 4]).unwrap();
        client.finish_exchange(&pair.finish(share).unwrap()).unwrap();
        client.send(&[round, 5]).unwrap();
        assert_eq!(received(&mut client), [round, 3]);
        pass(&mut client, &mut server);
        assert_eq!(received(&mut server), [round, 4, round, 5]);
        assert_eq!(client.traffic_secrets(), server.traffic_secrets());
        assert_eq!(client.epochs(), [u32::from(round) + 1; 2]);
    }
    assert_ne!(client.traffic_secrets().map(|s| *s), before);
    assert_eq!(client.id(), server.id());
}

#[test]
fn a_client_that_awaits_its_secret_says_when_it_has_a_batch() {
    let mut rng = rand::rng();
    let (mut client, mut server) = established("AES", 256, Limits::default());
    let kex = Kex::X25519MlKem768;
    let pair = KexKeyPair::generate(kex, &mut rng);
    client.begin_exchange(pair.share()).unwrap();
    pass(&mut client, &mut server);
    let Some(Event::ExchangeWanted(share)) = server.poll_event() else { panic!("no exchange") };
    let (share, secret) = kex.respond(&share, &mut rng).unwrap();
    server.answer_exchange(&share, &secret).unwrap();
    pass(&mut server, &mut client);
    let Some(Event::ExchangeAnswered(share)) = client.poll_event() else { panic!("no answer") };
    assert!(!client.has_backlog());
    // The server goes on meanwhile, as fast as it can.
    let data: Vec<u8> = (0..=250).cycle().take(400_000).collect();
    server.send(&data).unwrap();
    let mut held = 0;
    while let Some(record) = server.poll_transmit() {
        assert_eq!(client.has_backlog(), held >= client.batch_length());
        client.handle_input(&record).unwrap();
        held += record.len();
    }
    assert!(client.has_backlog() && client.poll_event().is_none());
    client.finish_exchange(&pair.finish(&share).unwrap()).unwrap();
    assert!(!client.has_backlog());
    assert_eq!(received(&mut client), data);
}

#[test]
fn buffers_that_come_back_are_used_again_and_empty() {
    let (mut client, mut server) = established("AES", 256, Limits::default());
    let data = vec![7; 100_000];
    let mut place = None;
    for round in 0..3 {
        client.send(&data).unwrap();
        pass(&mut client, &mut server);
        let Some(Event::Data(got)) = server.poll_event() else { panic!("no data") };
        assert_eq!(*got, data, "round {round}");
        assert_eq!(*place.get_or_insert(got.as_ptr()), got.as_ptr(), "round {round}");
        server.recycle(got);
        assert!(server.poll_event().is_none());
    }
    // A small one, and more than it keeps, do no harm.
    for size in [10, 300_000, 300_000, 300_000, 300_000, 300_000] {
        server.recycle(Zeroizing::new(vec![9; size]));
    }
    client.send(&data).unwrap();
    pass(&mut client, &mut server);
    assert_eq!(received(&mut server), data);
    server.shrink();
}
