//! The client's side of the handshake.

use std::time::Instant;

use rand::CryptoRng;

use super::super::super::dh::{DhOutcome, DhTask, ExponentSeed};
use super::super::super::error::HandshakeError;
use super::super::super::negotiate::{
    CHOICE_HEAD, Choice, Offer, Separator, accept, candidates, describe,
};
use super::super::dialect::LineEnd;
use super::super::exchange::{Exchange, SHARE_HEAD};
use super::super::note::{End, Note, Role, What};
use super::super::session::ClientSession;
use super::{ClassicParams, Event, HANDSHAKE_LIMIT, Handshake, Io, refused};

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
        let mut io = Io::new(params.telling);
        let proposal = Offer::from_enabled(&params.enabled).to_wire();
        io.send(Role::Client, What::Proposal, &proposal, params.plan.base.line_end);
        io.events.push_back(Event::Compute(DhTask::Generate(seed)));
        let probe = params.plan.follow_line_end.then(|| now + params.timing.probe);
        io.timer = probe;
        let state = ClientState::AwaitChoice { own: None, probe, quiet: None };
        Self { params, io, state }
    }

    fn advance(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if matches!(self.state, ClientState::AwaitChoice { .. }) {
            self.read_choice(now, false)?;
        }
        // What stood behind the choice in the same piece, if anything did.
        match &mut self.state {
            ClientState::AwaitChoice { .. } | ClientState::Done(_) => Ok(()),
            ClientState::Exchange(exchange) => exchange.read_share(&mut self.io, now, false),
            ClientState::Failed(error) => Err(error.clone()),
        }
    }

    fn read_choice(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        if let Some(end) = self.share_behind_choice() {
            let text: Vec<u8> = self.io.input.drain(..end).collect();
            return self.choose(&text, End::Itself);
        }
        if let Some((line, end)) = self.io.take_line() {
            return self.choose(&line, End::Line(end));
        }
        if self.io.input.len() > HANDSHAKE_LIMIT {
            return Err(HandshakeError::TooLong { limit: HANDSHAKE_LIMIT });
        }
        let returned = self.io.input.iter().position(|&b| b == b'\r');
        if let Some(end) = returned.filter(|&end| self.is_whole_choice(&self.io.input[..end])) {
            // It ended itself before the beginning of a line end that it does not need.
            let text: Vec<u8> = self.io.input.drain(..end).collect();
            return self.choose(&text, End::Itself);
        }
        if is_over || self.is_whole_choice(&self.io.input) {
            let text = std::mem::take(&mut self.io.input);
            return self.choose(&text, if is_over { End::Silence } else { End::Itself });
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

    /// Where a choice that ends itself does so, if the server's public value came in the same piece.
    fn share_behind_choice(&self) -> Option<usize> {
        let head = SHARE_HEAD.as_bytes();
        let end = self.io.input.windows(head.len()).position(|w| w == head)?;
        let text = &self.io.input[..end];
        let is_ended = text.trim_ascii_end().last().is_some_and(u8::is_ascii_digit);
        let is_choice = end <= HANDSHAKE_LIMIT && is_ended;
        (is_choice && self.is_whole_choice(text)).then_some(end)
    }

    /// Whether the choice cannot go on: it names something on offer, no size on offer has more
    /// digits behind these, and no line end is to be waited for.
    fn is_whole_choice(&self, text: &[u8]) -> bool {
        let Ok(text) = str::from_utf8(text) else {
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

    fn choose(&mut self, text: &[u8], end: End) -> Result<(), HandshakeError> {
        self.io.timer = None;
        let is_choice = text.starts_with(CHOICE_HEAD.as_bytes());
        let what = if is_choice { What::Choice } else { What::Refusal };
        self.io.tell_received(Role::Server, what, text, end);
        let parsed = str::from_utf8(text).ok().and_then(|t| Choice::parse(t).ok());
        let Some((choice, separator)) = parsed else {
            return Err(if is_choice {
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
        self.io.tell(|| {
            let list = candidates(&self.params.enabled, &Offer::new([choice.to_entry()]));
            Note::Candidates { list, chosen: Some(choice.clone()) }
        });
        let line_end = if let End::Line(line_end) = end { line_end } else { LineEnd::None };
        let dialect = self.params.plan.on_choice(separator, line_end);
        self.io.tell(|| Note::Dialect(dialect));
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
            self.io.keep_notes_only();
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
        let result = self.advance(now);
        self.settle(result)
    }

    fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        let result = match &mut self.state {
            ClientState::AwaitChoice { .. } if self.io.input.is_empty() => {
                Err(HandshakeError::Closed { awaited: "the server's choice" })
            }
            ClientState::AwaitChoice { .. } => {
                let text = std::mem::take(&mut self.io.input);
                self.choose(&text, End::Silence)
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
                self.io.send(Role::Client, What::LineFeed, "", LineEnd::Lf);
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
