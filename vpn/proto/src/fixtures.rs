//! What unit tests share: one suite, and two sides in memory.

use std::sync::Arc;

use vpn_suite::{KeySize, Registry};
use vpn_suites as _;

use crate::sealed::{
    ClientConfig, Decision, Gated, HelloSent, Identity, Kex, Limits, Part, Ready, ServerConfig,
    Session, next_length,
};
use crate::suite::{EnabledSuite, SuiteId};

/// AES with these key sizes in bits.
pub(crate) fn aes(sizes: &[u32]) -> Arc<[EnabledSuite]> {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let sizes = sizes.iter().map(|&bits| KeySize::from_bits(bits).unwrap()).collect();
    [EnabledSuite { suite, wire_name: "AES", sizes }].into()
}

pub(crate) fn aes256() -> SuiteId {
    let enabled = aes(&[256]);
    SuiteId { suite: enabled[0].suite, size: enabled[0].sizes[0] }
}

pub(crate) fn client_config(limits: Limits) -> ClientConfig {
    ClientConfig {
        enabled: aes(&[256]),
        kex: Kex::ALL.to_vec(),
        identity: Some(Identity::from_seed(&[2; 32])),
        server_key: Some(Identity::from_seed(&[1; 32]).public_key()),
        psk: None,
        limits,
    }
}

pub(crate) fn server_config(limits: Limits) -> ServerConfig {
    ServerConfig {
        enabled: aes(&[256]),
        kex: Kex::ALL.to_vec(),
        identity: Some(Identity::from_seed(&[1; 32])),
        psks: vec![],
        is_gate_required: true,
        limits,
    }
}

/// Splits the first flight of a server: ServerHello, and the record of ServerAuth.
pub(crate) fn split_flight(flight: &[u8]) -> (&[u8], &[u8]) {
    flight.split_at(next_length(Part::Hello, flight).unwrap().unwrap())
}

/// Two established sessions: client and server.
pub(crate) fn sessions(limits: Limits) -> (Session, Session) {
    let rng = &mut rand::rng();
    let config = Arc::new(client_config(limits));
    let (client, hello) = HelloSent::start(config, Kex::X25519MlKem768, rng).unwrap();
    let server = Gated::on_hello(Arc::new(server_config(limits)), &hello).unwrap();
    let (server, flight) = server.respond(rng).unwrap();
    let (first, record) = split_flight(&flight);
    let client = client.on_first(first).unwrap().on_record(record).unwrap();
    let (client, record) = client.accept().unwrap();
    let admit = |_| Decision::Admit(Ready::default());
    let (server, _, record) = server.on_record(&record, admit).unwrap();
    (client.on_record(&record).unwrap().0, server)
}
