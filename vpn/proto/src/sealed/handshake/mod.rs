//! The handshake of the sealed profile, for both roles (PROTOCOL.md §4.2, §4.3).

mod auth;
mod client;
mod server;

use std::fmt;

use ed25519_dalek::SigningKey;

pub use client::{AuthSent, AwaitServerAuth, ClientConfig, HelloSent, ServerVerified};
pub use server::{Decision, Gated, Refusal, ServerConfig, ServerFlightSent};

/// Handshake records are padded to a multiple of this.
const HANDSHAKE_PAD: usize = 256;
/// Alerts are padded to a multiple of this.
const ALERT_PAD: usize = 64;

/// An Ed25519 key pair (RFC 8032) by which this side is known. Wiped on drop.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// The identity of a seed of 32 bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Who the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The holder of this Ed25519 key.
    Key([u8; 32]),
    /// Somebody who has the PSK of the session.
    PskOnly,
}

/// What a server says when a client is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// After how many seconds of silence it wants a ping.
    pub keepalive: Option<u32>,
    /// The largest message it takes, in bytes.
    pub largest_message: Option<u32>,
    /// The services that this client may open.
    pub services: Option<String>,
}
