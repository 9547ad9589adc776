//! What the task of a session and the tasks of its channels share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::sync::{Notify, oneshot};

use super::explained::Explanations;
use vpn_proto::Printable;
use vpn_proto::sealed::{
    Answer, ChannelError, ChannelEvent, ChannelExit, Channels, CloseCode, OpenStatus, Question,
};

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Wakes the task of the session: there is something to send.
    pub(super) has_output: Notify,
}

pub(super) struct State {
    pub(super) core: Channels,
    pub(super) slots: HashMap<u32, Slot>,
    /// What the peer has requested or asked, and who waits for it.
    pub(super) requests: VecDeque<Wanted>,
    pub(super) waiting: Option<Waker>,
    pub(super) answers: HashMap<u32, oneshot::Sender<Answer>>,
    /// The session is over.
    pub(super) has_ended: bool,
    /// The session ends when all channels are over.
    pub(super) is_finishing: bool,
    /// The session ends now, and the peer may come again.
    pub(super) is_stopping: bool,
    /// The session ends now.
    pub(super) is_closing: bool,
    /// The peer is to be asked for a sign of life.
    pub(super) probe: Option<Duration>,
    /// Somebody who wants to hear of every frame.
    pub(super) explanations: Option<Explanations>,
}

/// What the task of a channel waits for.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) reading: Option<Waker>,
    pub(super) writing: Option<Waker>,
    /// Waits for the answer, the exit or the end.
    pub(super) waiting: Option<Waker>,
    pub(super) is_accepted: bool,
    pub(super) exit: Option<ChannelExit>,
    pub(super) end: Option<ChannelEnd>,
}

impl Slot {
    pub(super) fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        [self.reading.take(), self.writing.take(), self.waiting.take()].into_iter().flatten()
    }
}

/// What the peer wants.
#[derive(Debug)]
pub(super) enum Wanted {
    Channel { id: u32, kind: String, argument: Vec<u8> },
    Question { number: u32, question: Question },
}

/// The peer does not open a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct OpenRefused {
    /// Why.
    pub status: OpenStatus,
    /// The reason. Control characters are escaped.
    pub text: String,
}

impl From<ChannelError> for OpenRefused {
    fn from(error: ChannelError) -> Self {
        Self { status: OpenStatus::TooMany, text: error.to_string() }
    }
}

/// How a channel has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEnd {
    /// Both directions have ended, and the peer has handed over every byte.
    Normal,
    /// The peer has not opened it.
    Refused(OpenRefused),
    /// The peer has reset it, for this reason.
    Reset(String),
    /// The session is over.
    SessionEnded,
}

impl fmt::Display for ChannelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("the channel is over"),
            Self::Refused(refused) => f.write_str(&refused.text),
            Self::Reset(text) if text.is_empty() => f.write_str("the channel was reset"),
            Self::Reset(text) => f.write_str(text),
            Self::SessionEnded => f.write_str("the session is over"),
        }
    }
}

impl ChannelEnd {
    pub(super) fn error(&self) -> io::Error {
        match self {
            Self::Normal => io::ErrorKind::NotConnected.into(),
            Self::Refused(refused) => {
                io::Error::new(io::ErrorKind::ConnectionRefused, refused.clone())
            }
            Self::Reset(_) | Self::SessionEnded => {
                io::Error::new(io::ErrorKind::ConnectionReset, self.to_string())
            }
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn slot(&mut self, id: u32) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// Forgets a channel whose stream is dropped. It is reset, unless both directions have ended: then the
    /// core sends what is left. If the peer has closed its request before the answer, the core has to
    /// know that nobody works on it.
    pub(super) fn release(&mut self, id: u32) {
        if self.slots.remove(&id).is_some() && !self.core.ends_by_itself(id) {
            self.core.reset(id, CloseCode::Reset, "");
        }
    }

    pub(super) fn set_round_trip(&mut self, time: Option<Duration>) {
        if let Some(time) = time {
            self.core.set_round_trip(time);
        }
    }

    pub(super) fn consume(&mut self, id: u32, bytes: usize) {
        self.core.consume(id, bytes, Instant::now());
    }

    /// Passes the events of the core on. The wakers are to be woken without the lock.
    pub(super) fn pass_events(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(event) = self.core.poll_event() {
            match event {
                ChannelEvent::Requested { id, kind, argument } => {
                    self.slots.insert(id, Slot::default());
                    self.requests.push_back(Wanted::Channel { id, kind, argument });
                    wakers.extend(self.waiting.take());
                }
                ChannelEvent::Asked { number, question } => {
                    self.requests.push_back(Wanted::Question { number, question });
                    wakers.extend(self.waiting.take());
                }
                ChannelEvent::Answered { number, answer } => {
                    if let Some(sender) = self.answers.remove(&number) {
                        // The one who asked may be gone.
                        let _ = sender.send(answer);
                    }
                }
                ChannelEvent::Readable { id } => {
                    wakers.extend(self.slot(id).and_then(|slot| slot.reading.take()));
                }
                ChannelEvent::Writable { id } => {
                    wakers.extend(self.slot(id).and_then(|slot| slot.writing.take()));
                }
                ChannelEvent::Accepted { id } => {
                    let Some(slot) = self.slot(id) else { continue };
                    slot.is_accepted = true;
                    wakers.extend(slot.waiting.take());
                }
                ChannelEvent::Exit { id, exit } => {
                    let Some(slot) = self.slot(id) else { continue };
                    slot.exit = Some(exit);
                    wakers.extend(slot.waiting.take());
                }
                ChannelEvent::Refused { id, status, text } => {
                    let text = Printable(text.as_bytes()).to_string();
                    self.end(id, ChannelEnd::Refused(OpenRefused { status, text }), wakers);
                }
                ChannelEvent::Closed { id, code, text } => {
                    let end = match code {
                        CloseCode::Normal => ChannelEnd::Normal,
                        _ => ChannelEnd::Reset(Printable(text.as_bytes()).to_string()),
                    };
                    self.end(id, end, wakers);
                }
            }
        }
    }

    fn end(&mut self, id: u32, end: ChannelEnd, wakers: &mut Vec<Waker>) {
        if let Some(slot) = self.slot(id) {
            slot.end.get_or_insert(end);
            wakers.extend(slot.wakers());
        }
    }
}
