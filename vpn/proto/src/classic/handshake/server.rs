//! The server's side of the handshake.

use std::time::Instant;

use rand::CryptoRng;

use super::super::super::dh::{DhOutcome, DhTask, ExponentSeed};
use super::super::super::error::HandshakeError;
use super::super::super::negotiate::{
    Offer, OfferError, PROPOSAL_HEAD, Selection, candidates, describe, select,
};
use super::super::dialect::LineEnd;
use super::super::exchange::Exchange;
use super::super::note::{End, Note, Role, What};
use super::super::session::ServerSession;
use super::{ClassicParams, Event, HANDSHAKE_LIMIT, Handshake, Io};

/// The server's side of the handshake.
#[derive(Debug)]
pub struct ServerHandshake {
    params: ClassicParams,
    seed: Option<ExponentSeed>,
    /// Our key pair, if it is there before the exchange that it is for.
    own: Option<DhOutcome>,
    io: Io,
    state: ServerState,
}

#[derive(Debug)]
enum ServerState {
    AwaitProposal,
    Exchange(Box<Exchange>),
    Done(Option<Box<ServerSession>>),
    Failed(HandshakeError),
}

impl ServerHandshake {
    /// Starts; the client speaks first.
    pub fn new(params: ClassicParams, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let seed = ExponentSeed::draw(params.plan.base.group, rng);
        Self::with_seed(params, seed)
    }

    /// Starts with a given exponent: for replaying recorded sessions.
    pub fn with_seed(params: ClassicParams, seed: ExponentSeed) -> Self {
        let io = Io::new(params.telling);
        Self { params, seed: Some(seed), own: None, io, state: ServerState::AwaitProposal }
    }

    fn advance(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if matches!(self.state, ServerState::AwaitProposal) {
            self.read_proposal(now, false)?;
        }
        // What stood behind the proposal in the same piece, if anything did.
        match &mut self.state {
            ServerState::AwaitProposal => Ok(()),
            ServerState::Exchange(exchange) => exchange.read_share(&mut self.io, now, false),
            ServerState::Done(_) => Ok(()),
            ServerState::Failed(error) => Err(error.clone()),
        }
    }

    fn read_proposal(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        if let Some((line, end)) = self.io.take_line() {
            self.io.tell_received(Role::Client, What::Proposal, &line, End::Line(end));
            let offer = parse_offer(&line)?;
            return self.choose(&offer, end);
        }
        let input = &self.io.input;
        let compared = input.len().min(PROPOSAL_HEAD.len());
        if input[..compared] != PROPOSAL_HEAD.as_bytes()[..compared] {
            return Err(parse_offer(input).err().unwrap_or(HandshakeError::Internal));
        }
        if input.len() > HANDSHAKE_LIMIT {
            return Err(HandshakeError::TooLong { limit: HANDSHAKE_LIMIT });
        }
        if is_over || input.ends_with(b"]") {
            let offer = parse_offer(input)?;
            let selection = select(&self.params.enabled, &offer);
            let is_best = selection.as_ref().is_some_and(|s| s.is_best);
            // A dialect without line ends need not wait for one.
            let at_once = !self.params.plan.follow_line_end
                && self.params.plan.base.line_end == LineEnd::None;
            if is_over || (is_best && at_once) {
                let text = std::mem::take(&mut self.io.input);
                let end = if is_over { End::Silence } else { End::Itself };
                self.io.tell_received(Role::Client, What::Proposal, &text, end);
                return self.choose(&offer, LineEnd::None);
            }
            if selection.is_some() {
                // There will be an exchange, whatever follows: use the silence to prepare it.
                self.generate();
            }
            let timing = &self.params.timing;
            self.io.timer = Some(now + if is_best { timing.settled } else { timing.quiet });
        } else if !input.is_empty() {
            self.io.timer = Some(now + self.params.timing.stall);
        }
        Ok(())
    }

    fn choose(&mut self, offer: &Offer, end: LineEnd) -> Result<(), HandshakeError> {
        self.io.timer = None;
        let dialect = self.params.plan.on_line_end(end);
        let selection = select(&self.params.enabled, offer);
        self.io.tell(|| Note::Candidates {
            list: candidates(&self.params.enabled, offer),
            chosen: selection.as_ref().map(|s| s.choice.clone()),
        });
        let Some(Selection { id, choice, .. }) = selection else {
            return Err(HandshakeError::NoSuiteInCommon {
                line_end: dialect.line_end,
                offered: offer.to_string(),
                enabled: describe(&self.params.enabled),
            });
        };
        let text = choice.to_wire(dialect.separator);
        self.io.send(Role::Server, What::Choice, &text, dialect.line_end);
        self.io.tell(|| Note::Dialect(dialect));
        self.io.events.push_back(Event::Chosen(id));
        self.generate();
        let mut exchange = Exchange::new(Role::Server, id, dialect, self.params.timing);
        if let Some(own) = self.own.take() {
            exchange.take_outcome(own, &mut self.io)?;
        }
        self.state = ServerState::Exchange(Box::new(exchange));
        Ok(())
    }

