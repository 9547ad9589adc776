//! What a session is for. So far: exchanging messages, each answered with its text reversed.

mod client;
mod console;
mod message;
mod server;

pub use client::{ClientError, ClientOptions, Said, Texts, run_client};
pub use console::{Console, ConsoleClosed, Label, Printer};
pub use message::reversed;
pub use server::MessageServer;
