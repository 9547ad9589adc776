//! The standard streams and the log.
//!
//! No other part of the library writes to standard output or standard error. Clippy's lints
//! `print_stdout` and `print_stderr` check that.
//!
//! The modules use each other in one direction: `log` -> `stream` -> `reason` and
//! `transient`.

pub mod log;
mod reason;
mod stream;
mod transient;

pub use reason::{Reason, chain, clause, one_line};
pub use stream::{Stream, StreamError};
pub use transient::Transient;
