//! Handshakes between two sides in memory that fail, each at another step.

use std::sync::Arc;

use super::{
    ClientConfig, Decision, Gated, HelloSent, Identity, PeerIdentity, Ready, ServerConfig,
    ServerFlightSent, ServerVerified,
};
use crate::fixtures::{client_config, server_config, sessions, split_flight};
use crate::sealed::alert::Alert;
use crate::sealed::error::SealedError;
use crate::sealed::hello::Reject;
use crate::sealed::kex::{Kex, KexKeyPair};
use crate::sealed::psk::Psk;
use crate::sealed::session::Limits;
use crate::sealed::wire::{frame, framed};

const KEX: Kex = Kex::X25519MlKem768;

fn psk(byte: u8) -> Psk {
    Psk::new(vec![byte; 32].into()).unwrap()
}

fn client() -> ClientConfig {
    client_config(Limits::default())
}

fn server() -> ServerConfig {
    server_config(Limits::default())
}

fn hello_sent(config: ClientConfig) -> (HelloSent, Vec<u8>) {
    HelloSent::start(Arc::new(config), KEX, &mut rand::rng()).unwrap()
}

fn gated(config: ServerConfig, hello: &[u8]) -> Result<Gated, SealedError> {
    Gated::on_hello(Arc::new(config), hello).map_err(|refusal| refusal.error)
}

