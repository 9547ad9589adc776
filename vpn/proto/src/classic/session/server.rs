//! The session of the server.

use std::time::{Duration, Instant};

use super::notes::Notes;
use super::reply::REPLY_PREFIX;
use crate::classic::dialect::{Dialect, MacRule, ReplyForm};
use crate::classic::error::{HandshakeError, SessionError};
use crate::classic::keys::SessionKeys;
use crate::classic::note::{Message, Note};
use crate::classic::opener::{Opener, Remainder};
use crate::classic::params::{ClassicParams, Timing};
use crate::classic::sealer::PAD_TO;
use crate::suite::SuiteId;

/// The session of the server. Verified texts come out, replies go in.
#[derive(Debug)]
pub struct ServerSession {
    id: SuiteId,
    dialect: Dialect,
    timing: Timing,
    opener: Opener,
    /// When the first byte of the unfinished message arrived.
    since: Option<Instant>,
    timer: Option<Instant>,
    failed: Option<SessionError>,
    /// The notes, if they are wanted.
    notes: Option<Notes>,
}

impl ServerSession {
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
        let rules = params.plan.mac_rules(&dialect);
        let limit = params.message_limit;
        let mut opener = Opener::new(id, keys, &rules, dialect.chaining, dialect.strip, limit)?;
        let notes = Notes::wanted(params.telling);
        if notes.is_some() {
            opener.enable_trace(keys);
        }
        Ok(Self {
            id,
            dialect,
            timing: params.timing,
            opener,
            since: None,
            timer: None,
            failed: None,
            notes,
        })
    }

    /// Adds bytes that arrived before the end of the handshake.
    pub(in crate::classic) fn push_early(&mut self, bytes: &[u8]) {
        self.opener.push(bytes);
    }

    /// The suite and key size.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// The dialect of the peer, as far as it is known.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The HMAC rule of the peer, when it is known.
    pub fn mac_rule(&self) -> Option<MacRule> {
        self.opener.mac_rule()
    }

    /// Whether no part of an unfinished message is here.
    pub fn is_between_messages(&self) -> bool {
        self.opener.pending() == 0
    }

    /// Handles bytes from the client, in pieces of any size. Then call [`ServerSession::next_text`]
    /// until it returns `None`.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        self.opener.push(bytes);
        self.since.get_or_insert(now);
    }

    /// The next verified text, without its padding.
    ///
    /// # Errors
    ///
    /// If the session failed. All later calls return the same error.
    pub fn next_text(&mut self, now: Instant) -> Result<Option<Vec<u8>>, SessionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.opener.next_message() {
            Ok(Some(text)) => {
                self.since = (self.opener.pending() > 0).then_some(now);
                self.note_message(&text);
                Ok(Some(text))
            }
            Ok(None) => {
                // The bytes may have arrived before the end of the handshake.
                if self.opener.pending() > 0 {
                    self.since.get_or_insert(now);
                }
                self.timer = self.next_timer(now);
                Ok(None)
            }
            Err(error) => self.fail(SessionError::Open(error)),
        }
    }

    /// The reply to a text, in the dialect of the session.
    ///
    /// If the reply is empty, send nothing.
    pub fn reply(&self, text: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        if self.dialect.reply != ReplyForm::Plain {
            reply.extend_from_slice(REPLY_PREFIX.as_bytes());
        }
        reply.extend_from_slice(text);
        if self.dialect.reply == ReplyForm::Filled {
            reply.resize(REPLY_PREFIX.len() + text.len().next_multiple_of(PAD_TO), 0);
        }
        reply
    }

    /// Notes that a reply was sent. Call it after each reply.
    pub fn replied(&mut self, reply: &[u8], text: &[u8]) {
        if let Some(notes) = &mut self.notes {
            notes.push_reply(reply, text, true);
        }
    }

    /// The next note, see [`Telling`](crate::classic::Telling).
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.as_mut()?.pop()
    }

    fn note_message(&mut self, text: &[u8]) {
        let (Some(notes), Some(opened)) = (&mut self.notes, self.opener.take_last()) else {
            return;
        };
        notes.push_message(Message {
            number: 0,
            ciphertext: opened.ciphertext,
            tag: opened.tag,
            rule: self.opener.mac_rule(),
            chaining: self.dialect.chaining,
            text: text.to_vec(),
            garbled_unless: opened.garbled_unless,
        });
    }

    /// The time of the next [`ServerSession::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// Handles a timeout. Call it at the time of [`ServerSession::poll_timeout`].
    ///
    /// # Errors
    ///
    /// If the client stopped inside a message, or sent bytes that are not a message.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.timer.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.timer = None;
        let pending = self.opener.pending();
        match self.opener.remainder() {
            Remainder::Empty => Ok(()),
            Remainder::BadTag | Remainder::DamagedTag => {
                self.fail(SessionError::BadHmac { pending })
            }
            Remainder::Misaligned { ciphertext } => {
                let block = self.id.suite.block_size();
                self.fail(SessionError::Misaligned { ciphertext, block })
            }
            Remainder::NoTag | Remainder::Unfinished => {
                self.fail(SessionError::TimedOut { pending })
            }
        }
    }

    /// Handles the end of the stream of the client. It is the regular end of a session.
    ///
    /// # Errors
    ///
    /// If the stream ends inside a message, or with bytes that are not a message.
    pub fn handle_eof(&mut self) -> Result<(), SessionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let pending = self.opener.pending();
        match self.opener.remainder() {
            Remainder::Empty => Ok(()),
            Remainder::BadTag | Remainder::DamagedTag | Remainder::NoTag => {
                self.fail(SessionError::BadHmac { pending })
            }
            Remainder::Misaligned { .. } | Remainder::Unfinished => {
                self.fail(SessionError::Truncated { pending })
            }
        }
    }

    fn next_timer(&self, now: Instant) -> Option<Instant> {
        let since = self.since?;
        let wait = match self.opener.remainder() {
            Remainder::Empty => return None,
            Remainder::BadTag => self.timing.quiet,
            Remainder::DamagedTag | Remainder::Misaligned { .. } => self.timing.stall,
            Remainder::NoTag | Remainder::Unfinished => Duration::MAX,
        };
        let deadline = since + self.timing.message;
        Some(now.checked_add(wait).map_or(deadline, |due| due.min(deadline)))
    }

    fn fail<T>(&mut self, error: SessionError) -> Result<T, SessionError> {
        if let (Some(notes), Some(rule)) = (&mut self.notes, self.opener.other_rule_fits()) {
            notes.push(Note::OtherRuleFits(rule));
        }
        self.failed = Some(error.clone());
        self.timer = None;
        Err(error)
    }
}
