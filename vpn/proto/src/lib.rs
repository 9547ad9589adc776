//! The protocol core of `vpn`: both profiles, without sockets, files, clock, threads or standard
//! streams.
//!
//! Bytes, time and randomness are arguments. Bytes, events and deadlines are results. The section
//! numbers in this crate are those of `PROTOCOL.md`.
//!
//! * [`classic`]: the protocol of an assignment and of many small programs. It does not authenticate.
//! * [`sealed`]: both sides are authenticated, and both directions are encrypted.
//! * The crate root: the parts of both profiles, and the negotiation and the groups of the classic
//!   one.
//!
//! # Examples
//!
//! A sealed handshake between two sides in memory, then one record of data:
//!
//! ```
//! use std::sync::Arc;
//!
//! use vpn_proto::EnabledSuite;
//! use vpn_proto::sealed::{
//!     ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, Limits, Part, PeerIdentity,
//!     Ready, ServerConfig, next_length,
//! };
//! use vpn_suite::{KeySize, Registry};
//! # use vpn_suites as _;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let aes = Registry::linked()?.find("AES").ok_or("AES is not linked")?;
//! let sizes = KeySize::from_bits(256).into_iter().collect();
//! let enabled: Arc<[EnabledSuite]> = [EnabledSuite { suite: aes, wire_name: "AES", sizes }].into();
//! let (us, them) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
//! let (server_key, client_key) = (us.public_key(), them.public_key());
//! let server_config = Arc::new(ServerConfig {
//!     enabled: enabled.clone(),
//!     kex: vec![Kex::X25519MlKem768],
//!     identity: Some(us),
//!     psks: vec![],
//!     is_gate_required: true,
//!     limits: Limits::default(),
//! });
//! let client_config = Arc::new(ClientConfig {
//!     enabled,
//!     kex: vec![Kex::X25519MlKem768],
//!     identity: Some(them),
//!     server_key: Some(server_key),
//!     psk: None,
//!     limits: Limits::default(),
//! });
//! let mut rng = rand::rng();
//!
//! // Client to server: ClientHello.
//! let (client, hello) = HelloSent::start(client_config, Kex::X25519MlKem768, &mut rng)?;
//! // Server to client: ServerHello, then the record of ServerAuth.
//! let server = Gated::on_hello(server_config, &hello).map_err(|refusal| refusal.error)?;
//! let (server, flight) = server.respond(&mut rng)?;
//! let (first, record) = flight.split_at(next_length(Part::Hello, &flight)?.ok_or("cut off")?);
//! let client = client.on_first(first)?.on_record(record)?;
//! assert_eq!(client.server(), PeerIdentity::Key(server_key));
//! // Client to server: ClientAuth.
//! let (client, record) = client.accept()?;
//! let decide = |client| match client {
//!     PeerIdentity::Key(key) if key == client_key => Decision::Admit(Ready::default()),
//!     _ => Decision::Deny("unknown client"),
//! };
//! let admitted = server.on_record(&record, decide).map_err(|refusal| refusal.error)?;
//! let (mut server, _, record) = admitted;
//! // Server to client: Ready.
//! let (mut client, _) = client.on_record(&record)?;
//! assert_eq!(client.exporter(), server.exporter());
//!
//! // The client opens a service, then it sends data.
//! client.open("message", b"")?;
//! server.handle_input(&client.poll_transmit().ok_or("no record")?)?;
//! server.reply_open(0, "")?;
//! client.handle_input(&server.poll_transmit().ok_or("no record")?)?;
//! client.send(b"hello")?;
//! server.handle_input(&client.poll_transmit().ok_or("no record")?)?;
//! let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
//! assert!(matches!(&events[1], Event::Data(data) if data.as_slice() == b"hello"));
//! # Ok(())
//! # }
//! ```

#![warn(clippy::too_many_lines)]
#![forbid(unsafe_code)]

pub mod classic;
mod dh;
mod exponent;
#[cfg(test)]
mod fixtures;
mod role;
pub mod sealed;
mod sniff;
mod suite;
mod text;

pub use classic::error::{HandshakeError, SessionError};
pub use classic::negotiate::{
    CHOICE_HEAD, Candidate, Choice, ChoiceError, Offer, OfferEntry, OfferError, PROPOSAL_HEAD,
    Selection, Separator, SupportedBy, accept, candidates, describe, select,
};
pub use dh::{
    DhOutcome, DhTask, ExponentSeed, Group, KeyPair, PublicValue, PublicValueError, SharedSecret,
    is_self_delimiting,
};
pub use sniff::Profile;
pub use suite::{EnabledSuite, SuiteId};
pub use text::Printable;

/// The names of the kernels for HMAC and for modular powers, see [`vpn_crypto::kernels`].
pub use vpn_crypto::kernels::names as kernel_names;
