//! The sealed profile: whole sessions of another implementation (data/sealed.json) replayed in both
//! roles, and the known answers of the key schedule.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use vpn::session::reversed;
use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, KexKeyPair, KexSecret,
    Limits, PeerIdentity, Psk, Ready, RecordOpener, RecordSealer, SealedError, ServerConfig,
    Session, TrafficSecret, Undelivered,
};
use vpn_proto::{EnabledSuite, SuiteId};
use vpn_suite::testkit::unhex;
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

static DATA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/sealed.json")).unwrap());

fn sessions() -> &'static [Value] {
    let list = DATA["sessions"].as_array().unwrap();
    assert_eq!(list.len(), 4);
    list
}

fn hex(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap())
}

fn bytes32(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

/// Every suite and size there is, as a configuration could enable them.
fn enabled() -> Arc<[EnabledSuite]> {
    let registry = Registry::linked().unwrap();
    let all = |suite: &'static dyn vpn_suite::CipherSuite| EnabledSuite {
        suite,
        wire_name: suite.name(),
        sizes: suite.key_sizes().iter().collect(),
    };
    registry.iter().map(all).collect()
}

fn identity(value: &Value) -> Option<Identity> {
    value.is_string().then(|| Identity::from_seed(&bytes32(value)))
}

fn psk(value: &Value) -> Option<Psk> {
    value.is_string().then(|| Psk::new(Zeroizing::new(hex(value))).unwrap())
}

fn client_pair(vector: &Value) -> KexKeyPair {
    let private = &vector["client_kex_private"];
    let kex = Kex::from_name(vector["kex"].as_str().unwrap()).unwrap();
    match private.get("exponent_hex") {
        Some(exponent) => KexKeyPair::danger_finite_field(kex, &hex(exponent)).unwrap(),
        None => {
            let seed: [u8; 64] = hex(&private["mlkem_seed_hex"]).try_into().unwrap();
            KexKeyPair::danger_hybrid(&seed, &bytes32(&private["x25519_hex"]))
        }
    }
}

fn wire(vector: &Value) -> Vec<(&str, Vec<u8>)> {
    let list = vector["wire"].as_array().unwrap();
    list.iter().map(|w| (w["from"].as_str().unwrap(), hex(&w["hex"]))).collect()
}

/// The records of one side behind its handshake.
fn records(vector: &Value, from: &str, skip: usize) -> Vec<Vec<u8>> {
    let sent = wire(vector).into_iter().filter(|(f, _)| *f == from).map(|(_, bytes)| bytes);
    sent.skip(skip).collect()
}

/// A message of the message service.
fn message(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text].concat()
}

fn sent(session: &mut Session) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| session.poll_transmit()).collect()
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn server_key(vector: &Value) -> Option<[u8; 32]> {
    identity(&vector["server_identity_seed_hex"]).map(|i| i.public_key())
}

fn client_config(vector: &Value) -> Arc<ClientConfig> {
    Arc::new(ClientConfig {
        enabled: enabled(),
        kex: Kex::ALL.to_vec(),
        identity: identity(&vector["client_identity_seed_hex"]),
        server_key: server_key(vector),
        psk: psk(&vector["psk_hex"]),
        limits: Limits::default(),
    })
}

fn server_config(vector: &Value) -> Arc<ServerConfig> {
    Arc::new(ServerConfig {
        enabled: enabled(),
        kex: Kex::ALL.to_vec(),
        identity: identity(&vector["server_identity_seed_hex"]),
        psks: psk(&vector["psk_hex"]).into_iter().collect(),
        is_gate_required: true,
        limits: Limits::default(),
    })
}

