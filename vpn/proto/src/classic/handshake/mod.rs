//! The handshake of the classic profile, for both roles (PROTOCOL.md §3.1 to §3.4).
//!
//! Bytes go in by [`Handshake::handle_input`]. Messages to send come out of
//! [`Handshake::poll_transmit`], events and tasks out of [`Handshake::poll_event`]. Time is an
//! argument.

mod client;
mod exchange;
mod server;
mod steps;
#[cfg(test)]
mod tests;

use std::time::Instant;

use super::error::HandshakeError;
use super::io::Event;
use crate::dh::DhOutcome;

pub use client::ClientHandshake;
pub use server::ServerHandshake;

/// A handshake of either role, as the code that moves the bytes sees it.
pub trait Handshake {
    /// The session that a finished handshake becomes.
    type Session;

    /// Whether the handshake needs bytes from the peer now. If not, leave them unread.
    fn wants_input(&self) -> bool;

    /// Handles bytes from the peer, in pieces of any size.
    ///
    /// # Errors
    ///
    /// If the handshake failed. Send the rest of [`Handshake::poll_transmit`], then close. All
    /// later calls return the same error.
    fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Result<(), HandshakeError>;

    /// Handles the end of the stream of the peer.
    ///
    /// # Errors
    ///
    /// If the handshake still needs bytes from the peer.
    fn handle_eof(&mut self) -> Result<(), HandshakeError>;

    /// Handles a timeout. Call it at the time of [`Handshake::poll_timeout`].
    ///
    /// # Errors
    ///
    /// As [`Handshake::handle_input`].
    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError>;

    /// Handles the outcome of an [`Event::Compute`].
    ///
    /// # Errors
    ///
    /// As [`Handshake::handle_input`].
    fn handle_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError>;

    /// The next message to send. Send it with one write: some peers read with one `recv`.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;

    /// The time of the next [`Handshake::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;

    /// The session, when the handshake is finished. It can be taken once.
    fn take_session(&mut self) -> Option<Self::Session>;
}
