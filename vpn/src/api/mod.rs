//! The front door for programs that embed sealed sessions: [`Client`], [`Server`], [`Channel`].

mod channel;
mod client;
mod error;
mod identity;
mod server;

pub use channel::{Channel, Peer};
pub use client::Client;
pub use error::Error;
pub use identity::{Identity, Psk};
pub use server::Server;
