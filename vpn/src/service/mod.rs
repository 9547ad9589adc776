//! What a session is for. So far: exchanging messages, each answered with its text reversed.

mod client;
mod console;
mod explain;
mod frames;
mod keylog;
mod memory;
mod message;
mod observe;
mod pipe;
mod sealed;
mod server;
mod streams;

pub use client::{ClientError, ClientOptions, Said, Texts, run_client};
pub use console::{Console, ConsoleClosed, Label, Printer, Unread};
pub use explain::Explain;
pub use keylog::KeyLog;
pub use message::reversed;
pub use observe::Observers;
pub use pipe::{PipeError, PipeOutcome};
pub use sealed::{SealedServer, SealedWork, Untrusted, Verdict, run_sealed_client};
pub use server::MessageServer;
