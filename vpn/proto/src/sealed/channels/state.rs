//! The state of all channels of a session, and what the user does with them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::event::ChannelEvent;
use super::frame::{
    Answer, ChannelExit, CloseCode, Frame, MAX_DATA, OpenStatus, Question, StreamKind,
};
use super::outgoing::{End, Outgoing, Turns};
use super::window::{FIRST_WINDOW, SessionBudget, Window, WindowBudget};
use crate::role::Role;
use crate::sealed::session::wiped;

/// The most bytes that one channel queues: a batch of full records.
const MAX_QUEUE: usize = 16 * MAX_DATA;
/// Above this many queued bytes in all channels, only a channel with an empty queue gets room.
const MAX_QUEUED: usize = 4 * 1024 * 1024;
/// The room of such a channel in bytes.
const LITTLE: usize = 4 * 1024;
/// The most questions of one side without an answer.
pub(super) const MAX_QUESTIONS: usize = 64;
/// The number of empty buffers that are kept.
const SPARES: usize = 2;

/// The limits of the channels of a session.
#[derive(Clone, Debug)]
pub struct ChannelLimits {
    /// The most channels at once.
    pub channels: usize,
    /// The most channels that wait for an answer.
    pub unanswered: usize,
    /// No window grows above its first size if the windows of the session would exceed this many bytes.
    pub window_bytes: usize,
    /// The memory that the windows of all sessions share.
    pub budget: Option<Arc<WindowBudget>>,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self { channels: 1024, unanswered: 128, window_bytes: 32 * 1024 * 1024, budget: None }
    }
}

/// Why a method of [`Channels`] cannot do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The channel is over, or there is no such channel.
    #[error("the channel is over")]
    Closed,
    /// There are as many channels or questions as there may be, or no memory for another window.
    #[error("there are too many channels")]
    TooMany,
    /// All numbers are used up.
    #[error("the session has no more numbers for channels")]
    Exhausted,
}

/// The channels of a session. Frames go in and out; a caller moves them.
pub struct Channels {
    pub(super) role: Role,
    pub(super) limits: ChannelLimits,
    pub(super) budget: SessionBudget,
    pub(super) channels: HashMap<u32, Channel>,
    /// The last identifiers; 0 before the first one.
    last_own: u32,
    pub(super) last_peer: u32,
    /// Our channels, and those of the peer, without an answer.
    pub(super) opening: usize,
    pub(super) requested: usize,
    /// Frames that go before all data.
    pub(super) control: VecDeque<Frame<'static>>,
    pub(super) turns: Turns,
    /// The bytes in the queues of all channels.
    pub(super) queued: usize,
    /// Channels that found no room because of [`MAX_QUEUED`].
    starved: Vec<u32>,
    pub(super) events: VecDeque<ChannelEvent>,
    pub(super) round_trip: Option<Duration>,
    pub(super) spare: Vec<Vec<u8>>,
    last_question: u32,
    pub(super) last_asked: u32,
    /// Our questions, and those of the peer, without an answer.
    pub(super) questions: HashSet<u32>,
    pub(super) asked: HashSet<u32>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").field("channels", &self.channels.len()).finish_non_exhaustive()
    }
}

/// One channel.
#[derive(Debug)]
pub(super) enum Channel {
    Live(Box<Live>),
    /// We have sent ChanClose or a refusal, and wait for the peer's.
    Closing {
        /// We have opened it, and there was no answer yet.
        is_unanswered: bool,
    },
}

/// How far the opening of a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// We have opened it and wait for the answer.
    Opening,
    /// The peer has opened it and waits for our answer.
    Requested,
    Open,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) phase: Phase,
    pub(super) out: Outgoing,
    pub(super) window: Window,
    /// Bytes from the peer that the user has not received.
    pub(super) received: VecDeque<(StreamKind, Zeroizing<Vec<u8>>)>,
    /// The peer has ended its direction.
    pub(super) peer_has_ended: bool,
    /// The peer has told how its command ended.
    pub(super) has_exit: bool,
    /// The user has handed over everything that it received.
    is_delivered: bool,
    /// The peer has sent ChanClose with code 0.
    pub(super) peer_has_closed: bool,
}

