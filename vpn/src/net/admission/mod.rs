//! Which connections a server serves before they have proved themselves (PROTOCOL.md §3.7, §4.7).

mod control;
mod handle;
mod source_tree;

pub use control::{Offence, Turned, Visitors};
pub use handle::Admission;
