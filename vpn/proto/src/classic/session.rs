//! An established session of the classic profile, for both roles (PROTOCOL.md §3.5).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::error::{HandshakeError, SessionError};
use super::super::negotiate::SuiteId;
use super::dialect::{Dialect, MacRule, ReplyForm};
use super::handshake::{ClassicParams, Timing};
use super::keys::SessionKeys;
use super::message::{Opener, PAD_TO, Rest, Sealer, TAG_DIGITS};
use super::note::{Message, Note, Reply, Telling};

/// What servers of the 2020 family put before a reply.
pub const REPLY_PREFIX: &str = "Server says: ";

/// The server's end: verified texts come out, replies go in.
#[derive(Debug)]
pub struct ServerSession {
    id: SuiteId,
    dialect: Dialect,
    timing: Timing,
    opener: Opener,
    /// Since when the bytes of an unfinished message are coming in.
    since: Option<Instant>,
    timer: Option<Instant>,
    failed: Option<SessionError>,
    /// What happened, if somebody is told.
    notes: Option<Notes>,
}

/// Notes that wait to be told, and the number of the message that they are about.
#[derive(Debug, Default)]
struct Notes {
    waiting: VecDeque<Note>,
    number: u64,
}

impl Notes {
    fn wanted(telling: Telling) -> Option<Self> {
        (telling == Telling::Everything).then(Self::default)
    }
}

impl ServerSession {
    /// Takes up a session whose keys are known: for recorded sessions.
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
        Self::new(id, keys, dialect, params, &[])
    }

    pub(super) fn new(
        id: SuiteId,
        keys: &SessionKeys,
        dialect: Dialect,
        params: &ClassicParams,
        early: &[u8],
    ) -> Result<Self, HandshakeError> {
        let rules = params.plan.mac_rules(&dialect);
        let limit = params.message_limit;
        let mut opener = Opener::new(id, keys, &rules, dialect.chaining, dialect.strip, limit)?;
        opener.push(early);
        let notes = Notes::wanted(params.telling);
        if notes.is_some() {
            opener.keep_record(keys);
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

    /// What the session uses.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// How the peer speaks, as far as it is known.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The peer's HMAC rule, once it is known.
    pub fn mac_rule(&self) -> Option<MacRule> {
        self.opener.mac_rule()
    }

    /// Whether no part of a message is waiting for its rest.
    pub fn is_between_messages(&self) -> bool {
        self.opener.pending() == 0
    }

    /// Takes bytes from the client; then call [`ServerSession::next_text`] until it is empty.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        self.opener.push(bytes);
        self.since.get_or_insert(now);
    }

    /// The next verified text, without its padding.
    ///
    /// # Errors
    ///
    /// Why the session is over; every later call returns the same.
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
                // Bytes may have come before there was a session to take them.
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
    /// Empty where the dialect has nothing to send; then send nothing.
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

    /// Call this when a reply was sent, so that it can be told.
    pub fn replied(&mut self, reply: &[u8], text: &[u8]) {
        if let Some(notes) = &mut self.notes {
            let (bytes, text) = (reply.to_vec(), text.to_vec());
            let note = Reply { number: notes.number, bytes, text, is_expected: true };
            notes.waiting.push_back(Note::Reply(note));
        }
    }

    /// The next thing that happened, see [`Telling`].
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.as_mut()?.waiting.pop_front()
    }

    fn note_message(&mut self, text: &[u8]) {
        let (Some(notes), Some(opened)) = (&mut self.notes, self.opener.take_record()) else {
            return;
        };
        notes.number += 1;
        notes.waiting.push_back(Note::Message(Message {
            number: notes.number,
            ciphertext: opened.ciphertext,
            tag: opened.tag,
            rule: self.opener.mac_rule(),
            chaining: self.dialect.chaining,
            text: text.to_vec(),
            garbled_unless: opened.garbled_unless,
        }));
    }

    /// When [`ServerSession::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// Call this when the instant of [`ServerSession::poll_timeout`] has come.
    ///
    /// # Errors
    ///
    /// Why the session is over: silence behind something that is no message.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.timer.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.timer = None;
        let pending = self.opener.pending();
        match self.opener.rest() {
            Rest::Nothing => Ok(()),
            Rest::BadTag | Rest::DamagedTag => self.fail(SessionError::BadHmac { pending }),
            Rest::Misaligned { ciphertext } => {
                let block = self.id.suite.block_size();
                self.fail(SessionError::Misaligned { ciphertext, block })
            }
            Rest::NoTag | Rest::Unfinished => self.fail(SessionError::TimedOut { pending }),
        }
    }

    /// Takes the end of the client's stream, the regular end of a session.
    ///
    /// # Errors
    ///
    /// If it came inside a message, or behind something that looks like one and is none.
    pub fn handle_eof(&mut self) -> Result<(), SessionError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let pending = self.opener.pending();
        match self.opener.rest() {
            Rest::Nothing => Ok(()),
            Rest::BadTag | Rest::DamagedTag | Rest::NoTag => {
                self.fail(SessionError::BadHmac { pending })
            }
            Rest::Misaligned { .. } | Rest::Unfinished => {
                self.fail(SessionError::Truncated { pending })
            }
        }
    }

    fn next_timer(&self, now: Instant) -> Option<Instant> {
        let since = self.since?;
        let wait = match self.opener.rest() {
            Rest::Nothing => return None,
            Rest::BadTag => self.timing.quiet,
            Rest::DamagedTag | Rest::Misaligned { .. } => self.timing.stall,
            Rest::NoTag | Rest::Unfinished => Duration::MAX,
        };
        let deadline = since + self.timing.message;
        Some(now.checked_add(wait).map_or(deadline, |due| due.min(deadline)))
    }

    fn fail<T>(&mut self, error: SessionError) -> Result<T, SessionError> {
        if let (Some(notes), Some(rule)) = (&mut self.notes, self.opener.other_rule_fits()) {
            notes.waiting.push_back(Note::OtherRuleFits(rule));
        }
        self.failed = Some(error.clone());
        self.timer = None;
        Err(error)
    }
}

