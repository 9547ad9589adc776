//! The state of all channels of a session.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::event::ChannelEvent;
use super::frame::{CloseCode, Frame, MAX_DATA, OpenStatus, Question, StreamKind};
use super::outgoing::{End, Outgoing, Turns};
use super::window::{SessionBudget, Window, WindowBudget};
use crate::role::Role;
use crate::sealed::session::{append, wiped};

/// The most bytes that one channel queues: a batch of full records.
pub(super) const MAX_QUEUE: usize = 16 * MAX_DATA;
/// Above this many queued bytes in all channels, only a channel with an empty queue gets room.
pub(super) const MAX_QUEUED: usize = 4 * 1024 * 1024;
/// The most questions of one side without an answer.
pub(super) const MAX_QUESTIONS: usize = 64;

/// From this many received pieces on, a piece need not be the last one to get more bytes.
const MANY_PIECES: usize = 64;

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
    pub(super) last_own: u32,
    pub(super) last_peer: u32,
    /// Our channels, and those of the peer, without an answer.
    pub(super) opening: usize,
    pub(super) requested: usize,
    /// Channels that the peer has closed before the user has answered them. They count as requested
    /// until the user does: it may still work on them.
    pub(super) abandoned: HashSet<u32>,
    /// Our requests that wait.
    pub(super) unsent: VecDeque<(u32, Frame<'static>)>,
    /// Frames that go before all data.
    pub(super) control: VecDeque<Frame<'static>>,
    pub(super) turns: Turns,
    /// The bytes in the queues of all channels.
    pub(super) queued: usize,
    /// Channels that found no room because of [`MAX_QUEUED`].
    pub(super) starved: Vec<u32>,
    pub(super) events: VecDeque<ChannelEvent>,
    pub(super) round_trip: Option<Duration>,
    /// How often everything that had arrived was read.
    pub(super) drained: u64,
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) last_question: u32,
    pub(super) last_asked: u32,
    /// Our questions, and those of the peer, without an answer.
    pub(super) questions: HashMap<u32, Question>,
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
    /// The request waits until fewer channels are without an answer.
    Queued,
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
    /// We have opened a channel for a command, so the peer may send notes.
    pub(super) has_notes: bool,
    /// Bytes from the peer that the user has not received.
    pub(super) received: VecDeque<(StreamKind, Zeroizing<Vec<u8>>)>,
    /// The peer has ended its direction.
    pub(super) peer_has_ended: bool,
    /// The peer has told how its command ended.
    pub(super) has_exit: bool,
    /// The user has handed over everything that it received.
    pub(super) is_delivered: bool,
    /// The peer has sent ChanClose with code 0.
    pub(super) peer_has_closed: bool,
}

impl Live {
    pub(super) fn new(phase: Phase, credit: u32, window: Window) -> Self {
        Self {
            phase,
            has_notes: false,
            out: Outgoing::new(credit),
            window,
            received: VecDeque::new(),
            peer_has_ended: false,
            has_exit: false,
            is_delivered: false,
            peer_has_closed: false,
        }
    }

    /// Keeps bytes of the peer for the user. While the user does not take them, many short pieces need
    /// no more memory than long ones.
    pub(super) fn keep(&mut self, stream: StreamKind, data: Zeroizing<Vec<u8>>) {
        // Behind many pieces the two streams keep only their own orders: in turns they would need
        // a piece for each byte.
        let looked_at = if self.received.len() < MANY_PIECES { 1 } else { 2 };
        let mut last = self.received.iter_mut().rev().take(looked_at);
        match last.find(|(other, _)| *other == stream) {
            Some((_, bytes)) if bytes.len() + data.len() <= MAX_DATA.max(bytes.capacity()) => {
                append(bytes, &data, 2 * bytes.len());
                drop(wiped(data));
            }
            _ => self.received.push_back((stream, data)),
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
            abandoned: HashSet::new(),
            unsent: VecDeque::new(),
            control: VecDeque::new(),
            turns: Turns::default(),
            queued: 0,
            starved: Vec::new(),
            events: VecDeque::new(),
            round_trip: None,
            drained: 0,
            spare: Vec::new(),
            last_question: 0,
            last_asked: 0,
            questions: HashMap::new(),
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

    /// Sets how long a round trip takes now. Windows grow only if it is known.
    pub fn set_round_trip(&mut self, time: Duration) {
        self.round_trip = Some(time);
    }

    /// Notes that everything that had arrived was read. Windows grow only then: with more on the way, a
    /// larger window would only make it wait longer.
    pub fn note_drained(&mut self) {
        self.drained += 1;
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    pub(super) fn push_refusal(&mut self, id: u32, status: OpenStatus, text: Cow<'static, str>) {
        self.control.push_back(Frame::Reply { id, refusal: Some(status), credit: 0, text });
    }

    pub(super) fn live(&mut self, id: u32) -> Result<&mut Live, ChannelError> {
        match self.channels.get_mut(&id) {
            Some(Channel::Live(live)) => Ok(live),
            _ => Err(ChannelError::Closed),
        }
    }

    /// Gives a channel its turn, if it has something to send. Without a time the channel counts as one
    /// that has sent little, until it is its turn.
    pub(super) fn take_turn(&mut self, id: u32, now: Option<Instant>) {
        let Some(Channel::Live(live)) = self.channels.get_mut(&id) else { return };
        // The acceptor sends nothing before its answer.
        let may_send = !matches!(live.phase, Phase::Queued | Phase::Requested);
        if !live.out.has_turn && may_send && live.out.can_send() {
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
        if out.wants_room && live.phase != Phase::Requested && out.credit > 0 && is_enough {
            out.wants_room = false;
            self.events.push_back(ChannelEvent::Writable { id });
        }
        if !is_full && !self.starved.is_empty() {
            for id in std::mem::take(&mut self.starved) {
                if let Ok(live) = self.live(id) {
                    live.out.is_starved = false;
                    self.offer_room(id);
                }
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
        if live.out.is_starved {
            self.starved.retain(|starved| *starved != id);
        }
        live.window.release(&mut self.budget);
    }
}
