//! The handshake of the client.

use std::time::Instant;

use rand::CryptoRng;

use super::exchange::SHARE_HEAD;
use super::steps::{State, Steps, impl_handshake};
use crate::classic::dialect::{Dialect, LineEnd};
use crate::classic::error::HandshakeError;
use crate::classic::io::Event;
use crate::classic::keys::SessionKeys;
use crate::classic::negotiate::{
    CHOICE_HEAD, Choice, Offer, Separator, accept, candidates, describe,
};
use crate::classic::note::{End, MessageKind, Note};
use crate::classic::params::{ClassicParams, HANDSHAKE_LIMIT};
use crate::classic::session::ClientSession;
use crate::dh::{DhOutcome, DhTask, ExponentSeed};
use crate::role::Role;
use crate::suite::SuiteId;

/// The handshake of the client. It becomes a [`ClientSession`].
#[derive(Debug)]
pub struct ClientHandshake {
    state: State<ClientSession>,
    /// When to send a single line feed, if the server has not sent anything.
    probe: Option<Instant>,
    /// When silence ends the choice. `None` before its first byte.
    quiet: Option<Instant>,
}

impl ClientHandshake {
    /// Starts a handshake with the proposal. The key pair is computed while the server answers.
    pub fn new(params: ClassicParams, rng: &mut (impl CryptoRng + ?Sized), now: Instant) -> Self {
        let seed = ExponentSeed::draw(params.plan.base.group, rng);
        Self::with_seed(params, seed, now)
    }

    /// Starts a handshake with a given exponent. For the replay of recorded sessions.
    pub fn with_seed(params: ClassicParams, seed: ExponentSeed, now: Instant) -> Self {
        let mut state = State::new(params);
        let (params, io) = (&state.params, &mut state.io);
        let proposal = Offer::from_enabled(&params.enabled).to_wire();
        io.send(Role::Client, MessageKind::Proposal, &proposal, params.plan.base.line_end);
        io.events.push_back(Event::Compute(DhTask::Generate(seed)));
        let probe = params.plan.follow_line_end.then(|| now + params.timing.probe);
        io.timer = probe;
        Self { state, probe, quiet: None }
    }

    fn read_choice(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        if let Some(end) = self.share_after_choice() {
            let text: Vec<u8> = self.state.io.input.drain(..end).collect();
            return self.choose(&text, End::Itself);
        }
        if let Some((line, end)) = self.state.io.take_line() {
            return self.choose(&line, End::Line(end));
        }
        let input = &self.state.io.input;
        if input.len() > HANDSHAKE_LIMIT {
            return Err(HandshakeError::TooLong { limit: HANDSHAKE_LIMIT });
        }
        let carriage_return = input.iter().position(|&b| b == b'\r');
        if let Some(end) = carriage_return.filter(|&end| self.is_whole_choice(&input[..end])) {
            // The choice is complete. The rest of its line end may come later.
            let text: Vec<u8> = self.state.io.input.drain(..end).collect();
            return self.choose(&text, End::Itself);
        }
        if is_over || self.is_whole_choice(input) {
            let text = std::mem::take(&mut self.state.io.input);
            return self.choose(&text, if is_over { End::Silence } else { End::Itself });
        }
        let compared = input.len().min(CHOICE_HEAD.len());
        let is_choice = input[..compared] == CHOICE_HEAD.as_bytes()[..compared];
        let ends_in_digit = input.last().is_some_and(u8::is_ascii_digit);
        let timing = &self.state.params.timing;
        let wait = if is_choice && !ends_in_digit { timing.stall } else { timing.quiet };
        // The server has sent something, so no probe is needed.
        self.probe = None;
        self.quiet = Some(now + wait);
        self.state.io.timer = self.quiet;
        Ok(())
    }

