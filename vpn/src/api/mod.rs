//! The API of the library: [`Client`], [`Server`] and [`Channel`].

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
