//! An established session of the sealed profile (PROTOCOL.md §4.5, §4.6): one service, data both
//! ways, rekeying, and an end that cannot be forged.

mod exchange;
mod incoming;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::super::classic::Role;
use super::super::negotiate::SuiteId;
use super::alert::Alert;
use super::error::SealedError;
use super::kex::Kex;
use super::record::{MAX_PAYLOAD, RecordOpener, RecordSealer, content};
use super::schedule::{SessionSecrets, TrafficSecret};
use super::wire::{Part, next_length, put_long, put_short};

use exchange::Exchange;
pub use incoming::wiped;

/// Alerts are padded to a multiple of this.
const ALERT_PAD: usize = 64;
/// Handshake records are padded to a multiple of this.
const HANDSHAKE_PAD: usize = 256;
/// The longest payload of a ping in bytes.
const MAX_PING: usize = 64;
/// How many records are sealed or verified side by side: 256 KiB of data.
const BATCH: usize = 16;
/// The room of a buffer for data that comes in one piece.
const DATA: usize = (BATCH + 1) * MAX_PAYLOAD;
/// How many such buffers a session keeps for data to come.
const SPARES: usize = 4;

/// Limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blocks under one key after which the session has to end; half of that starts a new key.
    /// `None` for the profile's: 2^(block size in bits / 4), as RFC 4344 §3.2 has it.
    pub blocks_per_key: Option<u64>,
    /// Bytes both ways after which a fresh key exchange is due.
    pub bytes_per_exchange: u64,
    /// The time after which a fresh key exchange is due.
    pub time_per_exchange: Duration,
    /// The time after which a session without a fresh key exchange has to end.
    pub time_without_exchange: Duration,
    /// Bytes both ways of a session whose suite has 64-bit blocks.
    pub bytes_of_small_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            blocks_per_key: None,
            bytes_per_exchange: 64 * GIB,
            time_per_exchange: HOUR,
            time_without_exchange: HOUR.saturating_mul(2),
            bytes_of_small_blocks: 64 * GIB,
        }
    }
}

impl Limits {
    /// The profile's, but with fresh key exchanges after so many bytes and so much time, if that is
    /// earlier.
    #[must_use]
    pub fn rekeying(bytes: Option<u64>, time: Option<Duration>) -> Self {
        let usual = Self::default();
        Self {
            bytes_per_exchange: bytes
                .map_or(usual.bytes_per_exchange, |bytes| bytes.min(usual.bytes_per_exchange)),
            time_per_exchange: time
                .map_or(usual.time_per_exchange, |time| time.min(usual.time_per_exchange)),
            ..usual
        }
    }

    fn blocks(&self, block: usize) -> u64 {
        self.blocks_per_key.unwrap_or(1 << (block * 8 / 4))
    }
}

/// The suite, the key exchange and the secrets of a session.
pub(super) struct Keys {
    pub(super) id: SuiteId,
    pub(super) kex: Kex,
    pub(super) secrets: SessionSecrets,
}

impl Keys {
    pub(super) fn new(id: SuiteId, kex: Kex, secrets: SessionSecrets) -> Self {
        Self { id, kex, secrets }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// What a session has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client wants this service with this argument; answer with [`Session::reply_open`].
    Open {
        /// Its name.
        service: String,
        /// Its argument.
        argument: Vec<u8>,
    },
    /// The server's answer: 0 is yes.
    OpenReply {
        /// 0, or why not.
        status: u8,
        /// The same in words.
        text: String,
    },
    /// Data of the peer.
    Data(Zeroizing<Vec<u8>>),
    /// The peer has no more data.
    Eof,
    /// The peer says that it was the end, and waits until we say the same: call [`Session::close`]
    /// once everything that it sent was handed over, or say with another alert that it was not. Until
    /// then it counts the session as cut.
    CloseRequested,
    /// The peer says that it was the end, after we did.
    Closed,
    /// The peer ended the session, or is about to.
    Alert(Alert),
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// The client starts a fresh exchange with this share; answer with
    /// [`Session::answer_exchange`].
    ExchangeWanted(Vec<u8>),
    /// The server answered a fresh exchange with this share; go on with
    /// [`Session::finish_exchange`]. Nothing else is read before that.
    ExchangeAnswered(Vec<u8>),
}

/// Which of the service's messages went by in a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    is_open: bool,
    is_at_end: bool,
}

/// An established session.
#[derive(Debug)]
pub struct Session {
    role: Role,
    keys: Keys,
    transcript: [u8; 32],
    limits: Limits,
    sealer: RecordSealer,
    opener: RecordOpener,
    own: TrafficSecret,
    peer: TrafficSecret,
    own_epoch: u32,
    peer_epoch: u32,
    exchange: Exchange,
    ours: Flow,
    theirs: Flow,
    /// Whether OpenReply went by with status 0.
    is_accepted: bool,
    bytes: u64,
    bytes_since_exchange: u64,
    /// When the last key exchange was first heard of by [`Session::handle_timeout`].
    exchanged: Option<Instant>,
    is_exchange_due: bool,
    /// What the peer sent; what is before `taken` was taken.
    input: Vec<u8>,
    taken: usize,
    events: VecDeque<Event>,
    /// The room of a buffer for data that comes in one piece.
    piece: usize,
    /// Empty buffers for data to come.
    spare: Vec<Vec<u8>>,
    /// What is to be sent; what is before `polled` was given out.
    output: Vec<u8>,
    polled: usize,
    sent_close: bool,
    /// The peer's stream has ended while something waits for a key exchange.
    has_ended: bool,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The peer said that it was the end; whether we did is another matter.
    Closed,
    Failed(SealedError),
}

