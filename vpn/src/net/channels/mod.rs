//! The channels of a sealed session (PROTOCOL.md §4.10), on its connection.
//!
//! A [`Multiplexer`] opens and accepts channels. Each channel is a [`ChannelStream`]. One task runs
//! [`drive`], which moves the frames of all channels. [`Pump`] joins a channel and a socket.

mod driver;
mod explained;
mod multiplexer;
mod pump;
mod shared;
mod socket;
mod stream;

pub use driver::{DriveEnd, drive};
pub use explained::Explanations;
pub use multiplexer::{Multiplexer, Request};
pub use pump::{PumpError, pump, pump_with};
pub use shared::{ChannelEnd, OpenRefused};
#[cfg(unix)]
pub use socket::SocketPath;
pub use socket::{CleanEnd, Listener, LocalSocket};
pub use stream::ChannelStream;
