//! The handshake of the sealed profile, for both roles (PROTOCOL.md §4.2, §4.3).

mod auth;
mod client;
mod identity;
mod ready;
mod server;
#[cfg(test)]
mod tests;

pub use client::{AuthSent, AwaitServerAuth, ClientConfig, HelloSent, ServerVerified};
pub use identity::{Identity, PeerIdentity};
pub use ready::Ready;
pub use server::{ClientProof, Decision, Gated, Refusal, ServerConfig, ServerFlightSent};
