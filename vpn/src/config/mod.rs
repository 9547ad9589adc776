//! The configuration files: `server_cipher.toml` of server and client, and `client.toml` of a client's
//! user.
//!
//! Each table of `server_cipher.toml` has one source file here. The file has the keys of the table,
//! their ranges and checks, the flags that replace them, and the type that holds the checked values.
//! To add a table `[tun]`:
//!
//! 1. Write `tun.rs` with a type `TunTable` that implements `section::Section`. `values` has readers
//!    for numbers, times, names and paths. [`Problem::Message`] is the error for anything else.
//!    If the values decide who may connect or what they may do, `Section::needs_trust` returns true.
//! 2. Add `tun: TunTable,` to the list in `file.rs`, and a `use`. Then [`Settings`] has the field `tun`,
//!    and unknown tables and keys are reported with the new names.
//! 3. Declare the module and export the type here.
//!
//! A flag of the command line that replaces a value is a field of [`Overrides`]. The table applies it.
//!
//! The modules use each other in one direction: `file` and `client` -> tables -> `values` and `section`
//! -> `table` -> `explain` and `problem` -> `source`.

mod ciphers;
mod classic;
mod client;
mod exec;
mod explain;
mod file;
mod limits;
mod problem;
mod sealed;
mod section;
mod server;
mod source;
mod table;
mod values;

pub use ciphers::Ciphers;
pub use classic::ClassicTable;
pub use client::{ClientEntries, ClientEntry};
pub use exec::ExecTable;
pub use file::Settings;
pub use limits::LimitsTable;
pub use problem::{ConfigError, Problem};
pub use sealed::{KeyLine, SealedTable};
pub use section::Overrides;
pub use server::ServerTable;
pub use source::{BUILT_IN, DEFAULT_PATH, Source};
