//! An encrypted channel between two programs, with a choice of block ciphers.
//!
//! This is the library of the program `vpn`. Other programs can use its *sealed* profile: both
//! sides are authenticated, both directions are encrypted, and the key exchange protects against
//! quantum computers. Nobody has audited it.
//!
//! * [`Client`] connects to a server and opens a service on it;
//! * [`Server`] accepts clients and passes the channel of each one to the program;
//! * [`Session`] has many channels, also to targets that `vpn server` can reach;
//! * [`Channel`] is the open stream between them: [`AsyncRead`](tokio::io::AsyncRead) and
//!   [`AsyncWrite`](tokio::io::AsyncWrite);
//! * [`Identity`], [`Psk`], [`PublicKey`] and [`ServerKey`] are the keys of the two sides;
//! * [`Error`] says what failed, and [`Blame`] says who has to act.
//!
//! # Example
//!
//! A server that sends every byte back, and a client of it:
//!
//! ```
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use vpn::{Channel, Client, Identity, Server};
//! use vpn_suites as _; // links the ciphers
//!
//! async fn echo(mut channel: Channel) {
//!     let mut bytes = Vec::new();
//!     // If the connection is cut, the client gets an error, too.
//!     if channel.read_to_end(&mut bytes).await.is_ok() && channel.write_all(&bytes).await.is_ok() {
//!         let _ = channel.finish().await;
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client_key, server_key) = (Identity::generate(), Identity::generate());
//! let server_public = server_key.public_key();
//! let server = Server::bind("127.0.0.1:0", "echo").await?
//!     .identity(server_key)
//!     .allow(client_key.public_key());
//! let address = format!("127.0.0.1:{}", server.port());
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let serving = tokio::spawn(server.serve(echo, async { let _ = stopped.await; }));
//!
//! let client = Client::new(&address)?.identity(client_key).server_key(server_public);
//! let mut channel = client.open("echo").await?;
//! channel.write_all(b"hello").await?;
//! channel.shutdown().await?;
//! let mut reply = Vec::new();
//! channel.read_to_end(&mut reply).await?;
//! assert_eq!(reply, b"hello");
//! channel.finish().await?; // the server has every byte
//!
//! drop(stop);
//! serving.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Ciphers
//!
//! The library itself has no cipher. Suites register themselves with [`vpn_suite`]. A program
//! offers the suites that it links *and* that its configuration lists. Your own crate can add a
//! suite, and nothing else changes. [`cli::main`] is the whole program `vpn`, for a binary with
//! your own suites.
//!
//! # What is public
//!
//! The public API is listed on this page. Other modules are public only for the tests and
//! benchmarks of this repository. They change without notice.

#![warn(clippy::too_many_lines)]
#![forbid(unsafe_code)]
// Only `output` writes to the standard streams: `println!` panics if they are closed.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod api;
pub mod cli;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod output;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod term;
#[doc(hidden)]
pub mod trust;

pub use api::{Channel, Client, Error, Identity, Peer, Psk, Server, Session};
pub use session::Blame;
pub use trust::{Pin as ServerKey, PublicKey};
