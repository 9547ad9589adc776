//! The handshake of the classic profile for both roles, without sockets, clock or threads
//! (PROTOCOL.md §3.1 to §3.4).
//!
//! Bytes go in with [`Handshake::handle_input`], in any slicing; what is to be sent comes out of
//! [`Handshake::poll_transmit`], what happened or has to be computed out of
//! [`Handshake::poll_event`]. Time is an argument.

mod client;
mod server;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::dh::{DhOutcome, DhTask};
use super::super::error::HandshakeError;
use super::super::negotiate::{EnabledSuite, SuiteId};
use super::dialect::{DialectPlan, LineEnd};
use super::note::{End, Established, Note, Role, Spoken, Telling, What};

pub use client::ClientHandshake;
pub use server::ServerHandshake;

/// The longest handshake message in bytes: a DHMKE message of group 18 has 2,473, a proposal of
/// every suite there is some hundreds.
pub const HANDSHAKE_LIMIT: usize = 4096;

/// How long silence has to last to mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence that ends a message which has no end of its own.
    pub quiet: Duration,
    /// Silence that ends a proposal which nothing more could change.
    pub settled: Duration,
    /// Silence after which a text that is visibly unfinished counts as malformed.
    pub stall: Duration,
    /// How long a client waits for an answer before it sends a lone line feed.
    pub probe: Duration,
    /// How long one message may take from its first byte to its last.
    pub message: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            // Longer than the 40 ms for which a delayed acknowledgement can hold a line end back.
            settled: Duration::from_millis(50),
            stall: Duration::from_secs(2),
            probe: Duration::from_millis(1500),
            message: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// The same for a peer on this machine whose writes are acknowledged at once: nothing but a busy
    /// scheduler can hold its line end back, unless it is the end of a tunnel.
    #[must_use]
    pub fn without_network(self) -> Self {
        Self { settled: self.settled.min(Duration::from_millis(20)), ..self }
    }
}

/// What both roles need to know.
#[derive(Clone, Debug)]
pub struct ClassicParams {
    /// The suites enabled, in order of preference.
    pub enabled: Arc<[EnabledSuite]>,
    /// The dialect, or how to find it out.
    pub plan: DialectPlan,
    /// How long silence has to last.
    pub timing: Timing,
    /// The longest ciphertext of a message in bytes.
    pub message_limit: usize,
    /// How much of the session is told as [`Note`]s.
    pub telling: Telling,
}

/// What a handshake wants its driver to know or to do.
#[derive(Debug)]
pub enum Event {
    /// The cipher is agreed on.
    Chosen(SuiteId),
    /// Run this somewhere and hand the outcome to [`Handshake::handle_outcome`].
    Compute(DhTask),
    /// Something to tell, see [`Telling`].
    Note(Note),
}

/// What is common to both roles, for whoever moves the bytes.
pub trait Handshake {
    /// What a finished handshake becomes.
    type Session;

    /// Whether bytes from the peer can be of use now; what comes later is better left unread.
    fn wants_input(&self) -> bool;

    /// Takes bytes from the peer.
    ///
    /// # Errors
    ///
    /// Why the handshake is over. Send what [`Handshake::poll_transmit`] still has, then close.
    /// Every later call returns the same error.
    fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Result<(), HandshakeError>;

    /// Takes the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// One unless nothing more is to come from the peer until the handshake is finished.
    fn handle_eof(&mut self) -> Result<(), HandshakeError>;

    /// Call this when the instant of [`Handshake::poll_timeout`] has come.
    ///
    /// # Errors
    ///
    /// As [`Handshake::handle_input`].
    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError>;

    /// Takes the outcome of an [`Event::Compute`].
    ///
    /// # Errors
    ///
    /// As [`Handshake::handle_input`].
    fn handle_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError>;

    /// The next bytes to send; each piece in one write, since peers read with one `recv`.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;

    /// When [`Handshake::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The session, once the handshake is finished.
    fn take_session(&mut self) -> Option<Self::Session>;
}

/// Queues shared by the states of both roles.
#[derive(Debug, Default)]
pub(super) struct Io {
    pub(super) input: Vec<u8>,
    pub(super) transmit: VecDeque<Vec<u8>>,
    pub(super) events: VecDeque<Event>,
    pub(super) timer: Option<Instant>,
    pub(super) telling: Telling,
}

impl Io {
    pub(super) fn new(telling: Telling) -> Self {
        Self { telling, ..Self::default() }
    }

    pub(super) fn send(&mut self, from: Role, what: What, text: &str, line_end: LineEnd) {
        let bytes = format!("{text}{}", line_end.as_str()).into_bytes();
        self.tell(|| {
            let end = if line_end == LineEnd::None { End::Itself } else { End::Line(line_end) };
            Note::Handshake(Spoken { from, what, bytes: bytes.clone(), end })
        });
        self.transmit.push_back(bytes);
    }

    /// Notes what came in: a text and how its end was known.
    pub(super) fn tell_received(&mut self, from: Role, what: What, text: &[u8], end: End) {
        self.tell(|| {
            let mut bytes = text.to_vec();
            if let End::Line(line_end) = end {
                bytes.extend_from_slice(line_end.as_str().as_bytes());
            }
            Note::Handshake(Spoken { from, what, bytes, end })
        });
    }

    pub(super) fn tell(&mut self, note: impl FnOnce() -> Note) {
        if self.telling == Telling::Everything {
            self.events.push_back(Event::Note(note()));
        }
    }

    pub(super) fn tell_keys(&mut self, established: impl FnOnce() -> Established) {
        if self.telling >= Telling::Keys {
            self.events.push_back(Event::Note(Note::Established(Box::new(established()))));
        }
    }

    /// Forgets what is still to be computed, when nothing will come of it.
    pub(super) fn keep_notes_only(&mut self) {
        self.events.retain(|event| matches!(event, Event::Note(_)));
    }

    /// Takes a line off the input: its text without the end, and what the end was.
    ///
    /// The end of a line beyond [`HANDSHAKE_LIMIT`] is not looked for: what is too long is too
    /// long whether it comes in one piece or in many.
    pub(super) fn take_line(&mut self) -> Option<(Vec<u8>, LineEnd)> {
        let at = self.input.iter().take(HANDSHAKE_LIMIT + 1).position(|&b| b == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=at).collect();
        line.pop();
        let with_returns = line.len();
        while line.last() == Some(&b'\r') {
            line.pop();
        }
        let is_bare = line.len() == with_returns;
        Some((line, if is_bare { LineEnd::Lf } else { LineEnd::CrLf }))
    }

    /// Drops a line end that came late, when the message before it was complete without.
    pub(super) fn skip_line_end(&mut self) {
        self.skip(b"\r\n");
    }

    /// The same with blanks, which may stand before it.
    pub(super) fn skip_blanks_and_line_end(&mut self) {
        self.skip(b" \r\n");
    }

    fn skip(&mut self, bytes: &[u8]) {
        let count = self.input.iter().take_while(|b| bytes.contains(b)).count();
        // All of it: byte by byte it would all be dropped, too.
        self.input.drain(..count);
    }
}

pub(super) fn refused(text: &[u8]) -> HandshakeError {
    HandshakeError::Refused { text: text.trim_ascii_end().to_vec() }
}
