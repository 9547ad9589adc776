//! Sockets: listening, dialling, and moving bytes between a socket and the protocol core.
//!
//! * [`bind`] and [`Server`] accept connections. [`AdmissionControl`] limits those that have not
//!   authenticated.
//! * [`connect`] and [`connect_addresses`] dial. `lookup` finds the addresses of a name. [`Backoff`]
//!   has the pauses between attempts, and [`PathWatch`] notices that a connection may be dead.
//! * [`Driver`] performs a classic handshake. [`connect_sealed`] and [`accept_sealed`] perform a sealed
//!   one and return a [`SealedConnection`].
//! * [`DhPool`] computes their key exchanges.
//! * [`limits`] has every limit and its reason.

mod admission;
mod backoff;
mod channels;
mod classic_handshake;
mod dial;
pub mod limits;
mod listen;
mod lookup;
mod lru;
mod path_watch;
mod pings;
mod pool;
mod replay;
mod sealed_connection;
mod sealed_error;
mod sealed_handshake;
mod sealed_path;
mod sealed_rekey;
mod server;
mod session_threads;
mod socket;
mod source;

pub use admission::{Admission, AdmissionControl, Offence};
pub use backoff::Backoff;
#[cfg(unix)]
pub use channels::SocketPath;
pub use channels::{
    ChannelEnd, ChannelStream, CleanEnd, DriveEnd, Explanations, Listener, LocalSocket,
    Multiplexer, OpenRefused, PumpError, Request, drive, pump, pump_with,
};
pub use classic_handshake::{ClassicIoError, Driver, Progress};
pub use dial::{DialError, connect, connect_addresses, connect_resetting};
pub use listen::{DEFAULT_PORT, ListenError, bind, endpoint};
pub use lookup::{LookupError, lookup};
pub use path_watch::{Disturbance, PathWatch};
pub use pool::{DhPool, PoolError};
pub use replay::ReplayCache;
pub use sealed_connection::{IoEvent, SealedConnection};
pub use sealed_error::SealedIoError;
pub use sealed_handshake::{
    AcceptContext, HandshakeContext, HandshakeEvent, LoggedSecrets, accept_sealed, connect_sealed,
};
pub use server::{BUSY, Server, Shutdown};
pub use session_threads::on_session_thread;
pub use socket::{Input, lingering_close, read_some, send, set_user_timeout};
pub use source::{Network, Source};
