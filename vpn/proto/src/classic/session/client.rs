//! The session of the client.

use std::time::Instant;

use super::notes::Notes;
use super::reply::{REPLY_PREFIX, is_prefixed, is_refusal, strip_reply};
use crate::classic::dialect::{Dialect, ReplyForm};
use crate::classic::error::{HandshakeError, SessionError};
use crate::classic::keys::SessionKeys;
use crate::classic::note::{Message, Note};
use crate::classic::opener::OpenError;
use crate::classic::params::{ClassicParams, Timing};
use crate::classic::sealer::{PAD_TO, Sealer};
use crate::classic::tag::TAG_DIGITS;
use crate::suite::SuiteId;

/// The session of the client. Texts go in one at a time, replies come out.
#[derive(Debug)]
pub struct ClientSession {
    id: SuiteId,
    dialect: Dialect,
    timing: Timing,
    sealer: Sealer,
    limit: usize,
    input: Vec<u8>,
    awaited: Option<Awaited>,
    timer: Option<Instant>,
    is_over: bool,
    /// The server puts [`REPLY_PREFIX`] before its replies, by its dialect or by an earlier reply.
    has_prefix: bool,
    notes: Option<Notes>,
}

/// The expected reply to the text that was sent last.
#[derive(Debug)]
struct Awaited {
    reversed: Vec<u8>,
    may_be_empty: bool,
}

impl ClientSession {
    /// Creates a session from its keys: after a handshake, or for the replay of a recorded session.
    ///
    /// # Errors
    ///
    /// If the suite refuses the key.
    pub fn resume(
        id: SuiteId,
        keys: &SessionKeys,
        dialect: Dialect,
        params: &ClassicParams,
    ) -> Result<Self, HandshakeError> {
        let sealer = Sealer::new(id, keys, dialect.mac, dialect.chaining)?;
        Ok(Self {
            id,
            dialect,
            timing: params.timing,
            sealer,
            limit: params.message_limit,
            input: Vec::new(),
            awaited: None,
            timer: None,
            is_over: false,
            has_prefix: dialect.reply != ReplyForm::Plain,
            notes: Notes::wanted(params.telling),
        })
    }

    /// The suite and key size.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// The dialect of the server, as far as it is known.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The longest text in bytes that the server can read.
    pub fn longest_text(&self) -> usize {
        let limit = self.dialect.peer_reads.map_or(self.limit, |most| most.min(self.limit));
        limit / PAD_TO * PAD_TO
    }

    /// Seals a text into a message. Send the message with one write, then wait for the reply.
    ///
    /// # Errors
    ///
    /// [`SessionError::TextTooLong`] does not change the session. All other errors end it.
    pub fn send(&mut self, text: &str, now: Instant) -> Result<Vec<u8>, SessionError> {
        let limit = self.longest_text();
        if text.len() > limit {
            return Err(SessionError::TextTooLong { len: text.len(), limit });
        }
        // Between replies a server sends only a late line end, late padding or a refusal.
        let early = std::mem::take(&mut self.input);
        if early.iter().any(|b| !matches!(b, b'\r' | b'\n' | 0)) {
            return Err(SessionError::Refused { text: early });
        }
        let reversed: String = text.trim_matches('\0').chars().rev().collect();
        // A server with a prefix also replies to an empty text.
        let may_be_empty = reversed.is_empty() && !self.has_prefix;
        self.timer = may_be_empty.then(|| now + self.timing.quiet);
        self.awaited = Some(Awaited { reversed: reversed.into_bytes(), may_be_empty });
        let message = self.sealer.seal(text.as_bytes())?;
        if let Some(notes) = &mut self.notes {
            let (ciphertext, tag) = message.split_at(message.len() - TAG_DIGITS);
            notes.push_message(Message {
                number: 0,
                ciphertext: ciphertext.to_vec(),
                tag: tag.to_vec(),
                rule: Some(self.dialect.mac),
                chaining: self.dialect.chaining,
                text: text.as_bytes().to_vec(),
                garbled_unless: None,
            });
        }
        Ok(message)
    }

    /// The next note, see [`Telling`](crate::classic::Telling).
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.as_mut()?.pop()
    }

    /// Seals any bytes and does not wait for a reply. For tests of servers.
    ///
    /// # Errors
    ///
    /// If the suite fails.
    pub fn danger_send_bytes(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        Ok(self.sealer.seal(bytes)?)
    }

    /// Handles bytes from the server, in pieces of any size.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        // A reply has no visible end. Silence ends a reply that is not the expected one.
        self.input.extend_from_slice(bytes);
        self.timer = Some(now + self.timing.quiet);
    }

    /// Handles the end of the stream of the server.
    pub fn handle_eof(&mut self) {
        self.is_over = true;
    }

    /// The error for a stream that ended while no reply was expected.
    pub fn on_unasked_end(&mut self) -> SessionError {
        match std::mem::take(&mut self.input) {
            text if text.is_empty() => SessionError::Closed,
            text => SessionError::Refused { text },
        }
    }

    /// The time to call [`ClientSession::next_reply`] again if no bytes arrive.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.awaited.is_some().then_some(self.timer).flatten()
    }

    /// The reply when it is complete, without prefix, padding and line end.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`] if the server refuses, [`SessionError::Closed`] if it closed
    /// without a reply, [`SessionError::Open`] if the reply is too long.
    pub fn next_reply(&mut self, now: Instant) -> Result<Option<Vec<u8>>, SessionError> {
        let Some(awaited) = &self.awaited else {
            return Ok(None);
        };
        let expected = awaited.reversed.as_slice();
        // The reply before was complete with its text. Its padding or line end may arrive later. No
        // reply starts with a zero byte.
        let is_line_end = |b: &u8| matches!(b, b'\r' | b'\n') && expected.first() != Some(b);
        let late = self.input.iter().take_while(|b| **b == 0 || is_line_end(b)).count();
        self.input.drain(..late);
        let shown = strip_reply(&self.input, expected);
        // Prefix and padding of the server do not count.
        let most = self.limit + REPLY_PREFIX.len() + PAD_TO;
        if self.input.len() > most {
            return Err(SessionError::Open(OpenError::TooLong { limit: most }));
        }
        let is_due = self.timer.is_some_and(|due| now >= due);
        let is_expected = shown == expected && !expected.is_empty();
        let has_prefix_only = expected.is_empty() && shown.is_empty() && !self.input.is_empty();
        let something = !self.input.is_empty() || awaited.may_be_empty;
        if !(is_expected || has_prefix_only || self.is_over || (is_due && something)) {
            return Ok(None);
        }
        if self.input.is_empty() && self.is_over {
            return Err(SessionError::Closed);
        }
        if !is_expected && is_refusal(&self.input) {
            return Err(SessionError::Refused { text: std::mem::take(&mut self.input) });
        }
        let shown = shown.to_vec();
        self.has_prefix |= self.input.starts_with(REPLY_PREFIX.as_bytes()) && is_prefixed(expected);
        if let Some(notes) = &mut self.notes {
            notes.push_reply(&self.input, &shown, shown == expected);
        }
        self.input.clear();
        self.awaited = None;
        self.timer = None;
        Ok(Some(shown))
    }
}