/// The client's end: texts go in one at a time, replies come out.
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
    /// The server puts [`REPLY_PREFIX`] before its replies, by its dialect or as it has shown.
    has_prefix: bool,
    notes: Option<Notes>,
}

/// What a reply to the text just sent would look like.
#[derive(Debug)]
struct Awaited {
    reversed: Vec<u8>,
    may_be_nothing: bool,
}

impl ClientSession {
    /// Takes up a session whose keys are known: for recorded sessions.
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
        Self::new(id, keys, dialect, params)
    }

    pub(super) fn new(
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

    /// What the session uses.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// How the server speaks, as far as it is known.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// The longest text in bytes that the server is sure to read.
    pub fn longest_text(&self) -> usize {
        let limit = self.dialect.peer_reads.map_or(self.limit, |most| most.min(self.limit));
        limit / PAD_TO * PAD_TO
    }

    /// Seals a text into a message, to be sent in one write; then wait for the reply.
    ///
    /// # Errors
    ///
    /// [`SessionError::TextTooLong`] leaves the session as it was; everything else ends it.
    pub fn send(&mut self, text: &str, now: Instant) -> Result<Vec<u8>, SessionError> {
        let limit = self.longest_text();
        if text.len() > limit {
            return Err(SessionError::TextTooLong { len: text.len(), limit });
        }
        // Between replies a server has nothing to say but a late line end, or why it gives up.
        let early = std::mem::take(&mut self.input);
        if early.iter().any(|b| !matches!(b, b'\r' | b'\n' | 0)) {
            return Err(SessionError::Refused { text: early });
        }
        let reversed: String = text.trim_matches('\0').chars().rev().collect();
        // With a prefix even an empty text is answered.
        let may_be_nothing = reversed.is_empty() && !self.has_prefix;
        self.timer = may_be_nothing.then(|| now + self.timing.quiet);
        self.awaited = Some(Awaited { reversed: reversed.into_bytes(), may_be_nothing });
        let message = self.sealer.seal(text.as_bytes())?;
        if let Some(notes) = &mut self.notes {
            notes.number += 1;
            let (ciphertext, tag) = message.split_at(message.len() - TAG_DIGITS);
            notes.waiting.push_back(Note::Message(Message {
                number: notes.number,
                ciphertext: ciphertext.to_vec(),
                tag: tag.to_vec(),
                rule: Some(self.dialect.mac),
                chaining: self.dialect.chaining,
                text: text.as_bytes().to_vec(),
                garbled_unless: None,
            }));
        }
        Ok(message)
    }

    /// The next thing that happened, see [`Telling`].
    pub fn poll_note(&mut self) -> Option<Note> {
        self.notes.as_mut()?.waiting.pop_front()
    }

    /// Seals bytes that need not be text, and waits for no reply: for testing servers.
    ///
    /// # Errors
    ///
    /// If the suite fails.
    pub fn danger_send_bytes(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        Ok(self.sealer.seal(bytes)?)
    }

    /// Takes bytes from the server.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        // A reply has no end of its own; silence ends what is not what we expect.
        self.input.extend_from_slice(bytes);
        self.timer = Some(now + self.timing.quiet);
    }

    /// Takes the end of the server's stream.
    pub fn handle_eof(&mut self) {
        self.is_over = true;
    }

    /// What it means that the server's stream ended while no reply was awaited.
    pub fn on_unasked_end(&mut self) -> SessionError {
        match std::mem::take(&mut self.input) {
            text if text.is_empty() => SessionError::Closed,
            text => SessionError::Refused { text },
        }
    }

    /// When to look again although nothing came.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.awaited.is_some().then_some(self.timer).flatten()
    }

    /// The reply, once it is complete: without prefix, filling and line end.
    ///
    /// # Errors
    ///
    /// [`SessionError::Refused`] if the server says that it gives up, [`SessionError::Closed`] if
    /// it closed without an answer, [`SessionError::Open`] if the answer has no end.
    pub fn next_reply(&mut self, now: Instant) -> Result<Option<Vec<u8>>, SessionError> {
        let Some(awaited) = &self.awaited else {
            return Ok(None);
        };
        let expected = awaited.reversed.as_slice();
        // The reply before this one counted as whole when its text was there; its filling or line
        // end may come later. No reply starts with a zero byte.
        let is_line_end = |b: &u8| matches!(b, b'\r' | b'\n') && expected.first() != Some(b);
        let late = self.input.iter().take_while(|b| **b == 0 || is_line_end(b)).count();
        self.input.drain(..late);
        let shown = strip_reply(&self.input, expected);
        // The server's filling and prefix do not count.
        let most = self.limit + REPLY_PREFIX.len() + PAD_TO;
        if self.input.len() > most {
            let error = super::message::OpenError::TooLong { limit: most };
            return Err(SessionError::Open(error));
        }
        let is_due = self.timer.is_some_and(|due| now >= due);
        let is_expected = shown == expected && !expected.is_empty();
        let has_prefix_only = expected.is_empty() && shown.is_empty() && !self.input.is_empty();
        let something = !self.input.is_empty() || awaited.may_be_nothing;
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
            let (number, bytes) = (notes.number, self.input.clone());
            let is_expected = shown == expected;
            let reply = Reply { number, bytes, text: shown.clone(), is_expected };
            notes.waiting.push_back(Note::Reply(reply));
        }
        self.input.clear();
        self.awaited = None;
        self.timer = None;
        Ok(Some(shown))
    }
}

