//! Key exchanges of the sealed profile (PROTOCOL.md §4.4).

mod error;
mod exchange;
mod ffdhe;
mod hybrid;
mod secret;

pub use error::KexError;
pub use exchange::{Kex, KexKeyPair};
pub use secret::KexSecret;
