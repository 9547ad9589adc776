//! One session from its first byte to its last, in both roles and both profiles.
//!
//! A sealed session runs a [`Service`]. The list of services is in `service`, above this module.

mod access;
mod blame;
mod classic_client;
mod classic_server;
mod error;
mod exec;
mod key_sessions;
mod output;
mod process;
mod retry;
mod reversal;
mod run;
mod sealed_client;
mod sealed_server;
mod server;
mod server_trust;
mod service;
mod stdio;
mod streams;
mod target;
mod transfer;

pub use access::Clients;
pub use blame::Blame;
pub use classic_client::run_classic_client;
pub use classic_server::ClassicServer;
pub use error::{ClientError, Untrusted};
pub use exec::{ExecCommand, ExecCommands};
pub(crate) use key_sessions::ANSWER;
pub use key_sessions::Doubts;
pub use output::ClientOptions;
pub(crate) use output::Output;
pub use process::{Exit, Process};
pub use retry::may_help;
pub(crate) use reversal::Reversal;
pub use reversal::reversed;
pub use run::run_sealed_client;
pub use sealed_client::Connected;
pub(crate) use sealed_client::connect_sealed_client;
pub use sealed_server::{Offer, SealedServer};
pub use server::SessionServer;
pub use server_trust::{Ask, ServerTrust};
pub use service::{
    Admitting, Handler, Local, LocalEnd, OpenRequest, Refusal, Resources, ServerEnd, ServerError,
    ServerSession, Service, ServiceFuture, ServiceResult, admitted,
};
pub(crate) use stdio::Stdio;
pub(crate) use streams::{Drain, Feed, Written};
pub use target::{Destination, Target, TargetError, resolve_permitted};
pub use transfer::TransferError;
pub(crate) use transfer::transfer;