impl Session {
    pub(super) fn client(
        keys: Keys,
        opener: RecordOpener,
        limits: Limits,
        transcript: [u8; 32],
    ) -> Result<Self, SealedError> {
        let sealer = RecordSealer::new(keys.secrets.client.record_keys(keys.id)?);
        Ok(Self::new(Role::Client, keys, sealer, opener, limits, transcript))
    }

    pub(super) fn server(
        keys: Keys,
        sealer: RecordSealer,
        limits: Limits,
        transcript: [u8; 32],
    ) -> Result<Self, SealedError> {
        let opener = RecordOpener::new(keys.secrets.client.record_keys(keys.id)?);
        Ok(Self::new(Role::Server, keys, sealer, opener, limits, transcript))
    }

    fn new(
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
            exchange: Exchange::Idle,
            ours: Flow::default(),
            theirs: Flow::default(),
            is_accepted: false,
            bytes: 0,
            bytes_since_exchange: 0,
            exchanged: None,
            is_exchange_due: false,
            input: Vec::new(),
            taken: 0,
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

    /// What the session uses.
    pub fn suite(&self) -> SuiteId {
        self.keys.id
    }

    /// The key exchange of the handshake, which a fresh one uses too.
    pub fn kex(&self) -> Kex {
        self.keys.kex
    }

    /// A name for the session that both sides know, for logs; it gives nothing away.
    pub fn id(&self) -> [u8; 16] {
        self.keys.secrets.id
    }

    /// A secret that both sides know, for protocols on top.
    pub fn exporter(&self) -> &[u8; 32] {
        &self.keys.secrets.exporter
    }

    /// The secrets of both directions, the client's first, for key logs and tests.
    pub fn traffic_secrets(&self) -> [&[u8; 32]; 2] {
        match self.role {
            Role::Client => [self.own.as_bytes(), self.peer.as_bytes()],
            Role::Server => [self.peer.as_bytes(), self.own.as_bytes()],
        }
    }

    /// How many key sets each direction has had, ours first.
    pub fn epochs(&self) -> [u32; 2] {
        [self.own_epoch, self.peer_epoch]
    }

    /// Asks for a service; only a client does, and once.
    ///
    /// # Errors
    ///
    /// If the session is over, or this is not the client.
    pub fn open(&mut self, service: &str, argument: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Server || self.ours.is_open || service.len() > usize::from(u8::MAX) {
            return Err(SealedError::Internal);
        }
        let mut payload = Vec::new();
        put_short(&mut payload, service.as_bytes());
        put_long(&mut payload, argument);
        self.ours.is_open = true;
        self.send_record(content::OPEN, &payload, 1)
    }

    /// Answers the client's wish.
    ///
    /// # Errors
    ///
    /// If there was none, or it was answered.
    pub fn reply_open(&mut self, status: u8, text: &str) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Client || !self.theirs.is_open || self.ours.is_open {
            return Err(SealedError::Internal);
        }
        let mut payload = vec![status];
        payload.extend_from_slice(text.as_bytes());
        self.ours.is_open = true;
        self.is_accepted = status == 0;
        self.send_record(content::OPEN_REPLY, &payload, 1)
    }

    /// Sends data, in as many records as it takes.
    ///
    /// # Errors
    ///
    /// If the service is not open, this side has said that it has no more data, or a limit is
    /// reached.
    pub fn send(&mut self, data: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if !self.is_accepted || self.ours.is_at_end {
            return Err(SealedError::Internal);
        }
        let mut rest = data;
        while !rest.is_empty() {
            self.change_key_if_due()?;
            // As many side by side as may be sealed before the next change of keys.
            let limit = self.limits.blocks(self.sealer.block());
            let room = if self.may_change_key() { limit / 2 } else { limit };
            let count = self.sealer.records_until(room).clamp(1, BATCH);
            let (batch, behind) = rest.split_at(rest.len().min(count * MAX_PAYLOAD));
            let sizes = batch.chunks(MAX_PAYLOAD).map(|piece| self.sealer.size(piece.len(), 1));
            let size = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
            self.account(size)?;
            self.sealer.seal_batch(content::DATA, batch, MAX_PAYLOAD, &mut self.output)?;
            rest = behind;
        }
        Ok(())
    }

