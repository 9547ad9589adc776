//! The sealed profile: both sides are authenticated, and both directions are encrypted (PROTOCOL.md
//! §4). It uses the same cipher suites as the classic profile.
//!
//! The handshake is a SIGMA-I key exchange in the form of TLS 1.3 (RFC 8446). Each state is a type,
//! and each step consumes its state. So the keys of a state do not exist before it. Complete
//! messages go in and come out; [`next_length`] cuts them from a stream. Randomness and time are
//! arguments.

mod alert;
mod channels;
mod error;
mod handshake;
mod hello;
mod kex;
mod psk;
mod record;
mod schedule;
mod session;
mod suites;
mod transcript;
mod wire;

pub use alert::{Alert, Undelivered};
pub use channels::{
    Answer, ChannelError, ChannelEvent, ChannelExit, ChannelLimits, Channels, CloseCode,
    FIRST_WINDOW, Frame, FrameSink, MAX_DATA, OpenStatus, Question, StreamKind, WindowBudget,
};
pub use error::SealedError;
pub use handshake::{
    AuthSent, AwaitServerAuth, ClientConfig, ClientProof, Decision, Gated, HelloSent, Identity,
    PeerIdentity, Ready, Refusal, ServerConfig, ServerFlightSent, ServerVerified,
};
pub use hello::{ClientHello, Reject, ServerHello};
pub use kex::{Kex, KexError, KexKeyPair, KexSecret};
pub use psk::Psk;
pub use record::{MAX_PAYLOAD, MAX_RECORD, Opened, RecordKeys, RecordOpener, RecordSealer};
pub use schedule::TrafficSecret;
pub use session::{Event, FrameBatch, Limits, Session, wiped};
pub use suites::suite_name;
pub use transcript::Transcript;
pub use wire::{HANDSHAKE_LIMIT, PREFACE, Part, next_length};
