//! Sockets: listening, dialling, and moving bytes between a socket and the protocol core.

mod admission;
mod dial;
pub mod limits;
mod listen;
mod pool;
mod pump;
mod sealed;
mod server;
mod source;

pub use admission::Admission;
pub use dial::{DialError, connect};
pub use listen::{ListenError, bind, endpoint};
pub use pool::DhPool;
pub use pump::{Driver, Input, Progress, PumpError, farewell, read_some, send};
pub use sealed::{
    LoggedSecrets, Moved, Place, SealedConnection, SealedIoError, Step, accept_sealed,
    connect_sealed,
};
pub use server::{Server, Shutdown};
pub use source::Source;