impl Live {
    pub(super) fn new(phase: Phase, credit: u32, window: Window) -> Self {
        Self {
            phase,
            out: Outgoing::new(credit),
            window,
            received: VecDeque::new(),
            peer_has_ended: false,
            has_exit: false,
            is_delivered: false,
            peer_has_closed: false,
        }
    }
}

impl Channels {
    /// The channels of a new session.
    pub fn new(role: Role, limits: ChannelLimits) -> Self {
        let budget =
            SessionBudget { growth: limits.window_bytes, used: 0, program: limits.budget.clone() };
        Self {
            role,
            limits,
            budget,
            channels: HashMap::new(),
            last_own: 0,
            last_peer: 0,
            opening: 0,
            requested: 0,
            control: VecDeque::new(),
            turns: Turns::default(),
            queued: 0,
            starved: Vec::new(),
            events: VecDeque::new(),
            round_trip: None,
            spare: Vec::new(),
            last_question: 0,
            last_asked: 0,
            questions: HashSet::new(),
            asked: HashSet::new(),
        }
    }

    /// The number of channels that are not over.
    pub fn count(&self) -> usize {
        self.channels.len()
    }

    /// The bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Sets the shortest time that a round trip has taken. Windows grow only if it is known.
    pub fn set_round_trip(&mut self, time: Duration) {
        self.round_trip = Some(self.round_trip.map_or(time, |known| known.min(time)));
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    /// Opens a channel. Its first bytes may be sent before the answer.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if there are too many channels, or no more identifiers.
    pub fn open(&mut self, kind: &str, argument: &[u8]) -> Result<u32, ChannelError> {
        if self.channels.len() >= self.limits.channels || self.opening >= self.limits.unanswered {
            return Err(ChannelError::TooMany);
        }
        let id = match (self.last_own, self.role) {
            (0, Role::Client) => 1,
            (0, Role::Server) => 2,
            (last, _) => last.checked_add(2).ok_or(ChannelError::Exhausted)?,
        };
        let window = Window::new(&mut self.budget).ok_or(ChannelError::TooMany)?;
        self.last_own = id;
        self.opening += 1;
        let live = Live::new(Phase::Opening, FIRST_WINDOW, window);
        self.channels.insert(id, Channel::Live(Box::new(live)));
        self.control.push_back(Frame::Open {
            id,
            credit: FIRST_WINDOW,
            kind: Cow::Owned(kind.to_owned()),
            argument: Cow::Owned(argument.to_vec()),
        });
        Ok(id)
    }

    /// Accepts a channel that the peer has requested.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Closed`] if the peer has closed it, or if it was answered.
    pub fn accept(&mut self, id: u32) -> Result<(), ChannelError> {
        let live = self.live(id)?;
        if live.phase != Phase::Requested {
            return Err(ChannelError::Closed);
        }
        live.phase = Phase::Open;
        self.requested -= 1;
        let text = Cow::Borrowed("");
        self.control.push_back(Frame::Reply { id, refusal: None, credit: 0, text });
        self.take_turn(id, None);
        Ok(())
    }

    /// Refuses a channel that the peer has requested. The text is for the peer's user.
    pub fn refuse(&mut self, id: u32, status: OpenStatus, text: &str) {
        if matches!(self.live(id), Ok(live) if live.phase == Phase::Requested) {
            self.requested -= 1;
            self.push_refusal(id, status, text);
            self.discard(id, Some(Channel::Closing { is_unanswered: false }));
        }
    }

    pub(super) fn push_refusal(&mut self, id: u32, status: OpenStatus, text: &str) {
        let text = Cow::Owned(text.to_owned());
        self.control.push_back(Frame::Reply { id, refusal: Some(status), credit: 0, text });
    }

    /// The bytes that may be sent now. If it is 0, there is an event when there is room.
    pub fn room(&mut self, id: u32) -> usize {
        let is_full = self.queued >= MAX_QUEUED;
        let Ok(live) = self.live(id) else { return 0 };
        let out = &mut live.out;
        let credit = out.credit as usize;
        let room = match (is_full, out.queued) {
            _ if live.phase == Phase::Requested => 0,
            (true, 0) => credit.min(LITTLE),
            (true, _) => 0,
            (false, queued) => credit.min(MAX_QUEUE).saturating_sub(queued),
        };
        // Full records are better than many short ones.
        let room = if room >= MAX_DATA || out.queued == 0 { room } else { 0 };
        out.wants_room = room == 0;
        if out.wants_room && is_full {
            self.starved.push(id);
        }
        room
    }

    /// An empty buffer for [`Channels::send`], often one with memory.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps the memory of a buffer, if it is large. The bytes are wiped.
    pub fn recycle(&mut self, buffer: Zeroizing<Vec<u8>>) {
        let buffer = wiped(buffer);
        if buffer.capacity() >= MAX_QUEUE && self.spare.len() < SPARES {
            self.spare.push(buffer);
        }
    }

    /// Queues bytes, at most [`Channels::room`].
    ///
    /// # Errors
    ///
    /// [`ChannelError::Closed`] if the channel is over, or after [`Channels::finish`].
    pub fn send(
        &mut self,
        id: u32,
        stream: StreamKind,
        bytes: Vec<u8>,
    ) -> Result<(), ChannelError> {
        let live = self.live(id)?;
        if live.out.end != End::Open {
            return Err(ChannelError::Closed);
        }
        if !bytes.is_empty() {
            let length = bytes.len();
            live.out.push(stream, bytes);
            self.queued += length;
            self.take_turn(id, None);
        }
        Ok(())
    }

    /// Tells the peer how the command has ended, after the data.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Closed`] if the channel is over.
    pub fn send_exit(&mut self, id: u32, exit: ChannelExit) -> Result<(), ChannelError> {
        let live = self.live(id)?;
        if live.out.end != End::Open {
            return Err(ChannelError::Closed);
        }
        live.out.set_exit(exit);
        self.take_turn(id, None);
        Ok(())
    }

    /// Ends this side's direction, after what is queued.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Closed`] if the channel is over.
    pub fn finish(&mut self, id: u32) -> Result<(), ChannelError> {
        let live = self.live(id)?;
        if live.out.end == End::Open {
            live.out.end = End::Queued;
            self.take_turn(id, None);
        }
        Ok(())
    }

    /// Receives bytes from the peer. Call [`Channels::consume`] when they are handed over.
    pub fn receive(&mut self, id: u32) -> Option<(StreamKind, Zeroizing<Vec<u8>>)> {
        self.live(id).ok()?.received.pop_front()
    }

    /// Whether the peer has ended its direction and everything was received.
    pub fn is_at_end(&self, id: u32) -> bool {
        match self.channels.get(&id) {
            Some(Channel::Live(live)) => live.peer_has_ended && live.received.is_empty(),
            _ => false,
        }
    }

    /// Counts received bytes as handed over. The peer gets new credit for them.
    pub fn consume(&mut self, id: u32, bytes: usize, now: Instant) {
        let round_trip = self.round_trip;
        let Some(Channel::Live(live)) = self.channels.get_mut(&id) else { return };
        if let Some(more) = live.window.take(bytes, round_trip, now, &mut self.budget)
            && !live.peer_has_ended
        {
            self.control.push_back(Frame::Credit { id, more });
        }
    }

    /// Everything that the peer has sent is handed over. With this the channel can end normally.
    pub fn deliver(&mut self, id: u32) {
        if let Ok(live) = self.live(id) {
            live.is_delivered = true;
        }
        self.close_if_complete(id);
    }

    /// Ends a channel at once. Bytes may be lost.
    pub fn reset(&mut self, id: u32, code: CloseCode, text: &str) {
        let Ok(live) = self.live(id) else { return };
        let (phase, peer_has_closed) = (live.phase, live.peer_has_closed);
        if phase == Phase::Requested {
            return self.refuse(id, OpenStatus::Unreachable, text);
        }
        let text = Cow::Owned(text.to_owned());
        self.control.push_back(Frame::Close { id, code, text });
        let is_unanswered = phase == Phase::Opening;
        let stub = (!peer_has_closed).then_some(Channel::Closing { is_unanswered });
        self.discard(id, stub);
    }

    /// Asks the peer something. Returns the number of the question.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if too many questions have no answer, or no number is left.
    pub fn ask(&mut self, question: Question) -> Result<u32, ChannelError> {
        if self.questions.len() >= MAX_QUESTIONS {
            return Err(ChannelError::TooMany);
        }
        let number = self.last_question.checked_add(1).ok_or(ChannelError::Exhausted)?;
        self.last_question = number;
        self.questions.insert(number);
        self.control.push_back(Frame::Ask { number, question });
        Ok(number)
    }

    /// Answers a question of the peer. A second answer has no effect.
    pub fn answer(&mut self, number: u32, answer: Answer) {
        if self.asked.remove(&number) {
            self.control.push_back(Frame::Answer { number, answer });
        }
    }

    pub(super) fn live(&mut self, id: u32) -> Result<&mut Live, ChannelError> {
        match self.channels.get_mut(&id) {
            Some(Channel::Live(live)) => Ok(live),
            _ => Err(ChannelError::Closed),
        }
    }

    /// Gives a channel its turn, if it has something to send. Without a time the channel counts as one
    /// that has sent little.
    pub(super) fn take_turn(&mut self, id: u32, now: Option<Instant>) {
        let Some(Channel::Live(live)) = self.channels.get_mut(&id) else { return };
        // The acceptor sends nothing before its answer.
        if !live.out.has_turn && live.phase != Phase::Requested && live.out.can_send() {
            live.out.has_turn = true;
            self.turns.push(id, now.is_none_or(|now| live.out.is_sparse(now)));
        }
    }

    /// Tells the user about room, if the user waits for it and there is enough.
    pub(super) fn offer_room(&mut self, id: u32) {
        let is_full = self.queued >= MAX_QUEUED;
        let Ok(live) = self.live(id) else { return };
        let out = &mut live.out;
        let room = (out.credit as usize).min(MAX_QUEUE).saturating_sub(out.queued);
        let is_enough = out.queued == 0 || (!is_full && room >= MAX_DATA);
        if out.wants_room && out.credit > 0 && is_enough {
            out.wants_room = false;
            self.events.push_back(ChannelEvent::Writable { id });
        }
        if !is_full && !self.starved.is_empty() {
            for id in std::mem::take(&mut self.starved) {
                self.offer_room(id);
            }
        }
    }

    /// Sends ChanClose with code 0 if both directions have ended and everything is handed over.
    pub(super) fn close_if_complete(&mut self, id: u32) {
        let Ok(live) = self.live(id) else { return };
        let is_complete = live.is_delivered
            && live.peer_has_ended
            && live.received.is_empty()
            && live.out.end == End::Sent;
        if !is_complete {
            return;
        }
        let is_over = live.peer_has_closed;
        let (code, text) = (CloseCode::Normal, Cow::Borrowed(""));
        self.control.push_back(Frame::Close { id, code, text });
        match is_over {
            true => {
                self.discard(id, None);
                self.events.push_back(ChannelEvent::Closed { id, code, text: String::new() });
            }
            false => self.discard(id, Some(Channel::Closing { is_unanswered: false })),
        }
    }

    /// Frees what a channel has. `stub` stays in its place.
    pub(super) fn discard(&mut self, id: u32, stub: Option<Channel>) {
        let old = match stub {
            Some(stub) => self.channels.insert(id, stub),
            None => self.channels.remove(&id),
        };
        let Some(Channel::Live(live)) = old else { return };
        self.queued -= live.out.queued;
        live.window.release(&mut self.budget);
    }
}
