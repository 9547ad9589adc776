//! An established session of the sealed profile (PROTOCOL.md §4.5, §4.6): one service, data in both
//! directions, key updates, and an authenticated end.

mod buffer;
mod event;
mod frames;
mod incoming;
mod limits;
mod outgoing;
mod rekey;
mod state;
#[cfg(test)]
mod tests;

pub(super) use buffer::append;
pub use buffer::wiped;
pub use event::Event;
pub use frames::FrameBatch;
pub use limits::Limits;
pub use state::Session;
pub(super) use state::{DATA, Keys};
