//! Two sides of a sealed session in memory: a test moves the bytes.

use std::sync::Arc;

use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, Limits, PeerIdentity, Ready,
    ServerConfig, Session,
};
use vpn_suite::{KeySize, Registry};

/// A message of the message service.
pub(crate) fn message(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text].concat()
}

pub(crate) fn sent(session: &mut Session) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| session.poll_transmit()).collect()
}

pub(crate) fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// A client and a server of our own, with the service `message`.
pub(crate) fn established(suite: &str, bits: u32, limits: Limits) -> (Session, Session) {
    let (mut client, mut server) = connected(suite, bits, limits);
    client.open("message", b"").unwrap();
    pass(&mut client, &mut server);
    assert!(matches!(&events(&mut server)[..], [Event::Open { .. }]));
    server.reply_open(0, "").unwrap();
    pass(&mut server, &mut client);
    assert!(matches!(&events(&mut client)[..], [Event::OpenReply { status: 0, .. }]));
    (client, server)
}

/// A client and a server of our own, without a service.
pub(crate) fn connected(suite: &str, bits: u32, limits: Limits) -> (Session, Session) {
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
    let (server, _, ready) = server.on_record(&auth, admit).unwrap();
    let (client, ready) = client.on_record(&ready).unwrap();
    assert_eq!(ready.keepalive, Some(60));
    (client, server)
}

/// Hands over what one side has to send.
pub(crate) fn pass(from: &mut Session, to: &mut Session) {
    for bytes in sent(from) {
        to.handle_input(&bytes).unwrap();
    }
}

/// The data that a side has received.
pub(crate) fn received(session: &mut Session) -> Vec<u8> {
    let data = |event| match event {
        Event::Data(data) => data.to_vec(),
        Event::Eof | Event::CloseRequested | Event::Closed => Vec::new(),
        other => panic!("{other:?}"),
    };
    events(session).into_iter().flat_map(data).collect()
}