/// Both sides up to the proof of the server.
fn verified(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<(ServerVerified, ServerFlightSent), SealedError> {
    let (client, hello) = hello_sent(client);
    let (server, flight) = gated(server, &hello)?.respond(&mut rand::rng())?;
    let (first, record) = split_flight(&flight);
    Ok((client.on_first(first)?.on_record(record)?, server))
}

fn admit(_: PeerIdentity) -> Decision {
    Decision::Admit(Ready::default())
}

#[test]
fn both_sides_have_the_same_session() {
    let (client, server) = sessions(Limits::default());
    assert_eq!(client.exporter(), server.exporter());
    assert_eq!(client.traffic_secrets(), server.traffic_secrets());
    assert_eq!((client.id(), client.kex()), (server.id(), KEX));
    assert_eq!((client.suite().to_string(), client.epochs()), ("AES256".to_owned(), [0, 0]));
}

#[test]
fn a_client_accepts_only_the_server_that_it_expects() {
    let other = Identity::from_seed(&[9; 32]);
    let server_key = Some(other.public_key());
    let unasked = ServerConfig { is_gate_required: false, ..server() };
    let wrong = verified(ClientConfig { server_key, ..client() }, unasked).unwrap_err();
    let got = Identity::from_seed(&[1; 32]).public_key();
    assert_eq!(wrong, SealedError::ServerKey { got });
    // A server with a PSK and without a key.
    let psk_only = || ServerConfig { identity: None, psks: vec![psk(1)], ..server() };
    let knows_key = ClientConfig { psk: Some(psk(1)), ..client() };
    let error = verified(knows_key, psk_only()).unwrap_err();
    assert_eq!(error, SealedError::Authentication("the server shows no key"));
    let any = ClientConfig { psk: Some(psk(1)), server_key: None, ..client() };
    let (state, _) = verified(any, psk_only()).unwrap();
    assert_eq!(state.server(), PeerIdentity::PskOnly);
}

#[test]
fn a_server_without_the_psk_is_not_accepted() {
    let unasked = ServerConfig { is_gate_required: false, ..server() };
    let error = verified(ClientConfig { psk: Some(psk(1)), ..client() }, unasked).unwrap_err();
    assert_eq!(error, SealedError::PskNotAccepted);
}

#[test]
fn a_gate_is_required_and_new() {
    let stranger = || ClientConfig { server_key: None, ..client() };
    let (_, hello) = hello_sent(stranger());
    assert_eq!(gated(server(), &hello).unwrap_err(), SealedError::Gate);
    let open = ServerConfig { is_gate_required: false, ..server() };
    assert!(!gated(open, &hello).unwrap().knows_us());
    let (_, hello) = hello_sent(client());
    let repeated = Gated::on_fresh_hello(Arc::new(server()), &hello, |_| false).unwrap_err();
    assert_eq!((repeated.error, repeated.answer), (SealedError::Replayed, None));
    let state = gated(server(), &hello).unwrap();
    assert_eq!((state.knows_us(), state.kex()), (true, KEX));
    assert_eq!(state.suite().to_string(), "AES256");
    // A server with PSKs only has no proof for a client without one.
    let psks = ServerConfig { identity: None, is_gate_required: false, ..server() };
    let error = gated(psks, &hello).unwrap_err();
    assert_eq!(error, SealedError::Authentication("no PSK matches"));
}

#[test]
fn a_server_names_what_it_has_if_nothing_is_in_common() {
    let refusal = |config: ServerConfig| {
        let (client, hello) = hello_sent(client());
        let refusal = Gated::on_hello(Arc::new(config), &hello).unwrap_err();
        (refusal.error, client.on_first(&refusal.answer.unwrap()).unwrap_err())
    };
    let (theirs, ours) = ("aes-256-cbc".to_owned(), String::new());
    let no_suite = ServerConfig { enabled: [].into(), ..server() };
    // An empty list is not allowed on the wire, and no configuration is without suites.
    let (error, _) = refusal(no_suite);
    assert_eq!(error, SealedError::NothingInCommon { what: "cipher suite", theirs, ours });
    let others = || ClientConfig { kex: vec![KEX], ..client() };
    let (state, hello) = hello_sent(others());
    let config = ServerConfig { kex: vec![Kex::Ffdhe3072], ..server() };
    let refusal = Gated::on_hello(Arc::new(config), &hello).unwrap_err();
    let (theirs, ours) = ("x25519-mlkem768".to_owned(), "ffdhe3072".to_owned());
    let expected = SealedError::NothingInCommon { what: "key exchange", theirs, ours };
    assert_eq!(refusal.error, expected);
    let (theirs, ours) = ("ffdhe3072".to_owned(), "x25519-mlkem768".to_owned());
    let expected = SealedError::NothingInCommon { what: "key exchange", theirs, ours };
    assert_eq!(state.on_first(&refusal.answer.unwrap()).unwrap_err(), expected);
}

#[test]
fn a_share_for_another_key_exchange_is_asked_again() {
    let config = ServerConfig { kex: vec![Kex::Ffdhe3072], ..server() };
    let (state, hello) = hello_sent(client());
    let refusal = Gated::on_hello(Arc::new(config), &hello).unwrap_err();
    assert!(matches!(refusal.error, SealedError::KexRetry { .. }));
    let (theirs, suites) = ("ffdhe3072".to_owned(), "aes-256-cbc".to_owned());
    let expected = SealedError::KexRetry { theirs, suites };
    assert_eq!(state.on_first(&refusal.answer.unwrap()).unwrap_err(), expected);
    let (state, _) = hello_sent(client());
    assert_eq!(state.on_first(&Reject::Busy.encode()).unwrap_err(), SealedError::Busy);
}

#[test]
fn a_server_hello_must_choose_from_the_lists() {
    for (at, part) in
        [(41, "the key exchange is not that of our share"), (42, "index of the suite")]
    {
        let (client, hello) = hello_sent(client());
        let (_, flight) = gated(server(), &hello).unwrap().respond(&mut rand::rng()).unwrap();
        let mut first = split_flight(&flight).0.to_vec();
        first[at] = 9;
        assert_eq!(client.on_first(&first).unwrap_err(), SealedError::Malformed(part));
    }
    let error = HelloSent::start(
        Arc::new(ClientConfig { kex: vec![KEX], ..client() }),
        Kex::Ffdhe3072,
        &mut rand::rng(),
    );
    assert_eq!(error.unwrap_err(), SealedError::Internal);
}

#[test]
fn a_pair_made_in_advance_answers() {
    let pair = KexKeyPair::generate(Kex::Ffdhe3072, &mut rand::rng());
    let config = Arc::new(client());
    let (client, hello) = HelloSent::start(config, Kex::Ffdhe3072, &mut rand::rng()).unwrap();
    let config = ServerConfig { kex: vec![Kex::Ffdhe3072], ..server() };
    let expected = pair.share().to_vec();
    // The list of the client has X25519 first, but this server does not know it.
    let state = gated(config, &hello).unwrap();
    let (_, flight) = state.respond_with_pair(Some(pair), &mut rand::rng()).unwrap();
    let (first, record) = split_flight(&flight);
    assert!(first.windows(expected.len()).any(|w| w == expected));
    assert!(client.on_first(first).unwrap().on_record(record).is_ok());
}

#[test]
fn a_refused_client_gets_one_alert_for_every_reason() {
    let deny = |_: PeerIdentity| Decision::Deny("not in the list");
    let (client, server) = verified(client(), server()).unwrap();
    let (client, record) = client.accept().unwrap();
    let refusal = server.on_record(&record, deny).unwrap_err();
    assert_eq!(refusal.error, SealedError::Authentication("not in the list"));
    let alert = client.on_record(&refusal.answer.unwrap()).unwrap_err();
    assert_eq!(alert, SealedError::Alert(Alert::AccessDenied));
    // A client without a key and without a PSK.
    let anonymous = ClientConfig { identity: None, ..self::client() };
    let (client, server) = verified(anonymous, self::server()).unwrap();
    let (_, record) = client.accept().unwrap();
    let refusal = server.on_record(&record, admit).unwrap_err();
    assert_eq!(refusal.error, SealedError::Authentication("it shows no key"));
}

#[test]
fn a_client_can_refuse_the_server() {
    let (client, server) = verified(client(), server()).unwrap();
    let alert = client.refuse(Alert::AccessDenied).unwrap();
    let refusal = server.on_record(&alert, admit).unwrap_err();
    assert_eq!(refusal.error, SealedError::Alert(Alert::AccessDenied));
    assert_eq!(refusal.answer, None);
}

#[test]
fn altered_proofs_are_refused() {
    use super::auth::{prove, verify};
    use crate::role::Role;
    use crate::sealed::schedule::TrafficSecret;
    use crate::sealed::transcript::Transcript;

    let (identity, secret) =
        (Identity::from_seed(&[3; 32]), TrafficSecret::danger_from_bytes([4; 32]));
    let transcript = Transcript::default();
    let check = |frame: &[u8]| verify(Role::Client, frame, &secret, &transcript);
    let proof = prove(Role::Client, Some(&identity), &secret, &transcript);
    assert_eq!(check(&proof), Ok(PeerIdentity::Key(identity.public_key())));
    let without_key = prove(Role::Client, None, &secret, &transcript);
    assert_eq!(check(&without_key), Ok(PeerIdentity::PskOnly));
    let altered = |frame: &[u8], at: usize| {
        let mut frame = frame.to_vec();
        frame[at] ^= 1;
        check(&frame).unwrap_err()
    };
    let mac = SealedError::Authentication("the Finished MAC is not that of the transcript");
    // Every byte counts: key, signature and MAC.
    for at in [5, 36, 37, 100, 101, 132] {
        assert_eq!(altered(&proof, at), mac, "byte {at}");
    }
    let kind = SealedError::Malformed("kind of an authentication");
    assert_eq!(altered(&without_key, 5), kind);
    assert_eq!(altered(&without_key, 50), kind);
    let mut other = proof.clone();
    other[4] = 2;
    assert_eq!(check(&other), Err(kind));
    let short = framed(frame::CLIENT_AUTH, &[0; 128]);
    assert_eq!(check(&short), Err(SealedError::Malformed("length of an authentication")));
    let server = prove(Role::Server, Some(&identity), &secret, &transcript);
    let (expected, got) = (frame::CLIENT_AUTH, frame::SERVER_AUTH);
    assert_eq!(check(&server), Err(SealedError::Unexpected { expected, got }));
}

#[test]
fn key_logs_have_the_client_first() {
    let (client, hello) = hello_sent(client());
    let (server, flight) = gated(server(), &hello).unwrap().respond(&mut rand::rng()).unwrap();
    let (first, record) = split_flight(&flight);
    let client = client.on_first(first).unwrap();
    assert_eq!(client.key_log(), server.key_log());
    assert_eq!(client.key_log().0, hello[9..41]);
    assert_eq!(client.suite().to_string(), "AES256");
    let (client, record) = client.on_record(record).unwrap().accept().unwrap();
    let (session, peer, _) = server.on_record(&record, admit).unwrap();
    assert_eq!(client.key_log(), session.traffic_secrets());
    assert_eq!(peer, PeerIdentity::Key(Identity::from_seed(&[2; 32]).public_key()));
    assert_ne!(client.transcript(), [0; 32]);
}