/// Takes prefix, filling and line end off a reply; `expected` settles what could be both.
fn strip_reply<'a>(raw: &'a [u8], expected: &[u8]) -> &'a [u8] {
    if raw == expected {
        return raw;
    }
    let nul = |bytes: &'a [u8]| {
        let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
        let end = bytes.iter().rposition(|&b| b != 0).map_or(start, |last| last + 1);
        &bytes[start..end]
    };
    let shown = nul(raw);
    let shown = shown.strip_prefix(REPLY_PREFIX.as_bytes()).map_or(shown, nul);
    if shown == expected {
        return shown;
    }
    let shown = shown.strip_suffix(b"\n").unwrap_or(shown);
    shown.strip_suffix(b"\r").unwrap_or(shown)
}

/// Whether a prefix before this reply can only be the server's.
fn is_prefixed(expected: &[u8]) -> bool {
    !expected.starts_with(REPLY_PREFIX.as_bytes())
}

/// Whether these are the words with which a server gives up.
fn is_refusal(raw: &[u8]) -> bool {
    let text = raw.trim_ascii_end();
    text == b"Bad HMAC" || text.starts_with(b"Expected ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_in_every_form() {
        for raw in [
            &b"Server says: olleh\0\0\0\0\0\0\0\0\0\0\0"[..],
            b"Server says: olleh",
            b"olleh",
            b"olleh\n",
            b"olleh\r\n",
        ] {
            assert_eq!(strip_reply(raw, b"olleh"), b"olleh");
        }
        assert_eq!(strip_reply(b"Server says: ", b""), b"");
        // A text whose reversal looks like the prefix.
        assert_eq!(strip_reply(b"Server says: x", b"Server says: x"), b"Server says: x");
        // A reply that really ends in a line feed.
        assert_eq!(strip_reply(b"a\n", b"a\n"), b"a\n");
    }

    #[test]
    fn words_of_a_refusal_are_known() {
        assert!(is_refusal(b"Bad HMAC\n"));
        assert!(is_refusal(b"Expected an HMAC within 65536 bytes"));
        assert!(!is_refusal(b"CAMH daB"));
    }
}
