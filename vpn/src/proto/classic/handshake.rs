//! The handshake of the classic profile for both roles, without sockets, clock or threads
//! (PROTOCOL.md §3.1 to §3.4).
//!
//! Bytes go in with [`Handshake::handle_input`], in any slicing; what is to be sent comes out of
//! [`Handshake::poll_transmit`], what happened or has to be computed out of
//! [`Handshake::poll_event`]. Time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::CryptoRng;

use super::super::dh::{DhOutcome, DhTask, ExponentSeed};
use super::super::error::HandshakeError;
use super::super::negotiate::{
    CHOICE_HEAD, Choice, EnabledSuite, Offer, PROPOSAL_HEAD, Selection, Separator, SuiteId, accept,
    describe, select,
};
use super::dialect::{Dialect, DialectPlan, LineEnd};
use super::exchange::{Exchange, Role};
use super::session::{ClientSession, ServerSession};

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
}

/// What a handshake wants its driver to know or to do.
#[derive(Debug)]
pub enum Event {
    /// The cipher is agreed on.
    Chosen(SuiteId),
    /// Run this somewhere and hand the outcome to [`Handshake::handle_outcome`].
    Compute(DhTask),
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
}

impl Io {
    pub(super) fn send(&mut self, text: &str, dialect: &Dialect) {
        self.transmit.push_back(format!("{text}{}", dialect.line_end.as_str()).into_bytes());
    }

    /// Takes a line off the input: its text without the end, and what the end was.
    pub(super) fn take_line(&mut self) -> Option<(Vec<u8>, LineEnd)> {
        let at = self.input.iter().position(|&b| b == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=at).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
            return Some((line, LineEnd::CrLf));
        }
        Some((line, LineEnd::Lf))
    }

    /// Drops a line end that came late, when the message before it was complete without.
    pub(super) fn skip_line_end(&mut self) {
        let ends = self.input.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        self.input.drain(..ends.min(2));
    }
}

