//! The handshake of the server.

use std::time::Instant;

use rand::CryptoRng;

use super::steps::{Stage, State, Steps, impl_handshake};
use crate::classic::dialect::{Dialect, LineEnd};
use crate::classic::error::HandshakeError;
use crate::classic::io::Event;
use crate::classic::keys::SessionKeys;
use crate::classic::negotiate::{
    Offer, OfferError, PROPOSAL_HEAD, Selection, candidates, describe, select,
};
use crate::classic::note::{End, MessageKind, Note};
use crate::classic::params::{ClassicParams, HANDSHAKE_LIMIT};
use crate::classic::session::ServerSession;
use crate::dh::{DhOutcome, DhTask, ExponentSeed};
use crate::role::Role;
use crate::suite::SuiteId;

/// The handshake of the server. It becomes a [`ServerSession`].
#[derive(Debug)]
pub struct ServerHandshake {
    state: State<ServerSession>,
    /// The exponents of our key pair, until it is computed.
    seed: Option<ExponentSeed>,
}

impl ServerHandshake {
    /// Starts a handshake. The client sends first.
    pub fn new(params: ClassicParams, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let seed = ExponentSeed::draw(params.plan.base.group, rng);
        Self::with_seed(params, seed)
    }

    /// Starts a handshake with a given exponent. For the replay of recorded sessions.
    pub fn with_seed(params: ClassicParams, seed: ExponentSeed) -> Self {
        Self { state: State::new(params), seed: Some(seed) }
    }

    fn read_proposal(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        let State { params, io, .. } = &mut self.state;
        if let Some((line, end)) = io.take_line() {
            io.note_received(Role::Client, MessageKind::Proposal, &line, End::Line(end));
            let offer = parse_offer(&line)?;
            return self.choose(&offer, end);
        }
        let input = &io.input;
        let compared = input.len().min(PROPOSAL_HEAD.len());
        if input[..compared] != PROPOSAL_HEAD.as_bytes()[..compared] {
            return Err(parse_offer(input).err().unwrap_or(HandshakeError::Internal));
        }
        if input.len() > HANDSHAKE_LIMIT {
            return Err(HandshakeError::TooLong { limit: HANDSHAKE_LIMIT });
        }
        if !is_over && !input.ends_with(b"]") {
            if !input.is_empty() {
                io.timer = Some(now + params.timing.stall);
            }
            return Ok(());
        }
        let offer = parse_offer(input)?;
        let selection = select(&params.enabled, &offer);
        let is_best = selection.as_ref().is_some_and(|s| s.is_best);
        // A dialect without line ends does not wait for one.
        let has_no_line_end =
            !params.plan.follow_line_end && params.plan.base.line_end == LineEnd::None;
        if is_over || (is_best && has_no_line_end) {
            let text = std::mem::take(&mut io.input);
            let end = if is_over { End::Silence } else { End::Itself };
            io.note_received(Role::Client, MessageKind::Proposal, &text, end);
            return self.choose(&offer, LineEnd::None);
        }
        io.timer = Some(now + if is_best { params.timing.settled } else { params.timing.quiet });
        if selection.is_some() {
            // There will be a key exchange in any case, so the key pair is computed during the
            // wait.
            self.generate();
        }
        Ok(())
    }

    /// Handles a complete proposal: sends the choice.
    fn choose(&mut self, offer: &Offer, end: LineEnd) -> Result<(), HandshakeError> {
        let State { params, io, .. } = &mut self.state;
        io.timer = None;
        let dialect = params.plan.on_line_end(end);
        let selection = select(&params.enabled, offer);
        io.note(|| Note::Candidates {
            list: candidates(&params.enabled, offer),
            chosen: selection.as_ref().map(|s| s.choice.clone()),
        });
        let Some(Selection { id, choice, .. }) = selection else {
            return Err(HandshakeError::NoSuiteInCommon {
                line_end: dialect.line_end,
                offered: offer.to_string(),
                enabled: describe(&params.enabled),
            });
        };
        let text = choice.to_wire(dialect.separator);
        io.send(Role::Server, MessageKind::Choice, &text, dialect.line_end);
        self.state.start_exchange(Role::Server, id, dialect)?;
        self.generate();
        Ok(())
    }

    /// Asks for our key pair, once.
    fn generate(&mut self) {
        if let Some(seed) = self.seed.take() {
            self.state.io.events.push_back(Event::Compute(DhTask::Generate(seed)));
        }
    }
}

impl_handshake!(ServerHandshake, ServerSession);

impl Steps for ServerHandshake {
    type Session = ServerSession;

    fn state(&self) -> &State<ServerSession> {
        &self.state
    }

    fn state_mut(&mut self) -> &mut State<ServerSession> {
        &mut self.state
    }

    fn negotiate(&mut self, now: Instant) -> Result<(), HandshakeError> {
        self.read_proposal(now, false)
    }

    fn negotiate_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        self.read_proposal(now, true)
    }

    fn negotiate_eof(&mut self) -> Result<(), HandshakeError> {
        let input = &self.state.io.input;
        if input.is_empty() {
            return Err(HandshakeError::Closed { awaited: "a proposal" });
        }
        // The client is gone, but the log shows what was wrong with its proposal.
        let closed = HandshakeError::Closed { awaited: "our choice" };
        Err(parse_offer(input).err().unwrap_or(closed))
    }

    fn establish(
        &mut self,
        id: SuiteId,
        dialect: Dialect,
        keys: &SessionKeys,
    ) -> Result<ServerSession, HandshakeError> {
        let mut session = ServerSession::resume(id, keys, dialect, &self.state.params)?;
        session.push_early(&std::mem::take(&mut self.state.io.input));
        Ok(session)
    }

    /// Sends the refusal of an error to the client, if the protocol has one.
    fn fail(&mut self, error: &HandshakeError) {
        let Some(text) = error.refusal() else { return };
        let line_end = match (&self.state.stage, error) {
            (Stage::Exchange(exchange), _) => exchange.dialect().line_end,
            (_, HandshakeError::NoSuiteInCommon { line_end, .. }) => *line_end,
            _ => self.state.params.plan.base.line_end,
        };
        self.state.io.send(Role::Server, MessageKind::Refusal, &text, line_end);
    }
}

fn parse_offer(text: &[u8]) -> Result<Offer, HandshakeError> {
    str::from_utf8(text)
        .map_err(|_| OfferError::Name)
        .and_then(Offer::parse)
        .map_err(|reason| HandshakeError::Offer { reason, got: text.to_vec() })
}