/// A client of the recorded session, up to its established state, checking every secret.
fn replayed_client(vector: &Value) -> (Session, Ready) {
    let wire = wire(vector);
    let state =
        HelloSent::danger_replay(client_config(vector), client_pair(vector), &wire[0].1).unwrap();
    let state = state.on_first(&wire[1].1).unwrap();
    let (_, [client, server]) = state.key_log();
    assert_eq!((*client, *server), (bytes32(&vector["c_hs_hex"]), bytes32(&vector["s_hs_hex"])));
    let state = state.on_record(&wire[2].1).unwrap();
    let expected = server_key(vector).map_or(PeerIdentity::PskOnly, PeerIdentity::Key);
    assert_eq!(state.server(), expected);
    let (state, record) = state.accept().unwrap();
    assert_eq!(record, wire[3].1);
    assert_eq!(state.transcript(), bytes32(&vector["th4_hex"]));
    state.on_record(&wire[4].1).unwrap()
}

fn assert_secrets(session: &Session, vector: &Value) {
    let [client, server] = session.traffic_secrets();
    assert_eq!((*client, *server), (bytes32(&vector["c_ap_hex"]), bytes32(&vector["s_ap_hex"])));
    assert_eq!(*session.exporter(), bytes32(&vector["exporter_hex"]));
    assert_eq!(session.id().to_vec(), hex(&vector["sid_hex"]));
}

#[test]
fn recorded_sessions_are_replayed_as_the_client() {
    for vector in sessions() {
        let (mut session, _) = replayed_client(vector);
        assert_secrets(&session, vector);
        let mut theirs = records(vector, "server", 3).into_iter();
        let mut ours = Vec::new();
        session.open("message", b"").unwrap();
        session.handle_input(&theirs.next().unwrap()).unwrap();
        assert!(matches!(&events(&mut session)[..], [Event::OpenReply { status: 0, .. }]));
        for text in vector["messages"].as_array().unwrap() {
            let text = text.as_str().unwrap().as_bytes();
            session.send(&message(text)).unwrap();
            session.handle_input(&theirs.next().unwrap()).unwrap();
            let expected = Event::Data(Zeroizing::new(message(&reversed(text))));
            assert_eq!(events(&mut session), [expected]);
            session.update_key().unwrap();
        }
        session.send_eof().unwrap();
        session.handle_input(&theirs.next().unwrap()).unwrap();
        assert_eq!(events(&mut session), [Event::Eof]);
        assert!(session.is_at_end());
        session.close(Alert::CloseNotify).unwrap();
        session.handle_input(&theirs.next().unwrap()).unwrap();
        assert_eq!(events(&mut session), [Event::Closed]);
        assert!(session.is_closed() && theirs.next().is_none());
        assert_eq!(session.handle_eof(), Ok(()));
        ours.extend(sent(&mut session));
        assert_eq!(ours, records(vector, "client", 2));
    }
}

