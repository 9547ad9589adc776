//! The sealed profile: authenticated, encrypted in both directions, on the same suites
//! (PROTOCOL.md §4).
//!
//! A SIGMA-I key exchange in the shape of TLS 1.3. Each state of the handshake is a type, consumed
//! by the step to the next; the keys of a state do not exist before it. Whole messages go in and
//! come out; [`next_length`] cuts them from a stream. Randomness and time are arguments.

mod alert;
mod error;
mod ffdhe;
mod handshake;
mod hello;
mod kex;
mod record;
mod schedule;
mod session;
mod transcript;
mod wire;

pub use alert::{Alert, Undelivered};
pub use error::SealedError;
pub use handshake::{
    AuthSent, AwaitServerAuth, ClientConfig, Decision, Gated, HelloSent, Identity, PeerIdentity,
    Ready, Refusal, ServerConfig, ServerFlightSent, ServerVerified,
};
pub use hello::{ClientHello, Reject, ServerHello, suite_name};
pub use kex::{Kex, KexError, KexKeyPair, KexSecret};
pub use record::{MAX_PAYLOAD, MAX_RECORD, Opened, RecordKeys, RecordOpener, RecordSealer};
pub use schedule::{Psk, TrafficSecret};
pub use session::{Event, Limits, Session, wiped};
pub use transcript::Transcript;
pub use wire::{HANDSHAKE_LIMIT, PREFACE, Part, next_length};
