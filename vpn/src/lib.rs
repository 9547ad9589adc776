//! A cipher-agile secure channel: agree on a block cipher, exchange a key, talk.
//!
//! * [`vpn_proto`] is the protocol core, without sockets, clock or threads.
//! * [`config`] reads `server_cipher.toml`.
//! * [`files`] reads and writes what users name.
//! * [`trust`] reads and writes keys, and the files that say which ones are trusted.
//! * [`net`] has sockets, and limits on what a peer may use up.
//! * [`session`] is one session from its first byte to its last.
//! * [`service`] says what a sealed session is for.
//! * [`output`] writes to standard output, standard error and the log.
//! * [`term`] shows a person at the terminal what happens: console, commentary, key log.
//! * [`cli`] is the program; call [`cli::main`] from a binary that links suites of your own.
//!
//! The library knows no cipher. Suites register themselves with `vpn-suite`; a program offers
//! those that it links *and* that its configuration lists.

// `term` writes to the standard streams, and nothing else does: `println!` panics when they are closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod cli;
pub mod config;
pub mod files;
pub mod net;
pub mod output;
pub mod service;
pub mod session;
pub mod term;
pub mod trust;
