//! No bytes get a stranger into the sealed profile, or a peer with the keys out of order.

use std::sync::{Arc, LazyLock};

use vpn_proto::sealed::{
    AuthSent, ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, KexKeyPair, Limits,
    Part, Ready, RecordOpener, RecordSealer, ServerConfig, ServerFlightSent, Session,
    TrafficSecret, next_length,
};
use vpn_proto::{Printable, SuiteId};

use super::{Decisions, assert_one_line, cell, enabled};

/// Arbitrary bytes as the first message of either side of the sealed profile.
pub(crate) fn sealed_hello(data: &[u8]) {
    static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
        Arc::new(ServerConfig {
            enabled: enabled().into(),
            kex: vec![Kex::X25519MlKem768],
            identity: Some(Identity::from_seed(&[1; 32])),
            psks: Vec::new(),
            is_gate_required: false,
            limits: Limits::default(),
        })
    });
    static CLIENT: LazyLock<(Arc<ClientConfig>, Vec<u8>)> = LazyLock::new(|| {
        let config = Arc::new(ClientConfig {
            enabled: enabled().into(),
            kex: vec![Kex::X25519MlKem768],
            identity: None,
            server_key: None,
            psk: None,
            limits: Limits::default(),
        });
        let start = HelloSent::start(config.clone(), Kex::X25519MlKem768, &mut rand::rng());
        (config, start.unwrap().1)
    });
    // Where a stream is cut does not depend on what comes behind.
    if let Ok(Some(length)) = next_length(Part::Hello, data) {
        assert!(length <= data.len());
        assert_eq!(next_length(Part::Hello, &data[..length]), Ok(Some(length)));
        assert_eq!(next_length(Part::Hello, &data[..length - 1]), Ok(None));
    }
    let (config, hello) = &*CLIENT;
    let client = || {
        let pair = KexKeyPair::danger_hybrid(&[7; 64], &[9; 32]);
        HelloSent::danger_replay(config.clone(), pair, hello).unwrap()
    };
    match Gated::on_hello(SERVER.clone(), data) {
        Ok(gated) => {
            // The share may be good or bad: an answer, or silence.
            let _ = gated.respond(&mut rand::rng());
        }
        Err(refusal) => {
            assert_one_line(&Printable(refusal.error.to_string().as_bytes()).to_string());
            if let Some(answer) = refusal.answer {
                // A client can read why.
                assert!(client().on_first(&answer).is_err());
            }
        }
    }
    if let Ok(state) = client().on_first(data) {
        // Nobody but a server with a key gets further.
        assert!(state.on_record(data).is_err());
    }
}

/// Sealed records, altered and cut as the bytes say: nothing comes out that was not put in.
pub(crate) fn sealed_records(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (id, _) = cell(decisions.byte());
    let secret = TrafficSecret::danger_from_bytes([decisions.byte(); 32]);
    let Ok(keys) = secret.record_keys(id) else { return };
    let mut sealer = RecordSealer::new(keys);
    let mut opener = RecordOpener::new(secret.record_keys(id).unwrap());
    let (mut stream, mut sent, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..decisions.byte() % 8 {
        let (content, pad_to) = (decisions.byte(), usize::from(decisions.byte() % 3) * 64);
        let length = decisions.byte().into();
        let payload = decisions.take(length).to_vec();
        stream.extend(sealer.seal(content, &payload, pad_to.max(1)).unwrap());
        sent.push((content, payload));
        ends.push(stream.len());
    }
    let mut altered = stream.len();
    while !decisions.0.is_empty() {
        let at = decisions.below(stream.len() + 1);
        match decisions.byte() % 3 {
            0 if at < stream.len() => stream[at] ^= decisions.byte() | 1,
            1 => {
                let inserted = decisions.take(40).to_vec();
                stream.splice(at..at, inserted);
            }
            _ => stream.truncate(at),
        }
        altered = altered.min(at);
    }
    let sure = ends.iter().filter(|end| **end <= altered).count();
    let mut opened = Vec::new();
    while let Ok(Some(length)) = next_length(Part::Record, &stream) {
        let record: Vec<u8> = stream.drain(..length).collect();
        let Ok(record) = opener.open(&record) else { break };
        opened.push((record.content, record.payload.to_vec()));
    }
    assert!(opened.len() >= sure, "{} of {sure} records", opened.len());
    assert!(sent.starts_with(&opened), "a record that was not sealed");
}

/// A server and a client of the sealed profile that know each other.
static SEALED: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let server = Identity::from_seed(&[1; 32]);
    let client = ClientConfig {
        enabled: enabled().into(),
        kex: vec![Kex::X25519MlKem768],
        identity: Some(Identity::from_seed(&[2; 32])),
        server_key: Some(server.public_key()),
        psk: None,
        limits: Limits::default(),
    };
    let server = ServerConfig {
        enabled: enabled().into(),
        kex: vec![Kex::X25519MlKem768],
        identity: Some(server),
        psks: Vec::new(),
        is_gate_required: true,
        limits: Limits::default(),
    };
    (Arc::new(server), Arc::new(client))
});

