//! The state of a session.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use super::event::Event;
use super::limits::Limits;
use crate::role::Role;
use crate::sealed::alert::Alert;
use crate::sealed::error::SealedError;
use crate::sealed::kex::Kex;
use crate::sealed::record::{ALERT_PAD, MAX_PAYLOAD, RecordOpener, RecordSealer, content};
use crate::sealed::schedule::{SessionSecrets, TrafficSecret};
use crate::sealed::wire::{Part, next_length};
use crate::suite::SuiteId;

/// The service that has channels, and its argument, the version.
pub(super) const CHANNELS: (&str, &[u8]) = ("channels", &[1]);
/// The longest payload of a ping in bytes.
pub(super) const MAX_PING: usize = 64;
/// The number of records that are sealed or verified at once: 256 KiB of data.
pub(super) const BATCH: usize = 16;
/// The capacity in bytes of a buffer for data that arrives at once.
pub(in crate::sealed) const DATA: usize = (BATCH + 1) * MAX_PAYLOAD;

/// The suite, the key exchange and the secrets of a session.
pub(in crate::sealed) struct Keys {
    pub(in crate::sealed) id: SuiteId,
    pub(in crate::sealed) kex: Kex,
    pub(in crate::sealed) secrets: SessionSecrets,
}

impl Keys {
    pub(in crate::sealed) fn new(id: SuiteId, kex: Kex, secrets: SessionSecrets) -> Self {
        Self { id, kex, secrets }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// How far a new key exchange is.
#[derive(Debug)]
pub(super) enum Rekey {
    Idle,
    /// Client: Init was sent.
    AwaitReply {
        init: Vec<u8>,
    },
    /// Client: Reply was received, and the caller computes the secret.
    AwaitSecret {
        transcript: [u8; 32],
    },
    /// Server: Init was received, and the caller computes the answer.
    AwaitAnswer {
        init: Vec<u8>,
    },
    /// Server: Reply was sent. The next traffic secret of the client is used after Done.
    AwaitDone {
        client: TrafficSecret,
    },
}

/// Which messages of the service one side has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// Open or OpenReply was sent.
    pub(super) is_open: bool,
    /// Eof was sent.
    pub(super) is_at_end: bool,
}

/// An established session.
#[derive(Debug)]
pub struct Session {
    pub(super) role: Role,
    pub(super) keys: Keys,
    pub(super) transcript: [u8; 32],
    pub(super) limits: Limits,
    pub(super) sealer: RecordSealer,
    pub(super) opener: RecordOpener,
    pub(super) own: TrafficSecret,
    pub(super) peer: TrafficSecret,
    pub(super) own_epoch: u32,
    pub(super) peer_epoch: u32,
    pub(super) rekey: Rekey,
    pub(super) ours: Flow,
    pub(super) theirs: Flow,
    /// Whether an OpenReply with status 0 was sent or received.
    pub(super) is_accepted: bool,
    /// Whether the service that was asked for has channels.
    pub(super) has_channels: bool,
    pub(super) bytes: u64,
    pub(super) bytes_since_exchange: u64,
    /// The first call of [`Session::handle_timeout`] after the last key exchange.
    pub(super) exchanged: Option<Instant>,
    pub(super) is_exchange_due: bool,
    /// Bytes from the peer. Those before `taken` are handled.
    pub(super) input: Vec<u8>,
    pub(super) taken: usize,
    /// The bytes of the records that are verified and not handled yet.
    pub(super) behind: usize,
    pub(super) events: VecDeque<Event>,
    /// The capacity in bytes of a buffer for data that arrives at once.
    pub(super) piece: usize,
    /// Empty buffers for later data.
    pub(super) spare: Vec<Vec<u8>>,
    /// Records to send. Those before `polled` are given to the caller.
    pub(super) output: Vec<u8>,
    pub(super) polled: usize,
    pub(super) sent_close: bool,
    /// The stream of the peer ended during a key exchange.
    pub(super) has_ended: bool,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// The peer sent close_notify. `sent_close` tells whether we did.
    Closed,
    Failed(SealedError),
}

impl Session {
    pub(in crate::sealed) fn new(
        role: Role,
        keys: Keys,
        sealer: RecordSealer,
        opener: RecordOpener,
        limits: Limits,
        transcript: [u8; 32],
    ) -> Self {
        let (client, server) = (keys.secrets.client.clone(), keys.secrets.server.clone());
        let (own, peer) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        Self {
            role,
            keys,
            transcript,
            limits,
            sealer,
            opener,
            own,
            peer,
            own_epoch: 0,
            peer_epoch: 0,
            rekey: Rekey::Idle,
            ours: Flow::default(),
            theirs: Flow::default(),
            is_accepted: false,
            has_channels: false,
            bytes: 0,
            bytes_since_exchange: 0,
            exchanged: None,
            is_exchange_due: false,
            input: Vec::new(),
            taken: 0,
            behind: 0,
            events: VecDeque::new(),
            piece: DATA,
            spare: Vec::new(),
            output: Vec::new(),
            polled: 0,
            sent_close: false,
            has_ended: false,
            state: State::Running,
        }
    }

