//! What a channel has to send, in order, and whose turn it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::frame::{ChannelExit, MAX_DATA, StreamKind, max_data};
use crate::sealed::session::{append, wiped};

/// A channel that has sent less than this in [`RECENT`] goes first, in bytes.
const SPARSE: usize = 4 * 1024;
const RECENT: Duration = Duration::from_millis(100);

/// Bytes to send. Those before `start` are sent.
#[derive(Debug)]
struct Chunk {
    stream: StreamKind,
    bytes: Zeroizing<Vec<u8>>,
    start: usize,
}

/// The end of this side's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There may be more data.
    Open,
    /// The end comes after the queue.
    Queued,
    Sent,
}

/// The queue of one channel.
#[derive(Debug)]
pub(super) struct Outgoing {
    chunks: VecDeque<Chunk>,
    /// The bytes that are queued.
    pub(super) queued: usize,
    /// The bytes that the peer lets us send, sent ones subtracted.
    pub(super) credit: u32,
    pub(super) end: End,
    /// The exit of a command. It comes after the data.
    exit: Option<ChannelExit>,
    /// There was an exit. A second one is not sent.
    has_exit: bool,
    /// Whether the channel waits for its turn.
    pub(super) has_turn: bool,
    /// Whether the user found no room.
    pub(super) wants_room: bool,
    /// Whether the channel is in the list of those that wait until less is queued in all channels.
    pub(super) is_starved: bool,
    /// The bytes that were sent since `since`.
    recent: usize,
    since: Option<Instant>,
}

/// The next frame of a channel.
pub(super) enum Next<'a> {
    Data(StreamKind, &'a [u8]),
    Exit(ChannelExit),
    Eof,
}

impl Outgoing {
    pub(super) fn new(credit: u32) -> Self {
        Self {
            chunks: VecDeque::new(),
            queued: 0,
            credit,
            end: End::Open,
            exit: None,
            has_exit: false,
            has_turn: false,
            wants_room: false,
            is_starved: false,
            recent: 0,
            since: None,
        }
    }

    /// Queues bytes. Short pieces share a chunk.
    pub(super) fn push(&mut self, stream: StreamKind, bytes: Vec<u8>) {
        self.queued += bytes.len();
        let bytes = Zeroizing::new(bytes);
        match self.chunks.back_mut() {
            Some(last) if last.stream == stream && last.bytes.len() + bytes.len() <= MAX_DATA => {
                append(&mut last.bytes, &bytes, MAX_DATA);
                // Wiped as a slice: the buffer may have a large capacity.
                drop(wiped(bytes));
            }
            _ => self.chunks.push_back(Chunk { stream, bytes, start: 0 }),
        }
    }

    /// Sets the exit of a command. Only the first one counts.
    pub(super) fn set_exit(&mut self, exit: ChannelExit) {
        if !std::mem::replace(&mut self.has_exit, true) {
            self.exit = Some(exit);
        }
    }

    /// Whether there is something that may be sent now.
    pub(super) fn can_send(&self) -> bool {
        match self.chunks.is_empty() {
            false => self.credit > 0,
            true => self.exit.is_some() || self.end == End::Queued,
        }
    }

    /// The next frame, if one may be sent now. Call [`Outgoing::sent`] after it.
    pub(super) fn next(&self) -> Option<Next<'_>> {
        match self.chunks.front() {
            Some(chunk) => {
                let most = max_data(chunk.stream).min(self.credit as usize);
                let rest = &chunk.bytes[chunk.start..];
                let data = &rest[..rest.len().min(most)];
                (!data.is_empty()).then_some(Next::Data(chunk.stream, data))
            }
            None => match (self.exit, self.end) {
                (Some(exit), _) => Some(Next::Exit(exit)),
                (None, End::Queued) => Some(Next::Eof),
                (None, _) => None,
            },
        }
    }

    /// Removes what [`Outgoing::next`] returned: `bytes` of data, or the exit or the end. Returns a
    /// buffer that is used up.
    pub(super) fn sent(&mut self, bytes: usize, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        let Some(chunk) = self.chunks.front_mut() else {
            if self.exit.take().is_none() {
                self.end = End::Sent;
            }
            return None;
        };
        if self.since.is_none_or(|since| now.saturating_duration_since(since) > RECENT) {
            self.since = Some(now);
            self.recent = 0;
        }
        self.recent = self.recent.saturating_add(bytes);
        self.queued -= bytes;
        // `next` returned no more than the credit.
        self.credit = self.credit.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        chunk.start += bytes;
        let is_used_up = chunk.start == chunk.bytes.len();
        is_used_up.then(|| self.chunks.pop_front().map(|chunk| chunk.bytes)).flatten()
    }

    /// Whether the channel has sent little, so that it goes first.
    pub(super) fn is_sparse(&self, now: Instant) -> bool {
        self.recent < SPARSE
            || self.since.is_none_or(|since| now.saturating_duration_since(since) > RECENT)
    }
}

/// The channels that have something to send, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Channels that have sent little.
    first: VecDeque<u32>,
    others: VecDeque<u32>,
}

impl Turns {
    pub(super) fn push(&mut self, id: u32, is_sparse: bool) {
        if is_sparse { &mut self.first } else { &mut self.others }.push_back(id);
    }

    /// The next channel, and whether it counts as one that has sent little.
    pub(super) fn pop(&mut self) -> Option<(u32, bool)> {
        let first = self.first.pop_front().map(|id| (id, true));
        first.or_else(|| self.others.pop_front().map(|id| (id, false)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.others.is_empty()
    }
}