#[test]
fn recorded_sessions_are_replayed_as_the_server() {
    for vector in sessions() {
        let wire = wire(vector);
        let (_, ready) = replayed_client(vector);
        let gated = Gated::on_hello(server_config(vector), &wire[0].1).unwrap();
        let name = vpn_proto::sealed::suite_name(gated.suite());
        assert_eq!(name, vector["suite"].as_str().unwrap());
        let answer = &wire[1].1;
        let random = answer[9..41].try_into().unwrap();
        let share_length = usize::from(u16::from_be_bytes([answer[43], answer[44]]));
        let share = &answer[45..45 + share_length];
        let secret = KexSecret::danger_from_bytes(&hex(&vector["kex_secret_hex"]));
        if let Some(exponent) = vector["server_kex_private"].get("exponent_hex") {
            // What is given must be what comes out.
            let theirs = client_pair(vector);
            let computed = gated.kex().danger_respond_with(&hex(exponent), theirs.share());
            let (computed_share, computed) = computed.unwrap().unwrap();
            assert_eq!(computed_share, share);
            assert_eq!(computed.as_bytes(), secret.as_bytes());
        }
        let (state, flight) = gated.danger_respond_with(random, share, &secret).unwrap();
        assert_eq!(flight, [wire[1].1.clone(), wire[2].1.clone()].concat());
        let client = identity(&vector["client_identity_seed_hex"]);
        let expected = client.map_or(PeerIdentity::PskOnly, |i| PeerIdentity::Key(i.public_key()));
        let admit = |peer| {
            assert_eq!(peer, expected);
            Decision::Admit(ready)
        };
        let (mut session, peer, record) = state.on_record(&wire[3].1, admit).unwrap();
        assert_eq!((peer, record), (expected, wire[4].1.clone()));
        assert_secrets(&session, vector);
        let mut texts = Vec::new();
        for record in records(vector, "client", 2) {
            session.handle_input(&record).unwrap();
            for event in events(&mut session) {
                match event {
                    Event::Open { service, argument } => {
                        assert_eq!((service.as_str(), argument.len()), ("message", 0));
                        session.reply_open(0, "").unwrap();
                    }
                    Event::Data(data) => {
                        let text = data[4..].to_vec();
                        session.send(&message(&reversed(&text))).unwrap();
                        texts.push(String::from_utf8(text).unwrap());
                    }
                    Event::Eof => session.send_eof().unwrap(),
                    Event::CloseRequested => session.close(Alert::CloseNotify).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(serde_json::json!(texts), vector["messages"]);
        assert!(session.is_closed());
        assert_eq!(session.epochs(), [0, 3]);
        assert_eq!(sent(&mut session), records(vector, "server", 3));
    }
}

#[test]
fn records_are_those_of_the_specification() {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let id = SuiteId { suite, size: KeySize::from_bits(256).unwrap() };
    let secret = unhex("66d185162529474f9169d4e06998e8fa1853df07f75cd08f4ac7ab1a2d187204");
    let secret = TrafficSecret::danger_from_bytes(secret.try_into().unwrap());
    let mut sealer = RecordSealer::new(secret.record_keys(id).unwrap());
    let mut opener = RecordOpener::new(secret.record_keys(id).unwrap());
    for expected in [
        "0030a2899dc7d65953c78d5cf59b244cc85633f4988a8327d1e8aaa54d692217534eefc2b01433469d67f8fc0700a9a7895f",
        "00306e062a8982bce370b0b4e7b6369a971cb19f4a5d1ca3d45057988bf2b5bb68043708ab637c6049c7967cd6a00f7856b8",
    ] {
        let record = sealer.seal(0x17, b"hello", 1).unwrap();
        assert_eq!(record, unhex(expected));
        let opened = opener.open(&record).unwrap();
        assert_eq!((opened.content, opened.payload.as_slice()), (0x17, &b"hello"[..]));
    }
    let next = unhex("c1f23523d137079203bdb3814ff9743cffba214d0fdb297a896b116a3c72a225");
    assert_eq!(secret.next().as_bytes().as_slice(), next);
}

/// The recorded session with the quickest key exchange.
fn quick() -> &'static Value {
    sessions().iter().find(|s| s["kex"] == "x25519-mlkem768" && s["psk_hex"].is_null()).unwrap()
}

/// Some bytes with one bit spoilt: one bit of every byte, or with VPN_EVERY_BIT set every bit.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let every = std::env::var_os("VPN_EVERY_BIT").is_some();
    let chosen = move |bit: &usize| every || bit % 8 == (bit / 8 * 5 + 3) % 8;
    (0..bytes.len() * 8).filter(chosen).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn no_flipped_bit_of_a_handshake_is_accepted() {
    let vector = quick();
    let wire = wire(vector);
    let (client, server) = (client_config(vector), server_config(vector));
    let secret = KexSecret::danger_from_bytes(&hex(&vector["kex_secret_hex"]));
    let answer = &wire[1].1;
    let (random, share) = (answer[9..41].try_into().unwrap(), &answer[45..45 + 1120]);
    for flipped in flips(&wire[0].1) {
        assert!(Gated::on_hello(server.clone(), &flipped).is_err());
    }
    for flipped in flips(&wire[1].1) {
        let state = HelloSent::danger_replay(client.clone(), client_pair(vector), &wire[0].1);
        let state = state.unwrap().on_first(&flipped).and_then(|s| s.on_record(&wire[2].1));
        assert!(state.is_err());
    }
    for flipped in flips(&wire[2].1) {
        let state = HelloSent::danger_replay(client.clone(), client_pair(vector), &wire[0].1);
        assert!(state.unwrap().on_first(&wire[1].1).unwrap().on_record(&flipped).is_err());
    }
    for flipped in flips(&wire[3].1) {
        let gated = Gated::on_hello(server.clone(), &wire[0].1).unwrap();
        let (state, _) = gated.danger_respond_with(random, share, &secret).unwrap();
        assert!(state.on_record(&flipped, |_| Decision::Admit(Ready::default())).is_err());
    }
    for flipped in flips(&wire[4].1) {
        let state = HelloSent::danger_replay(client.clone(), client_pair(vector), &wire[0].1);
        let state = state.unwrap().on_first(&wire[1].1).unwrap().on_record(&wire[2].1).unwrap();
        assert!(state.accept().unwrap().0.on_record(&flipped).is_err());
    }
}

/// What a side has received, and how it ended: an error, a proper end, or the end of the stream.
fn heard(
    mut session: Session,
    pieces: impl Iterator<Item = Vec<u8>>,
) -> (Vec<u8>, Result<(), SealedError>) {
    let mut data = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| session.handle_input(&piece));
        for event in events(&mut session) {
            match event {
                Event::Open { .. } => session.reply_open(0, "").unwrap(),
                Event::Data(more) => data.extend(more.iter()),
                _ => {}
            }
        }
    }
    (data, result.and_then(|()| session.handle_eof()))
}

