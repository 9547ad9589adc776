//! A cipher-agile secure channel: agree on a block cipher, exchange a key, talk.
//!
//! This is the library of the program `vpn`. It gives other programs the *sealed* profile: both sides
//! are authenticated, both directions are encrypted, and the key exchange withstands quantum
//! computers. Nobody has audited it.
//!
//! * [`Client`] connects to a server and opens a service on it;
//! * [`Server`] lets clients in and hands each one to the program;
//! * [`Channel`] is the open stream between them: [`AsyncRead`](tokio::io::AsyncRead) and
//!   [`AsyncWrite`](tokio::io::AsyncWrite);
//! * [`Identity`], [`Psk`], [`PublicKey`] and [`ServerKey`] say who is who;
//! * [`Error`] says what went wrong, and [`Blame`] who has to act.
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
//!     // The client may be cut off; then it has an error, too.
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
//! The library knows no cipher. Suites register themselves with [`vpn_suite`]; a program offers those
//! that it links *and* that its configuration lists. A crate of your own adds one, and nothing else
//! changes. [`cli::main`] is the whole program `vpn`, for a binary that links suites of your own.
//!
//! # What is public
//!
//! What this page lists. The other modules are public for the tests and benchmarks of this repository
//! only; they are not listed, and they change without notice.

#![forbid(unsafe_code)]
// `output` writes to the standard streams, and nothing else does: `println!` panics when they are closed.
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

pub use api::{Channel, Client, Error, Identity, Peer, Psk, Server};
pub use session::Blame;
pub use trust::{Pin as ServerKey, PublicKey};
