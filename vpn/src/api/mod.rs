//! The API of the library: [`Client`], [`Server`], [`Session`] and [`Channel`].

mod channel;
mod client;
mod error;
mod held;
mod identity;
mod served;
mod server;
mod session;
mod whole;

pub use channel::{Channel, Peer};
pub use client::Client;
pub use error::Error;
pub use identity::{Identity, Psk};
pub use server::Server;
pub use session::Session;
