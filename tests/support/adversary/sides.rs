//! Honest sides, and what the other one knows of them.

use std::sync::Arc;

use vpn_proto::sealed::{
    ClientConfig, Decision, Event, Gated, HelloSent, Kex, KexKeyPair, Limits, Part, Ready,
    ServerConfig, ServerFlightSent, Session, next_length,
};

use super::{Hello, Secrets, client_config, opener, server_config, sha256};

/// Splits a message with a preface off.
pub(crate) fn split_hello(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(next_length(Part::Hello, bytes).unwrap().unwrap())
}

/// An honest server that has sent ServerHello and ServerAuth, and what its client knows then.
#[derive(Debug)]
pub(crate) struct FacingServer {
    pub(crate) state: ServerFlightSent,
    /// ClientHello, ServerHello and ServerAuth.
    pub(crate) transcript: Vec<u8>,
    /// The server's record.
    pub(crate) record: Vec<u8>,
    pub(crate) secrets: Secrets,
}

impl FacingServer {
    /// A ClientHello with nothing wrong, but for what `edit` does.
    pub(crate) fn start(
        config: ServerConfig,
        psk: Option<u8>,
        edit: impl FnOnce(&mut Hello),
    ) -> Self {
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
        let mut hello = Hello::new(pair.share());
        edit(&mut hello);
        let hello = hello.encode();
        let gated = Gated::on_hello(Arc::new(config), &hello).unwrap();
        let (state, flight) = gated.respond(&mut rand::rng()).unwrap();
        Self::take(state, pair, &hello, &flight, psk)
    }

    /// Reads the flight of a server.
    pub(crate) fn take(
        state: ServerFlightSent,
        pair: KexKeyPair,
        hello: &[u8],
        flight: &[u8],
        psk: Option<u8>,
    ) -> Self {
        let (transcript, record, secrets) = read_flight(pair, hello, flight, psk);
        Self { state, transcript, record, secrets }
    }

    /// The secrets of the session behind this ClientAuth.
    pub(crate) fn session(&self, client_auth: &[u8]) -> [[u8; 32]; 2] {
        self.secrets.session(&sha256(&[&self.transcript, client_auth]))
    }
}

/// What a client knows after the flight of a server: the transcript so far, the record, the secrets.
pub(crate) fn read_flight(
    pair: KexKeyPair,
    hello: &[u8],
    flight: &[u8],
    psk: Option<u8>,
) -> (Vec<u8>, Vec<u8>, Secrets) {
    let (answer, record) = split_hello(flight);
    let length = usize::from(u16::from_be_bytes([answer[43], answer[44]]));
    let exchanged = pair.finish(&answer[45..45 + length]).unwrap();
    let secrets = Secrets::new(psk, exchanged.as_bytes(), &sha256(&[hello, answer]));
    let auth = opener(secrets.server).open(record).unwrap();
    (([hello, answer, &auth.payload]).concat(), record.to_vec(), secrets)
}

/// An honest client that has sent its ClientHello, and what a server can make of that.
#[derive(Debug)]
pub(crate) struct FacingClient {
    pub(crate) state: HelloSent,
    pub(crate) hello: Vec<u8>,
    /// Our share for it, and the secret.
    pub(crate) share: Vec<u8>,
    pub(crate) exchanged: Vec<u8>,
}

impl FacingClient {
    pub(crate) fn start(config: ClientConfig) -> Self {
        let mut rng = rand::rng();
        let start = HelloSent::start(Arc::new(config), Kex::X25519MlKem768, &mut rng);
        let (state, hello) = start.unwrap();
        let (share, exchanged) = respond(&hello);
        Self { state, hello, share, exchanged }
    }

    /// The secrets of the handshake behind this ServerHello.
    pub(crate) fn secrets(&self, answer: &[u8]) -> Secrets {
        Secrets::new(None, &self.exchanged, &sha256(&[&self.hello, answer]))
    }
}

/// Answers the share of an honest ClientHello: our share, and the secret.
pub(crate) fn respond(hello: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let share = vpn_proto::sealed::ClientHello::parse(hello).unwrap().share;
    let (share, secret) = Kex::X25519MlKem768.respond(&share, &mut rand::rng()).unwrap();
    (share, secret.as_bytes().to_vec())
}

/// Two honest sides in a session with an open service.
pub(crate) fn session_pair(limits: Limits) -> (Session, Session) {
    let client = ClientConfig { limits, ..client_config() };
    let server = ServerConfig { limits, ..server_config() };
    session_pair_of(client, server)
}

pub(crate) fn session_pair_of(client: ClientConfig, server: ServerConfig) -> (Session, Session) {
    let mut rng = rand::rng();
    let kex = Kex::X25519MlKem768;
    let (client, hello) = HelloSent::start(Arc::new(client), kex, &mut rng).unwrap();
    let gated = Gated::on_hello(Arc::new(server), &hello).unwrap();
    let (server, flight) = gated.respond(&mut rng).unwrap();
    let (first, second) = split_hello(&flight);
    let client = client.on_first(first).unwrap().on_record(second).unwrap();
    let (client, proof) = client.accept().unwrap();
    let admit = |_| Decision::Admit(Ready::default());
    let (mut server, _, ready) = server.on_record(&proof, admit).unwrap();
    let (mut client, _) = client.on_record(&ready).unwrap();
    client.open("message", b"").unwrap();
    server.handle_input(&client.poll_transmit().unwrap()).unwrap();
    assert!(matches!(server.poll_event(), Some(Event::Open { .. })));
    server.reply_open(0, "").unwrap();
    client.handle_input(&server.poll_transmit().unwrap()).unwrap();
    assert!(matches!(client.poll_event(), Some(Event::OpenReply { status: 0, .. })));
    (client, server)
}
