//! Sockets: listening, dialling, and moving bytes between a socket and the protocol core.

mod admission;
mod connection;
mod crowd;
mod dial;
pub mod limits;
mod listen;
mod pool;
mod pump;
mod queue;
mod recent;
mod sealed;
mod seen;
mod server;
mod source;
mod spare;
mod visitors;

pub use admission::Admission;
pub use connection::{Moved, SealedConnection};
pub use dial::{DialError, connect};
pub use listen::{DEFAULT_PORT, ListenError, bind, endpoint};
pub use pool::{DhPool, PoolError};
pub use pump::{Driver, Input, Progress, PumpError, farewell, read_some, send};
pub use sealed::{
    Guard, HandshakeContext, LoggedSecrets, SealedIoError, Step, accept_sealed, connect_sealed,
};
pub use seen::SeenGates;
pub use server::{BUSY, Server, Shutdown};
pub use source::{Network, Source};
pub use visitors::{Offence, Turned, Visitors};