/// A client's first message and the server's, field by field as the bytes say: a client that reads
/// it has agreed to what it had offered, and believes nobody without the keys.
pub(crate) fn sealed_answer(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (_, config) = &*SEALED;
    let start = HelloSent::start(config.clone(), Kex::X25519MlKem768, &mut rand::rng());
    let (state, _) = start.unwrap();
    let mut body = vec![7; 32];
    let (kex, suite) = (decisions.byte(), decisions.byte());
    body.extend([kex, suite]);
    let share_length = match decisions.byte() % 4 {
        0 => decisions.below(2000),
        _ => 1120,
    };
    let counted = match decisions.byte() % 8 {
        0 => decisions.below(0x1_0000),
        _ => share_length,
    };
    let filling = decisions.byte();
    body.extend(u16::try_from(counted % 0x1_0000).unwrap().to_be_bytes());
    body.extend(vec![filling; share_length]);
    // The extensions are what is left of the bytes, with or without a length that fits.
    if decisions.byte() % 8 > 0 {
        let length = u16::try_from(decisions.0.len() % 0x1_0000).unwrap();
        body.extend(length.to_be_bytes());
    }
    body.extend(decisions.0);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [b"\xf5VPN\x01\x02", &length[1..], &body].concat();
    match state.on_first(&message) {
        Ok(state) => {
            assert!(kex == 0 && share_length == 1120 && message.len() <= 4096);
            assert!(usize::from(suite) < 5);
            assert!(state.on_record(&[vec![0, 48], vec![filling; 48]].concat()).is_err());
        }
        Err(error) => assert_one_line(&Printable(error.to_string().as_bytes()).to_string()),
    }
}

/// Both sides up to the client's proof, and the secrets of the handshake, the client's first.
fn sealed_halves() -> (ServerFlightSent, AuthSent, Vec<u8>, [TrafficSecret; 2], SuiteId) {
    let (server, client) = &*SEALED;
    let mut rng = rand::rng();
    let kex = Kex::X25519MlKem768;
    let (client, hello) = HelloSent::start(client.clone(), kex, &mut rng).unwrap();
    let gated = Gated::on_hello(server.clone(), &hello).unwrap();
    let id = gated.suite();
    let (server, flight) = gated.respond(&mut rng).unwrap();
    let (first, second) = flight.split_at(next_length(Part::Hello, &flight).unwrap().unwrap());
    let client = client.on_first(first).unwrap().on_record(second).unwrap();
    let (client, proof) = client.accept().unwrap();
    let (_, secrets) = server.key_log();
    let secrets = secrets.map(|secret| TrafficSecret::danger_from_bytes(*secret));
    (server, client, proof, secrets, id)
}

