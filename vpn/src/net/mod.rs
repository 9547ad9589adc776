//! Sockets: listening, dialling, and moving bytes between a socket and the protocol core.

mod admission;
mod classic_handshake;
mod dial;
pub mod limits;
mod listen;
mod lru;
mod pool;
mod replay;
mod sealed_connection;
mod sealed_handshake;
mod server;
mod socket;
mod source;

pub use admission::{Admission, AdmissionControl, Offence};
pub use classic_handshake::{ClassicIoError, Driver, Progress};
pub use dial::{DialError, connect};
pub use listen::{DEFAULT_PORT, ListenError, bind, endpoint};
pub use pool::{DhPool, PoolError};
pub use replay::ReplayCache;
pub use sealed_connection::{Moved, SealedConnection};
pub use sealed_handshake::{
    Guard, HandshakeContext, LoggedSecrets, SealedIoError, Step, accept_sealed, connect_sealed,
};
pub use server::{BUSY, Server, Shutdown};
pub use socket::{Input, lingering_close, read_some, send};
pub use source::{Network, Source};