    /// Says that this side has no more data.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub fn send_eof(&mut self) -> Result<(), SealedError> {
        self.running()?;
        if !self.is_accepted || self.ours.is_at_end {
            return Err(SealedError::Internal);
        }
        self.ours.is_at_end = true;
        self.send_record(content::EOF, &[], 1)
    }

    /// Asks for an answer.
    ///
    /// # Errors
    ///
    /// If the session is over or the payload longer than 64 bytes.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if payload.len() > MAX_PING {
            return Err(SealedError::Internal);
        }
        self.send_record(content::PING, payload, 1)
    }

    /// Ends the session for a reason; the regular one is [`Alert::CloseNotify`], which also answers
    /// the peer's. Nothing else answers it: it is said when everything was handed over.
    ///
    /// # Errors
    ///
    /// If sealing fails. A session that is over is closed already.
    pub fn close(&mut self, alert: Alert) -> Result<(), SealedError> {
        if self.sent_close || matches!(self.state, State::Failed(_)) {
            return Ok(());
        }
        self.sent_close = !matches!(alert, Alert::Draining(_));
        self.sealer.seal_into(content::ALERT, &alert.encode(), ALERT_PAD, &mut self.output)
    }

    /// Goes on under the next key of this direction.
    ///
    /// # Errors
    ///
    /// If the session is over, or a fresh exchange is under way.
    pub fn update_key(&mut self) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Client && !matches!(self.exchange, Exchange::Idle) {
            return Err(SealedError::Internal);
        }
        self.own_epoch += 1;
        let epoch = self.own_epoch.to_be_bytes();
        self.sealer.seal_into(content::KEY_UPDATE, &epoch, 1, &mut self.output)?;
        self.own = self.own.next();
        self.sealer.rekey(self.own.record_keys(self.keys.id)?);
        Ok(())
    }

    /// Says how much data comes in one piece at most, where that is less than a whole batch.
    pub fn expect_pieces(&mut self, bytes: usize) {
        self.piece = bytes.saturating_add(MAX_PAYLOAD).min(DATA);
    }

    /// Gives back the memory of buffers that are empty.
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

    /// Whether the peer has ended the session properly.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether both sides have said that they have no more data.
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
        // All of it is whole records.
        let length = next_length(Part::Record, rest).ok().flatten()?;
        let record = rest[..length].to_vec();
        self.polled += length;
        if self.polled == self.output.len() {
            self.output.clear();
            self.polled = 0;
        }
        Some(record)
    }

    /// Moves all that is to be sent behind what is in `to`.
    pub fn take_output(&mut self, to: &mut Vec<u8>) {
        if to.is_empty() && self.polled == 0 {
            std::mem::swap(to, &mut self.output);
        } else {
            to.extend_from_slice(&self.output[self.polled..]);
        }
        self.output.clear();
        self.polled = 0;
    }

    fn running(&self) -> Result<(), SealedError> {
        match &self.state {
            State::Running if !self.sent_close => Ok(()),
            State::Running | State::Closed => Err(SealedError::Internal),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Remembers an error and tells the peer of it, unless it would learn something from that.
    fn settle(&mut self, result: Result<(), SealedError>) -> Result<(), SealedError> {
        let Err(error) = &result else { return Ok(()) };
        if matches!(self.state, State::Failed(_)) {
            // It was told already.
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
            // Without it the connection just ends.
            let _ = self.sealer.seal_into(content::ALERT, &payload, ALERT_PAD, &mut self.output);
        }
        self.input = Vec::new();
        self.taken = 0;
        self.state = State::Failed(error.clone());
        result
    }

    /// Seals a record of ours and counts it; changes keys before the limit of one is reached. A record
    /// that would go beyond a limit is not sealed, and the session ends.
    fn send_record(&mut self, kind: u8, payload: &[u8], pad_to: usize) -> Result<(), SealedError> {
        self.change_key_if_due()?;
        let size = self.sealer.size(payload.len(), pad_to);
        self.account(size)?;
        self.sealer.seal_into(kind, payload, pad_to, &mut self.output)
    }

    fn change_key_if_due(&mut self) -> Result<(), SealedError> {
        let limit = self.limits.blocks(self.sealer.block());
        if self.sealer.blocks() >= limit / 2 && self.may_change_key() {
            self.update_key()?;
        }
        Ok(())
    }

    /// Counts bytes and blocks that are about to be sealed; ends the session if they go beyond a
    /// limit.
    fn account(&mut self, (bytes, blocks): (usize, u64)) -> Result<(), SealedError> {
        // The alert that says so must fit, too.
        let (_, last_words) = self.sealer.size(0, ALERT_PAD);
        let limit = self.limits.blocks(self.sealer.block());
        let counted = match self.sealer.blocks() + blocks + last_words > limit {
            true => Err(SealedError::Limit("the data under one key")),
            false => self.count(bytes),
        };
        self.settle(counted)
    }

    fn count(&mut self, bytes: usize) -> Result<(), SealedError> {
        self.bytes += bytes as u64;
        self.bytes_since_exchange += bytes as u64;
        if self.sealer.block() <= 8 && self.bytes > self.limits.bytes_of_small_blocks {
            return Err(SealedError::Limit("the data of a suite with 64-bit blocks"));
        }
        Ok(())
    }
}
