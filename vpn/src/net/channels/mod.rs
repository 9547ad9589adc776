//! The channels of a sealed session (PROTOCOL.md §4.10), on its connection.
//!
//! A [`Multiplexer`] opens and accepts channels. Each channel is a [`ChannelStream`]. One task runs
//! [`drive`], which moves the frames of all channels. [`Pump`] joins a channel and a socket.

mod driver;
mod multiplexer;
mod pump;
mod socket;
mod stream;

pub use driver::{DriveEnd, drive};
pub use multiplexer::{Multiplexer, OpenRefused, Request};
pub use pump::{PumpError, pump};
#[cfg(unix)]
pub use socket::SocketPath;
pub use socket::{Listener, LocalSocket};
pub use stream::{ChannelEnd, ChannelStream};
