//! A cipher-agile secure channel: agree on a block cipher, exchange a key, talk.
//!
//! * [`vpn_proto`] is the protocol core, without sockets, clock or threads.
//! * [`config`] reads `server_cipher.toml`.
//! * [`files`] reads and writes what users name.
//! * [`identity`] reads and writes keys, and the files that say which ones are trusted.
//! * [`net`] has sockets, and limits on what a peer may use up.
//! * [`service`] says what a session is for.
//! * [`term`] writes to standard output, standard error and the log.
//! * [`cli`] is the program; call [`cli::main`] from a binary that links suites of your own.
//!
//! The library knows no cipher. Suites register themselves with `vpn-suite`; a program offers
//! those that it links *and* that its configuration lists.

// `term` writes to the standard streams, and nothing else does: `println!` panics when they are closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod cli;
pub mod config;
pub mod files;
pub mod identity;
pub mod net;
pub mod service;
pub mod term;