#[test]
fn no_flipped_bit_of_a_whole_session_is_accepted() {
    let vector = quick();
    let wire = wire(vector);
    let secret = KexSecret::danger_from_bytes(&hex(&vector["kex_secret_hex"]));
    let answer = &wire[1].1;
    let (random, share) = (answer[9..41].try_into().unwrap(), &answer[45..45 + 1120]);
    let config = server_config(vector);
    let ready = replayed_client(vector).1;
    let server = || {
        let gated = Gated::on_hello(config.clone(), &wire[0].1).unwrap();
        let (state, _) = gated.danger_respond_with(random, share, &secret).unwrap();
        state.on_record(&wire[3].1, |_| Decision::Admit(ready.clone())).unwrap().0
    };
    let config = client_config(vector);
    let client = || {
        let state = HelloSent::danger_replay(config.clone(), client_pair(vector), &wire[0].1);
        let state = state.unwrap().on_first(answer).unwrap().on_record(&wire[2].1).unwrap();
        let (mut session, _) = state.accept().unwrap().0.on_record(&wire[4].1).unwrap();
        session.open("message", b"").unwrap();
        session
    };
    type Start<'a> = &'a dyn Fn() -> Session;
    let mut flipped_bits = 0;
    for (from, skip, start) in [("client", 2, &server as Start<'_>), ("server", 3, &client)] {
        let records = records(vector, from, skip);
        let (whole, end) = heard(start(), records.iter().cloned());
        assert!(!whole.is_empty() && end.is_ok());
        for flipped in flips(&records.concat()) {
            // In the pieces in which it was sent, whatever the records in them now say.
            let mut rest = flipped.as_slice();
            let pieces = records.iter().map(|record| {
                let (piece, behind) = rest.split_at(record.len());
                rest = behind;
                piece.to_vec()
            });
            let (data, end) = heard(start(), pieces);
            assert!(end.is_err() && whole.starts_with(&data), "{end:?}");
            flipped_bits += 1;
        }
    }
    assert!(flipped_bits >= 800, "{flipped_bits}");
}

/// A client and a server of our own.
fn established(suite: &str, bits: u32, limits: Limits) -> (Session, Session) {
    let mut rng = rand::rng();
    let suite = Registry::linked().unwrap().find(suite).unwrap();
    let sizes = vec![KeySize::from_bits(bits).unwrap()];
    let enabled: Arc<[EnabledSuite]> =
        vec![EnabledSuite { suite, wire_name: suite.name(), sizes }].into();
    let (ours, theirs) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let kex = vec![Kex::X25519MlKem768];
    let client = ClientConfig {
        enabled: enabled.clone(),
        kex: kex.clone(),
        identity: Some(ours.clone()),
        server_key: Some(theirs.public_key()),
        psk: None,
        limits,
    };
    let server = ServerConfig {
        enabled,
        kex,
        identity: Some(theirs),
        psks: Vec::new(),
        is_gate_required: true,
        limits,
    };
    let (client, hello) =
        HelloSent::start(Arc::new(client), Kex::X25519MlKem768, &mut rng).unwrap();
    let gated = Gated::on_hello(Arc::new(server), &hello).unwrap();
    let (server, flight) = gated.respond(&mut rng).unwrap();
    let length = vpn_proto::sealed::next_length(vpn_proto::sealed::Part::Hello, &flight);
    let (first, second) = flight.split_at(length.unwrap().unwrap());
    let client = client.on_first(first).unwrap().on_record(second).unwrap();
    let (client, auth) = client.accept().unwrap();
    let known = PeerIdentity::Key(ours.public_key());
    let admit = |peer| {
        assert_eq!(peer, known);
        Decision::Admit(Ready { keepalive: Some(60), ..Ready::default() })
    };
    let (mut server, _, ready) = server.on_record(&auth, admit).unwrap();
    let (mut client, ready) = client.on_record(&ready).unwrap();
    assert_eq!(ready.keepalive, Some(60));
    client.open("message", b"").unwrap();
    pass(&mut client, &mut server);
    assert!(matches!(&events(&mut server)[..], [Event::Open { .. }]));
    server.reply_open(0, "").unwrap();
    pass(&mut server, &mut client);
    assert!(matches!(&events(&mut client)[..], [Event::OpenReply { status: 0, .. }]));
    (client, server)
}

/// Hands over what one side has to send.
fn pass(from: &mut Session, to: &mut Session) {
    for bytes in sent(from) {
        to.handle_input(&bytes).unwrap();
    }
}

/// The data that a side has received.
fn received(session: &mut Session) -> Vec<u8> {
    let data = |event| match event {
        Event::Data(data) => data.to_vec(),
        Event::Eof | Event::CloseRequested | Event::Closed => Vec::new(),
        other => panic!("{other:?}"),
    };
    events(session).into_iter().flat_map(data).collect()
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
    // Nothing is said by itself, whatever else happens meanwhile.
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
        // It has been said, and is not taken back.
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
fn records_that_are_altered_repeated_or_left_out_end_a_session() {
    let sent_by = |edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let (mut client, mut server) = established("AES", 256, Limits::default());
        client.send(b"one").unwrap();
        client.send(b"two").unwrap();
        let mut records = sent(&mut client);
        edit(&mut records);
        let result = records.iter().try_for_each(|record| server.handle_input(record));
        // Nothing is said about a bad record, and it is over for good.
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
fn what_is_out_of_order_is_a_protocol_error() {
    // Data after one's own end, a second service, an answer nobody asked for.
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
        // What stands behind the answer is read once its secret is there.
        assert_eq!(client.handle_eof(), Ok(()));
        let finished = client.finish_exchange(&pair.finish(share).unwrap());
        assert_eq!(finished.is_ok(), is_proper, "{finished:?}");
        assert_eq!(client.is_closed(), is_proper);
    }
}
