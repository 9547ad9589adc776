//! Sessions whose keys change all the time, and what ends them.

use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    Alert, Event, Kex, KexKeyPair, Limits, SealedError, ServerConfig, Session,
};
use vpn_suite::{KeySize, Registry};

use crate::support::Dice;
use crate::support::adversary::{client_config, server_config, session_pair, session_pair_of};

/// One direction: what is on its way, and what has to arrive.
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
        while let Some(event) = server.poll_event() {
            match event {
                Event::Data(data) => there.compare(&data),
                Event::ExchangeWanted(share) => {
                    let (share, secret) =
                        Kex::X25519MlKem768.respond(&share, &mut rand::rng()).unwrap();
                    server.answer_exchange(&share, &secret).unwrap();
                    back.take(&mut server);
                }
                other => panic!("{other:?}"),
            }
        }
        while let Some(event) = client.poll_event() {
            match event {
                Event::Data(data) => back.compare(&data),
                Event::ExchangeAnswered(share) => {
                    let secret = pair.take().unwrap().finish(&share).unwrap();
                    client.finish_exchange(&secret).unwrap();
                    there.take(&mut client);
                    exchanges += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    // The rest arrives, and the end.
    client.send_eof().unwrap();
    there.take(&mut client);
    there.deliver(&mut server, usize::MAX);
    back.deliver(&mut client, usize::MAX);
    let mut has_ended = false;
    while let Some(event) = server.poll_event() {
        match event {
            Event::Data(data) => there.compare(&data),
            Event::Eof => has_ended = true,
            other => panic!("{other:?}"),
        }
    }
    while let Some(event) = client.poll_event() {
        let Event::Data(data) = event else { panic!("{event:?}") };
        back.compare(&data);
    }
    assert!(has_ended);
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