    fn generate(&mut self) {
        if let Some(seed) = self.seed.take() {
            self.io.events.push_back(Event::Compute(DhTask::Generate(seed)));
        }
    }

    fn take_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        let exchange = match &mut self.state {
            ServerState::Exchange(exchange) => exchange,
            ServerState::Failed(error) => return Err(error.clone()),
            ServerState::AwaitProposal => {
                self.own = Some(outcome);
                return Ok(());
            }
            ServerState::Done(_) => return Err(HandshakeError::Internal),
        };
        let Some(keys) = exchange.take_outcome(outcome, &mut self.io)? else {
            return Ok(());
        };
        let (id, dialect) = (exchange.id(), *exchange.dialect());
        let early = std::mem::take(&mut self.io.input);
        let session = ServerSession::new(id, &keys, dialect, &self.params, &early)?;
        self.state = ServerState::Done(Some(Box::new(session)));
        Ok(())
    }

    /// Remembers an error and, where the protocol has words for it, tells the client.
    fn settle(&mut self, result: Result<(), HandshakeError>) -> Result<(), HandshakeError> {
        if let Err(error) = &result
            && !matches!(self.state, ServerState::Failed(_))
        {
            self.io.keep_notes_only();
            if let Some(text) = error.refusal() {
                let end = match (&self.state, error) {
                    (ServerState::Exchange(exchange), _) => exchange.dialect().line_end,
                    (_, HandshakeError::NoSuiteInCommon { line_end, .. }) => *line_end,
                    _ => self.params.plan.base.line_end,
                };
                self.io.send(Role::Server, What::Refusal, &text, end);
            }
            self.io.timer = None;
            self.state = ServerState::Failed(error.clone());
        }
        result
    }
}

impl Handshake for ServerHandshake {
    type Session = ServerSession;

    fn wants_input(&self) -> bool {
        match &self.state {
            ServerState::AwaitProposal => true,
            ServerState::Exchange(exchange) => !exchange.has_share(),
            ServerState::Done(_) | ServerState::Failed(_) => false,
        }
    }

    fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Result<(), HandshakeError> {
        self.io.input.extend_from_slice(bytes);
        self.io.timer = None;
        let result = self.advance(now);
        self.settle(result)
    }

    fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        let result = match &mut self.state {
            ServerState::Done(_) => Ok(()),
            ServerState::Failed(error) => Err(error.clone()),
            ServerState::AwaitProposal if self.io.input.is_empty() => {
                Err(HandshakeError::Closed { awaited: "a proposal" })
            }
            // Nobody is left to answer, but the log should say what was wrong with it.
            ServerState::AwaitProposal => Err(parse_offer(&self.io.input)
                .err()
                .unwrap_or(HandshakeError::Closed { awaited: "our choice" })),
            // A client may say all it has to say and half-close; the session will see that.
            ServerState::Exchange(exchange) => exchange.read_eof(&mut self.io),
        };
        self.settle(result)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if self.io.timer.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.io.timer = None;
        let result = match &mut self.state {
            ServerState::AwaitProposal => self.read_proposal(now, true),
            ServerState::Exchange(exchange) => exchange.read_share(&mut self.io, now, true),
            ServerState::Done(_) => Ok(()),
            ServerState::Failed(error) => Err(error.clone()),
        };
        self.settle(result)
    }

    fn handle_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        let result = self.take_outcome(outcome);
        self.settle(result)
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.io.transmit.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.io.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.io.timer
    }

    fn take_session(&mut self) -> Option<ServerSession> {
        match &mut self.state {
            ServerState::Done(session) => session.take().map(|s| *s),
            _ => None,
        }
    }
}

fn parse_offer(text: &[u8]) -> Result<Offer, HandshakeError> {
    str::from_utf8(text)
        .map_err(|_| OfferError::Name)
        .and_then(Offer::parse)
        .map_err(|reason| HandshakeError::Offer { reason, got: text.to_vec() })
}
