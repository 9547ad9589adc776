//! A peer of the sealed profile that does what a test wants: messages with every field open to
//! change, and the key schedule and the records written a second time, from PROTOCOL.md §4.

#[cfg(unix)]
mod caller;
mod messages;
mod schedule;
mod sides;

use std::io::Read;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use vpn::trust::PublicKey;
use vpn_proto::sealed::{
    ClientConfig, Identity, Kex, Limits, Part, Psk, ServerConfig, next_length,
};
use vpn_proto::{EnabledSuite, SuiteId};
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

#[cfg(unix)]
pub(crate) use caller::{Caller, RawSession};
pub(crate) use messages::{Answer, Auth, Gate, Hello, field, frame, frame_of_length, long, names};
pub(crate) use schedule::{Records, Secrets, finished, hmac, opener, sha256};
pub(crate) use sides::{
    FacingClient, FacingServer, read_flight, respond, session_pair, session_pair_of, split_hello,
};

/// Whose keys are whose.
pub(crate) const CLIENT_SEED: [u8; 32] = [1; 32];
pub(crate) const SERVER_SEED: [u8; 32] = [2; 32];
pub(crate) const STRANGER_SEED: [u8; 32] = [3; 32];

pub(crate) const CLIENT_CONTEXT: &[u8] = b"vpn sealed1 client auth";
pub(crate) const SERVER_CONTEXT: &[u8] = b"vpn sealed1 server auth";

pub(crate) fn public(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// The line of a key in the files of both sides.
pub(crate) fn key_line(seed: &[u8; 32]) -> String {
    PublicKey { bytes: public(seed), comment: String::new() }.to_string().trim_end().to_owned()
}

/// Reads one message, and not a byte more.
pub(crate) fn read_part(stream: &mut impl Read, part: Part) -> Vec<u8> {
    next_part(stream, part).expect("a whole message within the deadline")
}

/// The next message; `None` if the stream ends or fails before it is whole.
pub(crate) fn next_part(stream: &mut impl Read, part: Part) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        if let Some(length) = next_length(part, &bytes).unwrap() {
            assert_eq!(length, bytes.len());
            return Some(bytes);
        }
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
}

/// AES in both sizes that the tests know.
pub(crate) fn enabled() -> Arc<[EnabledSuite]> {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let sizes = [256, 128].map(|bits| KeySize::from_bits(bits).unwrap()).to_vec();
    vec![EnabledSuite { suite, wire_name: suite.name(), sizes }].into()
}

/// The suite that two such sides agree on.
pub(crate) fn aes256() -> SuiteId {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    SuiteId { suite, size: KeySize::from_bits(256).unwrap() }
}

pub(crate) fn psk(byte: u8) -> Psk {
    Psk::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

/// An honest server that wants the gate.
pub(crate) fn server_config() -> ServerConfig {
    ServerConfig {
        enabled: enabled(),
        kex: vec![Kex::X25519MlKem768, Kex::Ffdhe3072],
        identity: Some(Identity::from_seed(&SERVER_SEED)),
        psks: Vec::new(),
        is_gate_required: true,
        limits: Limits::default(),
    }
}

/// An honest client that knows the server.
pub(crate) fn client_config() -> ClientConfig {
    ClientConfig {
        enabled: enabled(),
        kex: vec![Kex::X25519MlKem768, Kex::Ffdhe3072],
        identity: Some(Identity::from_seed(&CLIENT_SEED)),
        server_key: Some(public(&SERVER_SEED)),
        psk: None,
        limits: Limits::default(),
    }
}
