//! The input and output of a handshake: bytes, events and notes, without sockets.

use std::collections::VecDeque;
use std::time::Instant;

use super::dialect::LineEnd;
use super::note::{End, Established, HandshakeMessage, MessageKind, Note, Telling};
use super::params::HANDSHAKE_LIMIT;
use crate::dh::DhTask;
use crate::role::Role;
use crate::suite::SuiteId;

/// An event of a handshake, for the caller.
#[derive(Debug)]
pub enum Event {
    /// The suite is chosen.
    Chosen(SuiteId),
    /// Run this task on any thread, and pass the outcome to
    /// [`Handshake::handle_outcome`](super::Handshake::handle_outcome).
    Compute(DhTask),
    /// A note, see [`Telling`].
    Note(Note),
}

/// The input, the output and the timer of a handshake.
#[derive(Debug, Default)]
pub(super) struct Io {
    /// Bytes from the peer that are not parsed yet.
    pub(super) input: Vec<u8>,
    /// Messages to send.
    pub(super) transmit: VecDeque<Vec<u8>>,
    pub(super) events: VecDeque<Event>,
    pub(super) timer: Option<Instant>,
    pub(super) telling: Telling,
}

impl Io {
    pub(super) fn new(telling: Telling) -> Self {
        Self { telling, ..Self::default() }
    }

    /// Queues a message to send, and notes it.
    pub(super) fn send(&mut self, from: Role, kind: MessageKind, text: &str, line_end: LineEnd) {
        let bytes = format!("{text}{}", line_end.as_str()).into_bytes();
        self.note(|| {
            let end = if line_end == LineEnd::None { End::Itself } else { End::Line(line_end) };
            Note::Handshake(HandshakeMessage { from, kind, bytes: bytes.clone(), end })
        });
        self.transmit.push_back(bytes);
    }

    /// Notes a received message: its text, and how its end was known.
    pub(super) fn note_received(&mut self, from: Role, kind: MessageKind, text: &[u8], end: End) {
        self.note(|| {
            let mut bytes = text.to_vec();
            if let End::Line(line_end) = end {
                bytes.extend_from_slice(line_end.as_str().as_bytes());
            }
            Note::Handshake(HandshakeMessage { from, kind, bytes, end })
        });
    }

    /// Queues a note, if all notes are wanted.
    pub(super) fn note(&mut self, note: impl FnOnce() -> Note) {
        if self.telling == Telling::Everything {
            self.events.push_back(Event::Note(note()));
        }
    }

    /// Queues the note of the keys, if it is wanted.
    pub(super) fn note_keys(&mut self, established: impl FnOnce() -> Established) {
        if self.telling >= Telling::Keys {
            self.events.push_back(Event::Note(Note::Established(Box::new(established()))));
        }
    }

    /// Drops all events but notes. A failed handshake has nothing to compute.
    pub(super) fn keep_notes_only(&mut self) {
        self.events.retain(|event| matches!(event, Event::Note(_)));
    }

    /// Takes a line off the input. Returns its text and its line end.
    ///
    /// It does not search beyond [`HANDSHAKE_LIMIT`]. So a line is too long whether it arrives in
    /// one piece or in many.
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

    /// Drops a late line end of a message that was complete without it.
    pub(super) fn skip_line_end(&mut self) {
        self.skip(b"\r\n");
    }

    /// Drops a late line end, and the spaces before it.
    pub(super) fn skip_blanks_and_line_end(&mut self) {
        self.skip(b" \r\n");
    }

    fn skip(&mut self, bytes: &[u8]) {
        let count = self.input.iter().take_while(|b| bytes.contains(b)).count();
        // Drops all of them, as it would if they came one by one.
        self.input.drain(..count);
    }
}
