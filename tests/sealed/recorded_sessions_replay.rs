//! Whole sessions of another implementation (data/sealed.json) replay byte by byte in both roles, and no
//! flipped bit of them is accepted.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use vpn::session::reversed;
use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, KexKeyPair, KexSecret,
    Limits, PeerIdentity, Psk, Ready, RecordOpener, RecordSealer, SealedError, ServerConfig,
    Session, TrafficSecret,
};
use vpn_proto::{EnabledSuite, SuiteId};
use vpn_suite::testkit::unhex;
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

use crate::support::in_memory::{events, message, sent};

pub(super) static DATA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/sealed.json")).unwrap());

fn sessions() -> &'static [Value] {
    let list = DATA["sessions"].as_array().unwrap();
    assert_eq!(list.len(), 4);
    list
}

pub(super) fn hex(value: &Value) -> Vec<u8> {
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

pub(super) fn client_pair(vector: &Value) -> KexKeyPair {
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

pub(super) fn wire(vector: &Value) -> Vec<(&str, Vec<u8>)> {
    let list = vector["wire"].as_array().unwrap();
    list.iter().map(|w| (w["from"].as_str().unwrap(), hex(&w["hex"]))).collect()
}

/// The records of one side behind its handshake.
pub(super) fn records(vector: &Value, from: &str, skip: usize) -> Vec<Vec<u8>> {
    let sent = wire(vector).into_iter().filter(|(f, _)| *f == from).map(|(_, bytes)| bytes);
    sent.skip(skip).collect()
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
pub(super) fn replayed_client(vector: &Value) -> (Session, Ready) {
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

pub(super) fn assert_secrets(session: &Session, vector: &Value) {
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
        let mut session = replayed_server(vector);
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

/// A server of the recorded session, up to its established state.
pub(super) fn replayed_server(vector: &Value) -> Session {
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
    let (session, peer, record) = state.on_record(&wire[3].1, admit).unwrap();
    assert_eq!((peer, record), (expected, wire[4].1.clone()));
    session
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
            // In the pieces in which it was sent, even if the lengths in them are spoilt.
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
