//! An established session of the classic profile, for both roles (PROTOCOL.md §3.5).

mod client;
mod notes;
mod reply;
mod server;

pub use client::ClientSession;
pub use reply::REPLY_PREFIX;
pub use server::ServerSession;