    /// The suite and key size.
    pub fn suite(&self) -> SuiteId {
        self.keys.id
    }

    /// The key exchange of the handshake. New key exchanges use the same one.
    pub fn kex(&self) -> Kex {
        self.keys.kex
    }

    /// A public name of the session that both sides know, for logs.
    pub fn id(&self) -> [u8; 16] {
        self.keys.secrets.id
    }

    /// A secret that both sides know, for protocols that use the session.
    pub fn exporter(&self) -> &[u8; 32] {
        &self.keys.secrets.exporter
    }

    /// The traffic secrets of both directions, client first, for key logs and tests.
    pub fn traffic_secrets(&self) -> [&[u8; 32]; 2] {
        match self.role {
            Role::Client => [self.own.as_bytes(), self.peer.as_bytes()],
            Role::Server => [self.peer.as_bytes(), self.own.as_bytes()],
        }
    }

    /// The epochs of both directions, ours first. An epoch counts the changes of keys.
    pub fn epochs(&self) -> [u32; 2] {
        [self.own_epoch, self.peer_epoch]
    }

    /// Sets the most bytes of data that arrive at once, if these are fewer than a batch.
    pub fn expect_pieces(&mut self, bytes: usize) {
        self.piece = bytes.saturating_add(MAX_PAYLOAD).min(DATA);
    }

    /// Frees the memory of empty buffers.
    pub fn shrink(&mut self) {
        self.spare = Vec::new();
        let input = self.input_buffer();
        input.shrink_to_fit();
        if self.polled == self.output.len() {
            self.output = Vec::new();
            self.polled = 0;
        }
        self.events.shrink_to_fit();
    }

    /// Whether the peer ended the session with close_notify.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether both sides have announced the end of their data.
    pub fn is_at_end(&self) -> bool {
        self.ours.is_at_end && self.theirs.is_at_end
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether there is an event.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next record to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let rest = &self.output[self.polled..];
        // The output is whole records.
        let length = next_length(Part::Record, rest).ok().flatten()?;
        let record = rest[..length].to_vec();
        self.polled += length;
        if self.polled == self.output.len() {
            self.output.clear();
            self.polled = 0;
        }
        Some(record)
    }

    /// Appends all records to send to `to`.
    pub fn take_output(&mut self, to: &mut Vec<u8>) {
        if to.is_empty() && self.polled == 0 {
            std::mem::swap(to, &mut self.output);
        } else {
            to.extend_from_slice(&self.output[self.polled..]);
        }
        self.output.clear();
        self.polled = 0;
    }

    /// An error if the session has ended, or if we sent close_notify.
    pub(super) fn running(&self) -> Result<(), SealedError> {
        match &self.state {
            State::Running if !self.sent_close => Ok(()),
            State::Running | State::Closed => Err(SealedError::Internal),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Ends the session because of an error that the caller has found, such as that of
    /// [`Channels::handle`](crate::sealed::Channels::handle). Sends the alert for it. Returns the error.
    pub fn fail(&mut self, error: SealedError) -> SealedError {
        // The error is returned as it is, or the one before it.
        self.settle(Err(error.clone())).err().unwrap_or(error)
    }

    /// Remembers an error and sends the alert for it. Some errors are not sent, because the peer
    /// could learn something from them.
    pub(super) fn settle(&mut self, result: Result<(), SealedError>) -> Result<(), SealedError> {
        let Err(error) = &result else { return Ok(()) };
        if matches!(self.state, State::Failed(_)) {
            // The alert was sent already.
            return result;
        }
        let alert = match error {
            SealedError::Limit(_) => Some(Alert::Policy),
            SealedError::Malformed(_)
            | SealedError::Unexpected { .. }
            | SealedError::Kex(_)
            | SealedError::Suite(_) => Some(Alert::ProtocolError),
            _ => None,
        };
        if let Some(alert) = alert {
            let payload = alert.encode();
            // If this fails, the connection ends without an alert.
            let _ = self.sealer.seal_into(content::ALERT, &payload, ALERT_PAD, &mut self.output);
        }
        self.input = Vec::new();
        self.taken = 0;
        self.state = State::Failed(error.clone());
        result
    }

    /// Counts bytes of a record, sent or received. The error ends the session.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), SealedError> {
        self.bytes += bytes as u64;
        self.bytes_since_exchange += bytes as u64;
        if self.sealer.block() <= 8 && self.bytes > self.limits.bytes_of_small_blocks {
            return Err(SealedError::Limit("the data of a suite with 64-bit blocks"));
        }
        Ok(())
    }
}