/// The server's side of the handshake.
#[derive(Debug)]
pub struct ServerHandshake {
    params: ClassicParams,
    seed: Option<ExponentSeed>,
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
        Self { params, seed: Some(seed), io: Io::default(), state: ServerState::AwaitProposal }
    }

    fn advance(&mut self, now: Instant) -> Result<(), HandshakeError> {
        match &mut self.state {
            ServerState::AwaitProposal => self.read_proposal(now, false),
            ServerState::Exchange(exchange) => exchange.read_share(&mut self.io, now, false),
            ServerState::Done(_) => Ok(()),
            ServerState::Failed(error) => Err(error.clone()),
        }
    }

    fn read_proposal(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        if let Some((line, end)) = self.io.take_line() {
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
            let is_best = select(&self.params.enabled, &offer).is_some_and(|s| s.is_best);
            // A dialect without line ends need not wait for one.
            let at_once = !self.params.plan.follow_line_end
                && self.params.plan.base.line_end == LineEnd::None;
            if is_over || (is_best && at_once) {
                self.io.input.clear();
                return self.choose(&offer, LineEnd::None);
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
        let Some(Selection { id, choice, .. }) = select(&self.params.enabled, offer) else {
            return Err(HandshakeError::NoSuiteInCommon {
                line_end: dialect.line_end,
                offered: offer.to_string(),
                enabled: describe(&self.params.enabled),
            });
        };
        self.io.send(&choice.to_wire(dialect.separator), &dialect);
        self.io.events.push_back(Event::Chosen(id));
        if let Some(seed) = self.seed.take() {
            self.io.events.push_back(Event::Compute(DhTask::Generate(seed)));
        }
        let exchange = Exchange::new(Role::Server, id, dialect, self.params.timing);
        self.state = ServerState::Exchange(Box::new(exchange));
        Ok(())
    }

    fn take_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        let exchange = match &mut self.state {
            ServerState::Exchange(exchange) => exchange,
            ServerState::Failed(error) => return Err(error.clone()),
            ServerState::AwaitProposal | ServerState::Done(_) => {
                return Err(HandshakeError::Internal);
            }
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
            if let Some(text) = error.refusal() {
                let end = match (&self.state, error) {
                    (ServerState::Exchange(exchange), _) => exchange.dialect().line_end,
                    (_, HandshakeError::NoSuiteInCommon { line_end, .. }) => *line_end,
                    _ => self.params.plan.base.line_end,
                };
                self.io.transmit.push_back(format!("{text}{}", end.as_str()).into_bytes());
            }
            self.io.timer = None;
            self.io.events.clear();
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

/// The client's side of the handshake.
#[derive(Debug)]
pub struct ClientHandshake {
    params: ClassicParams,
    io: Io,
    state: ClientState,
}

#[derive(Debug)]
enum ClientState {
    AwaitChoice { own: Option<DhOutcome>, probe: Option<Instant>, quiet: Option<Instant> },
    Exchange(Box<Exchange>),
    Done(Option<Box<ClientSession>>),
    Failed(HandshakeError),
}

impl ClientHandshake {
    /// Starts with the proposal; our key pair is computed while the server thinks.
    pub fn new(params: ClassicParams, rng: &mut (impl CryptoRng + ?Sized), now: Instant) -> Self {
        let seed = ExponentSeed::draw(params.plan.base.group, rng);
        Self::with_seed(params, seed, now)
    }

    /// Starts with a given exponent: for replaying recorded sessions.
    pub fn with_seed(params: ClassicParams, seed: ExponentSeed, now: Instant) -> Self {
        let mut io = Io::default();
        io.send(&Offer::from_enabled(&params.enabled).to_wire(), &params.plan.base);
        io.events.push_back(Event::Compute(DhTask::Generate(seed)));
        let probe = params.plan.follow_line_end.then(|| now + params.timing.probe);
        io.timer = probe;
        let state = ClientState::AwaitChoice { own: None, probe, quiet: None };
        Self { params, io, state }
    }

    fn read_choice(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        if let Some((line, end)) = self.io.take_line() {
            return self.choose(&line, end);
        }
        if self.io.input.len() > HANDSHAKE_LIMIT {
            return Err(HandshakeError::TooLong { limit: HANDSHAKE_LIMIT });
        }
        if is_over || self.is_whole_choice() {
            let text = std::mem::take(&mut self.io.input);
            return self.choose(&text, LineEnd::None);
        }
        let input = &self.io.input;
        let compared = input.len().min(CHOICE_HEAD.len());
        let is_choice = input[..compared] == CHOICE_HEAD.as_bytes()[..compared];
        let ends_in_digit = input.last().is_some_and(u8::is_ascii_digit);
        let timing = &self.params.timing;
        let wait = if is_choice && !ends_in_digit { timing.stall } else { timing.quiet };
        if let ClientState::AwaitChoice { quiet, probe, .. } = &mut self.state {
            // Something was said: there is nothing left to ask for.
            *probe = None;
            *quiet = Some(now + wait);
            self.io.timer = *quiet;
        }
        Ok(())
    }

    /// Whether the choice cannot go on: it names something on offer, no size on offer has more
    /// digits behind these, and no line end is to be waited for.
    fn is_whole_choice(&self) -> bool {
        let Ok(text) = str::from_utf8(&self.io.input) else {
            return false;
        };
        let Ok((choice, separator)) = Choice::parse(text) else {
            return false;
        };
        let digits = choice.bits.to_string();
        let may_go_on = self.params.enabled.iter().flat_map(|e| &e.sizes).any(|size| {
            let longer = size.bits().to_string();
            longer.len() > digits.len() && longer.starts_with(&digits)
        });
        let awaits_line_end = separator == Separator::Comma && self.params.plan.follow_line_end
            || self.params.plan.base.line_end != LineEnd::None;
        accept(&self.params.enabled, &choice).is_some() && !may_go_on && !awaits_line_end
    }

    fn choose(&mut self, text: &[u8], end: LineEnd) -> Result<(), HandshakeError> {
        self.io.timer = None;
        let parsed = str::from_utf8(text).ok().and_then(|t| Choice::parse(t).ok());
        let Some((choice, separator)) = parsed else {
            return Err(if text.starts_with(CHOICE_HEAD.as_bytes()) {
                HandshakeError::Choice { got: text.to_vec() }
            } else {
                refused(text)
            });
        };
        let Some(id) = accept(&self.params.enabled, &choice) else {
            return Err(HandshakeError::NotOffered {
                choice: choice.to_string(),
                offered: describe(&self.params.enabled),
            });
        };
        let dialect = self.params.plan.on_choice(separator, end);
        self.io.events.push_back(Event::Chosen(id));
        let ClientState::AwaitChoice { own, .. } = &mut self.state else {
            return Err(HandshakeError::Internal);
        };
        let own = own.take();
        let mut exchange = Exchange::new(Role::Client, id, dialect, self.params.timing);
        if let Some(own) = own {
            exchange.take_outcome(own, &mut self.io)?;
        }
        self.state = ClientState::Exchange(Box::new(exchange));
        Ok(())
    }

    fn take_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        let exchange = match &mut self.state {
            ClientState::AwaitChoice { own, .. } => {
                *own = Some(outcome);
                return Ok(());
            }
            ClientState::Exchange(exchange) => exchange,
            ClientState::Done(_) => return Err(HandshakeError::Internal),
            ClientState::Failed(error) => return Err(error.clone()),
        };
        let Some(keys) = exchange.take_outcome(outcome, &mut self.io)? else {
            return Ok(());
        };
        let (id, dialect) = (exchange.id(), *exchange.dialect());
        let session = ClientSession::new(id, &keys, dialect, &self.params)?;
        self.state = ClientState::Done(Some(Box::new(session)));
        Ok(())
    }

    fn settle(&mut self, result: Result<(), HandshakeError>) -> Result<(), HandshakeError> {
        if let Err(error) = &result {
            self.io.timer = None;
            self.io.events.clear();
            self.io.transmit.clear();
            self.state = ClientState::Failed(error.clone());
        }
        result
    }
}

impl Handshake for ClientHandshake {
    type Session = ClientSession;

    fn wants_input(&self) -> bool {
        match &self.state {
            ClientState::AwaitChoice { .. } => true,
            ClientState::Exchange(exchange) => !exchange.has_share(),
            ClientState::Done(_) | ClientState::Failed(_) => false,
        }
    }

    fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Result<(), HandshakeError> {
        self.io.input.extend_from_slice(bytes);
        self.io.timer = None;
        let result = match &mut self.state {
            ClientState::AwaitChoice { .. } => self.read_choice(now, false),
            ClientState::Exchange(exchange) => exchange.read_share(&mut self.io, now, false),
            ClientState::Done(_) => Ok(()),
            ClientState::Failed(error) => Err(error.clone()),
        };
        self.settle(result)
    }

    fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        let result = match &mut self.state {
            ClientState::AwaitChoice { .. } if self.io.input.is_empty() => {
                Err(HandshakeError::Closed { awaited: "the server's choice" })
            }
            ClientState::AwaitChoice { .. } => {
                let text = std::mem::take(&mut self.io.input);
                self.choose(&text, LineEnd::None)
                    .and(Err(HandshakeError::Closed { awaited: "the key exchange" }))
            }
            ClientState::Exchange(exchange) => exchange.read_eof(&mut self.io),
            ClientState::Done(_) => Ok(()),
            ClientState::Failed(error) => Err(error.clone()),
        };
        self.settle(result)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if self.io.timer.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.io.timer = None;
        let result = match &mut self.state {
            ClientState::AwaitChoice { probe, .. } if probe.is_some_and(|due| now >= due) => {
                // Servers of the 2025 family read a line, and wait for its end.
                *probe = None;
                self.io.transmit.push_back(b"\n".to_vec());
                Ok(())
            }
            ClientState::AwaitChoice { quiet: Some(_), .. } => self.read_choice(now, true),
            ClientState::AwaitChoice { .. } => Ok(()),
            ClientState::Exchange(exchange) => exchange.read_share(&mut self.io, now, true),
            ClientState::Done(_) => Ok(()),
            ClientState::Failed(error) => Err(error.clone()),
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

    fn take_session(&mut self) -> Option<ClientSession> {
        match &mut self.state {
            ClientState::Done(session) => session.take().map(|s| *s),
            _ => None,
        }
    }
}

fn parse_offer(text: &[u8]) -> Result<Offer, HandshakeError> {
    str::from_utf8(text)
        .map_err(|_| super::super::negotiate::OfferError::Name)
        .and_then(Offer::parse)
        .map_err(|reason| HandshakeError::Offer { reason, got: text.to_vec() })
}

pub(super) fn refused(text: &[u8]) -> HandshakeError {
    HandshakeError::Refused { text: text.trim_ascii_end().to_vec() }
}
