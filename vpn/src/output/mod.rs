//! The standard streams and the log: one safe writer for each.
//!
//! Nothing else in the library writes to standard output or standard error (Clippy's `print_stdout`
//! and `print_stderr` see to that).

pub mod log;
mod reason;
mod stream;

pub use reason::{Reason, one_line, small};
pub use stream::{Stream, StreamError};