    /// The length of a complete choice, if the public value of the server follows it directly.
    fn share_after_choice(&self) -> Option<usize> {
        let head = SHARE_HEAD.as_bytes();
        let input = &self.state.io.input;
        let end = input.windows(head.len()).position(|w| w == head)?;
        let text = &input[..end];
        let is_ended = text.trim_ascii_end().last().is_some_and(u8::is_ascii_digit);
        let is_choice = end <= HANDSHAKE_LIMIT && is_ended;
        (is_choice && self.is_whole_choice(text)).then_some(end)
    }

    /// Whether a choice is complete without a line end: it is one of our suites, no size of ours
    /// has the same digits and more, and no line end is expected.
    fn is_whole_choice(&self, text: &[u8]) -> bool {
        let Ok(text) = str::from_utf8(text) else {
            return false;
        };
        let Ok((choice, separator)) = Choice::parse(text) else {
            return false;
        };
        let ClassicParams { enabled, plan, .. } = &self.state.params;
        let digits = choice.bits.to_string();
        let may_go_on = enabled.iter().flat_map(|e| &e.sizes).any(|size| {
            let longer = size.bits().to_string();
            longer.len() > digits.len() && longer.starts_with(&digits)
        });
        let awaits_line_end = separator == Separator::Comma && plan.follow_line_end
            || plan.base.line_end != LineEnd::None;
        accept(enabled, &choice).is_some() && !may_go_on && !awaits_line_end
    }

    /// Handles a complete choice, or the refusal in its place.
    fn choose(&mut self, text: &[u8], end: End) -> Result<(), HandshakeError> {
        let State { params, io, .. } = &mut self.state;
        io.timer = None;
        let is_choice = text.starts_with(CHOICE_HEAD.as_bytes());
        let kind = if is_choice { MessageKind::Choice } else { MessageKind::Refusal };
        io.note_received(Role::Server, kind, text, end);
        let parsed = str::from_utf8(text).ok().and_then(|t| Choice::parse(t).ok());
        let Some((choice, separator)) = parsed else {
            return Err(if is_choice {
                HandshakeError::Choice { got: text.to_vec() }
            } else {
                HandshakeError::refused(text)
            });
        };
        let Some(id) = accept(&params.enabled, &choice) else {
            return Err(HandshakeError::NotOffered {
                choice: choice.to_string(),
                offered: describe(&params.enabled),
            });
        };
        io.note(|| {
            let list = candidates(&params.enabled, &Offer::new([choice.to_entry()]));
            Note::Candidates { list, chosen: Some(choice.clone()) }
        });
        let line_end = if let End::Line(line_end) = end { line_end } else { LineEnd::None };
        let dialect = params.plan.on_choice(separator, line_end);
        self.state.start_exchange(Role::Client, id, dialect)
    }
}

impl_handshake!(ClientHandshake, ClientSession);

impl Steps for ClientHandshake {
    type Session = ClientSession;

    fn state(&self) -> &State<ClientSession> {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State<ClientSession> {
        &mut self.state
    }

    fn negotiate(&mut self, now: Instant) -> Result<(), HandshakeError> {
        self.read_choice(now, false)
    }

    fn negotiate_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if self.probe.is_some_and(|due| now >= due) {
            // Servers of the 2025 family read a line and wait for its end.
            self.probe = None;
            self.state.io.send(Role::Client, MessageKind::LineFeed, "", LineEnd::Lf);
            return Ok(());
        }
        if self.quiet.is_some() { self.read_choice(now, true) } else { Ok(()) }
    }

    fn negotiate_eof(&mut self) -> Result<(), HandshakeError> {
        let text = std::mem::take(&mut self.state.io.input);
        if text.is_empty() {
            return Err(HandshakeError::Closed { awaited: "the server's choice" });
        }
        self.choose(&text, End::Silence)?;
        Err(HandshakeError::Closed { awaited: "the key exchange" })
    }

    fn establish(
        &mut self,
        id: SuiteId,
        dialect: Dialect,
        keys: &SessionKeys,
    ) -> Result<ClientSession, HandshakeError> {
        ClientSession::resume(id, keys, dialect, &self.state.params)
    }

    fn fail(&mut self, _: &HandshakeError) {
        // A client does not explain itself to the server.
        self.state.io.transmit.clear();
    }
}
