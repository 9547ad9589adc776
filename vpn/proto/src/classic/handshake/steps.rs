//! The steps that are the same for both roles: everything but the negotiation of the cipher.

use std::time::Instant;

use super::exchange::Exchange;
use crate::classic::dialect::Dialect;
use crate::classic::error::HandshakeError;
use crate::classic::io::{Event, Io};
use crate::classic::keys::SessionKeys;
use crate::classic::note::Note;
use crate::classic::params::ClassicParams;
use crate::dh::DhOutcome;
use crate::role::Role;
use crate::suite::SuiteId;

/// The state of a handshake that becomes a session of type `S`.
#[derive(Debug)]
pub(super) struct State<S> {
    pub(super) params: ClassicParams,
    pub(super) io: Io,
    /// Our key pair, if it is ready before the key exchange starts.
    own: Option<DhOutcome>,
    pub(super) stage: Stage<S>,
}

/// How far a handshake is.
#[derive(Debug)]
pub(super) enum Stage<S> {
    /// The client waits for the choice, the server for the proposal.
    Negotiation,
    Exchange(Box<Exchange>),
    Done(Option<Box<S>>),
    Failed(HandshakeError),
}

impl<S> State<S> {
    pub(super) fn new(params: ClassicParams) -> Self {
        let io = Io::new(params.telling);
        Self { params, io, own: None, stage: Stage::Negotiation }
    }

    /// Ends the negotiation and starts the key exchange.
    pub(super) fn start_exchange(
        &mut self,
        role: Role,
        id: SuiteId,
        dialect: Dialect,
    ) -> Result<(), HandshakeError> {
        self.io.note(|| Note::Dialect(dialect));
        self.io.events.push_back(Event::Chosen(id));
        let mut exchange = Exchange::new(role, id, dialect, self.params.timing);
        if let Some(own) = self.own.take() {
            exchange.handle_outcome(own, &mut self.io)?;
        }
        self.stage = Stage::Exchange(Box::new(exchange));
        Ok(())
    }

    pub(super) fn take_session(&mut self) -> Option<S> {
        match &mut self.stage {
            Stage::Done(session) => session.take().map(|session| *session),
            _ => None,
        }
    }
}

/// What differs between the two roles.
pub(super) trait Steps {
    type Session;

    fn state(&self) -> &State<Self::Session>;

    fn state_mut(&mut self) -> &mut State<Self::Session>;

    /// Reads the message that ends the negotiation, as far as it has arrived.
    fn negotiate(&mut self, now: Instant) -> Result<(), HandshakeError>;

    /// Handles silence during the negotiation.
    fn negotiate_timeout(&mut self, now: Instant) -> Result<(), HandshakeError>;

    /// Handles the end of the stream of the peer during the negotiation.
    fn negotiate_eof(&mut self) -> Result<(), HandshakeError>;

    /// Makes the session of a finished handshake.
    fn establish(
        &mut self,
        id: SuiteId,
        dialect: Dialect,
        keys: &SessionKeys,
    ) -> Result<Self::Session, HandshakeError>;

    /// Decides what is still sent after an error.
    fn fail(&mut self, error: &HandshakeError);

    /// Reads the public value of the peer, if it is time for it.
    fn read_share(&mut self, now: Instant, is_over: bool) -> Result<(), HandshakeError> {
        let state = self.state_mut();
        match &mut state.stage {
            Stage::Negotiation | Stage::Done(_) => Ok(()),
            Stage::Exchange(exchange) => exchange.read_share(&mut state.io, now, is_over),
            Stage::Failed(error) => Err(error.clone()),
        }
    }

    fn read_input(&mut self, now: Instant) -> Result<(), HandshakeError> {
        if matches!(self.state().stage, Stage::Negotiation) {
            self.negotiate(now)?;
        }
        // The public value may have arrived together with the message before.
        self.read_share(now, false)
    }

    fn take_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        let state = self.state_mut();
        let exchange = match &mut state.stage {
            Stage::Negotiation => {
                state.own = Some(outcome);
                return Ok(());
            }
            Stage::Exchange(exchange) => exchange,
            Stage::Done(_) => return Err(HandshakeError::Internal),
            Stage::Failed(error) => return Err(error.clone()),
        };
        let Some(keys) = exchange.handle_outcome(outcome, &mut state.io)? else {
            return Ok(());
        };
        let (id, dialect) = (exchange.id(), *exchange.dialect());
        let session = self.establish(id, dialect, &keys)?;
        self.state_mut().stage = Stage::Done(Some(Box::new(session)));
        Ok(())
    }

    /// Remembers the first error.
    fn settle(&mut self, result: Result<(), HandshakeError>) -> Result<(), HandshakeError> {
        if let Err(error) = &result
            && !matches!(self.state().stage, Stage::Failed(_))
        {
            self.state_mut().io.keep_notes_only();
            self.fail(error);
            let state = self.state_mut();
            state.io.timer = None;
            state.stage = Stage::Failed(error.clone());
        }
        result
    }

    fn wants_input(&self) -> bool {
        match &self.state().stage {
            Stage::Negotiation => true,
            Stage::Exchange(exchange) => !exchange.has_share(),
            Stage::Done(_) | Stage::Failed(_) => false,
        }
    }

    fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Result<(), HandshakeError> {
        let io = &mut self.state_mut().io;
        io.input.extend_from_slice(bytes);
        io.timer = None;
        let result = self.read_input(now);
        self.settle(result)
    }

    fn handle_eof(&mut self) -> Result<(), HandshakeError> {
        let state = self.state_mut();
        let result = match &mut state.stage {
            Stage::Negotiation => self.negotiate_eof(),
            // A client may send everything and close its direction. The session sees that.
            Stage::Exchange(exchange) => exchange.handle_eof(&mut state.io),
            Stage::Done(_) => Ok(()),
            Stage::Failed(error) => Err(error.clone()),
        };
        self.settle(result)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
        let state = self.state_mut();
        if state.io.timer.is_none_or(|due| now < due) {
            return Ok(());
        }
        state.io.timer = None;
        let result = match state.stage {
            Stage::Negotiation => self.negotiate_timeout(now),
            _ => self.read_share(now, true),
        };
        self.settle(result)
    }

    fn handle_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        let result = self.take_outcome(outcome);
        self.settle(result)
    }
}

/// Implements the public [`Handshake`](super::Handshake) by the methods of [`Steps`]. A generic
/// `impl` for all `Steps` is not possible, because that trait is private.
macro_rules! impl_handshake {
    ($handshake:ty, $session:ty) => {
        impl $crate::classic::Handshake for $handshake {
            type Session = $session;

            fn wants_input(&self) -> bool {
                Steps::wants_input(self)
            }

            fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Result<(), HandshakeError> {
                Steps::handle_input(self, bytes, now)
            }

            fn handle_eof(&mut self) -> Result<(), HandshakeError> {
                Steps::handle_eof(self)
            }

            fn handle_timeout(&mut self, now: Instant) -> Result<(), HandshakeError> {
                Steps::handle_timeout(self, now)
            }

            fn handle_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
                Steps::handle_outcome(self, outcome)
            }

            fn poll_transmit(&mut self) -> Option<Vec<u8>> {
                self.state.io.transmit.pop_front()
            }

            fn poll_event(&mut self) -> Option<Event> {
                self.state.io.events.pop_front()
            }

            fn poll_timeout(&self) -> Option<Instant> {
                self.state.io.timer
            }

            fn take_session(&mut self) -> Option<$session> {
                self.state.take_session()
            }
        }
    };
}

pub(super) use impl_handshake;