/// A type and a payload, sealed by somebody who has the keys of the handshake, for a proof of the
/// client, for one of the server, and for Ready.
pub(crate) fn sealed_auth(data: &[u8]) {
    let Some((content, payload)) = data.split_first() else { return };
    let payload = &payload[..payload.len().min(16_384)];
    let seal = |secret: &TrafficSecret, id: SuiteId| {
        RecordSealer::new(secret.record_keys(id).unwrap()).seal(*content, payload, 1).unwrap()
    };
    let (server, client, _, [client_secret, _], id) = sealed_halves();
    // Nobody signs what cannot be known beforehand.
    let result = server
        .on_record(&seal(&client_secret, id), |peer| panic!("{peer:?} proved out of nothing"));
    let refusal = result.unwrap_err();
    assert_one_line(&Printable(refusal.error.to_string().as_bytes()).to_string());
    // Alert 1 under the next keys, or silence.
    assert!(refusal.answer.is_none_or(|answer| answer.len() == 2 + 64 + 32));
    let [_, server_secret] = client.key_log();
    let secret = TrafficSecret::danger_from_bytes(*server_secret);
    match client.on_record(&seal(&secret, id)) {
        Ok((session, ready)) => {
            assert_eq!((*content, &payload[..1], payload[4]), (0x16, &[0x0d][..], 0));
            assert!(ready.services.is_none_or(|services| services.len() < payload.len()));
            assert!(!session.is_closed());
        }
        Err(error) => assert_one_line(&Printable(error.to_string().as_bytes()).to_string()),
    }
    let (_, config) = &*SEALED;
    let (state, hello) =
        HelloSent::start(config.clone(), Kex::X25519MlKem768, &mut rand::rng()).unwrap();
    let gated = Gated::on_hello(SEALED.0.clone(), &hello).unwrap();
    let (server, flight) = gated.respond(&mut rand::rng()).unwrap();
    let first = next_length(Part::Hello, &flight).unwrap().unwrap();
    let (_, [_, secret]) = server.key_log();
    let secret = TrafficSecret::danger_from_bytes(*secret);
    let state = state.on_first(&flight[..first]).unwrap();
    let error = state.on_record(&seal(&secret, id)).unwrap_err();
    assert_one_line(&Printable(error.to_string().as_bytes()).to_string());
}

/// Records of a peer that has the keys of a session, one after the other as the bytes say.
pub(crate) fn sealed_session(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (server, client, proof, _, id) = sealed_halves();
    let admit = |_| Decision::Admit(Ready::default());
    let (server, _, ready) = server.on_record(&proof, admit).unwrap();
    let (mut client, _) = client.on_record(&ready).unwrap();
    let [client_secret, server_secret] =
        client.traffic_secrets().map(|secret| TrafficSecret::danger_from_bytes(*secret));
    let is_client = decisions.byte() % 2 == 1;
    let (session, secret) = if is_client {
        client.open("message", b"").unwrap();
        (client, server_secret)
    } else {
        (server, client_secret)
    };
    let mut sealer = RecordSealer::new(secret.record_keys(id).unwrap());
    if is_client {
        // Ready was the server's first record.
        sealer.seal(0x16, b"", 1).unwrap();
    }
    converse_sealed(session, &mut sealer, &mut decisions);
}

/// What comes out was put in, in order, and an error is the end.
fn converse_sealed(mut session: Session, sealer: &mut RecordSealer, decisions: &mut Decisions<'_>) {
    let (mut is_open, mut is_at_end) = (false, false);
    while !decisions.0.is_empty() {
        let content = decisions.byte();
        let length = usize::from(decisions.byte());
        let record = sealer.seal(content, decisions.take(length), 1).unwrap();
        let result = session.handle_input(&record);
        while let Some(event) = session.poll_event() {
            match event {
                Event::Open { .. } => {
                    assert!(!is_open, "a second service");
                    session.reply_open(0, "").unwrap();
                    is_open = true;
                }
                Event::OpenReply { status, .. } => {
                    assert!(!is_open, "a second answer");
                    is_open = status == 0;
                }
                Event::Data(_) => assert!(is_open && !is_at_end, "data out of place"),
                Event::Eof => {
                    assert!(is_open && !is_at_end, "an end out of place");
                    is_at_end = true;
                }
                _ => {}
            }
        }
        let said: usize = std::iter::from_fn(|| session.poll_transmit()).map(|r| r.len()).sum();
        assert!(said <= record.len() + 200, "{said} bytes for {}", record.len());
        if let Err(error) = result {
            assert_one_line(&Printable(error.to_string().as_bytes()).to_string());
            // It stays so.
            assert_eq!(session.handle_input(b"x"), Err(error.clone()));
            assert_eq!(session.handle_eof(), Err(error));
            return;
        }
        if session.is_closed() {
            return;
        }
    }
    assert!(session.handle_eof().is_err());
}
