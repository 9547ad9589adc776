//! Many streams in one session (PROTOCOL.md §4.10).
//!
//! [`Channels`] has the state of all channels of a session, without a clock and without I/O. Frames of
//! the peer go in by [`Channels::handle`]; [`Channels::fill`] gives frames to send to a batch of
//! records, a record of each channel in turn; [`Channels::poll_event`] says what has happened.

mod actions;
mod event;
mod fill;
mod frame;
mod incoming;
mod outgoing;
mod shown;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub use event::ChannelEvent;
pub use fill::FrameSink;
pub use frame::{
    Answer, ChannelExit, CloseCode, Frame, MAX_DATA, OpenStatus, Question, StreamKind,
};
pub use state::{ChannelError, ChannelLimits, Channels};
pub use window::{FIRST_WINDOW, WindowBudget};
