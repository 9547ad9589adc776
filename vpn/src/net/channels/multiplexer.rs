//! The state of all channels of a session, shared by the task of the session and the tasks of the
//! channels.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::stream::{ChannelEnd, ChannelStream};
use vpn_proto::Printable;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{
    Answer, ChannelError, ChannelEvent, ChannelExit, ChannelLimits, Channels, CloseCode,
    OpenStatus, Question,
};

/// The channels of one session. Clones are handles of the same session.
#[derive(Clone)]
pub struct Multiplexer(pub(super) Arc<Shared>);

impl fmt::Debug for Multiplexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Multiplexer").field(&self.0.state().core).finish()
    }
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the task of the session: there is something to send.
    pub(super) has_output: Notify,
}

pub(super) struct State {
    pub(super) core: Channels,
    slots: HashMap<u32, Slot>,
    /// What the peer has requested or asked, and who waits for it.
    requests: VecDeque<Request>,
    waiting: Option<Waker>,
    answers: HashMap<u32, oneshot::Sender<Answer>>,
    /// The session is over.
    pub(super) has_ended: bool,
    /// The session ends when all channels are over.
    pub(super) is_finishing: bool,
    /// The session ends now.
    pub(super) is_stopping: bool,
    /// The peer is to be asked for a sign of life.
    pub(super) probe: Option<Duration>,
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
    fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        [self.reading.take(), self.writing.take(), self.waiting.take()].into_iter().flatten()
    }
}

/// Something that the peer wants.
#[derive(Debug)]
pub enum Request {
    /// A channel.
    Channel {
        /// The channel. Accept or refuse it.
        channel: ChannelStream,
        /// What it is for.
        kind: String,
        /// The argument.
        argument: Vec<u8>,
    },
    /// The answer to a question.
    Question {
        /// The number of the question, for [`Multiplexer::answer`].
        number: u32,
        /// The question.
        question: Question,
    },
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

impl Multiplexer {
    /// The channels of a session with this role and these limits.
    pub fn new(role: Role, limits: ChannelLimits) -> Self {
        let state = State {
            core: Channels::new(role, limits),
            slots: HashMap::new(),
            requests: VecDeque::new(),
            waiting: None,
            answers: HashMap::new(),
            has_ended: false,
            is_finishing: false,
            is_stopping: false,
            probe: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), has_output: Notify::new() }))
    }

    /// Opens a channel. It takes bytes at once; [`ChannelStream::opened`] waits for the answer.
    ///
    /// # Errors
    ///
    /// [`OpenRefused`] if the session is over or has too many channels.
    pub fn open(&self, kind: &str, argument: &[u8]) -> Result<ChannelStream, OpenRefused> {
        let id = {
            let mut state = self.0.state();
            if state.has_ended || state.is_finishing {
                let text = "the session is over".to_owned();
                return Err(OpenRefused { status: OpenStatus::Unreachable, text });
            }
            let id = state.core.open(kind, argument)?;
            state.slots.insert(id, Slot::default());
            id
        };
        self.0.has_output.notify_one();
        Ok(ChannelStream::new(self.0.clone(), id))
    }

    /// The bytes of all channels that wait to be sent.
    pub fn queued(&self) -> usize {
        self.0.state().core.queued()
    }

    /// The number of channels that are not over.
    pub fn count(&self) -> usize {
        self.0.state().core.count()
    }

    /// Waits for the next request of the peer. `None` when the session is over. Only one task may wait.
    pub async fn next_request(&self) -> Option<Request> {
        std::future::poll_fn(|context| self.poll_request(context)).await
    }

    fn poll_request(&self, context: &mut Context<'_>) -> Poll<Option<Request>> {
        let mut state = self.0.state();
        match state.requests.pop_front() {
            Some(request) => Poll::Ready(Some(request)),
            None if state.has_ended => Poll::Ready(None),
            None => {
                state.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Asks the peer something, and waits for the answer. `numbered` gets the number of the question
    /// before it is sent.
    ///
    /// # Errors
    ///
    /// [`OpenRefused`] if there are too many questions, or if the session ends without an answer.
    pub async fn ask_with(
        &self,
        question: Question,
        numbered: impl FnOnce(u32),
    ) -> Result<Answer, OpenRefused> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.0.state();
            let number = state.core.ask(question)?;
            state.answers.insert(number, sender);
            numbered(number);
        }
        self.0.has_output.notify_one();
        let gone = |_| OpenRefused {
            status: OpenStatus::Unreachable,
            text: "the session is over".to_owned(),
        };
        answer.await.map_err(gone)
    }

    /// Asks the peer for a sign of life. The session ends if nothing comes from it in this time.
    pub fn probe(&self, within: Duration) {
        self.0.state().probe = Some(within);
        self.0.has_output.notify_one();
    }

    /// Answers a question of the peer.
    pub fn answer(&self, number: u32, answer: Answer) {
        self.0.state().core.answer(number, answer);
        self.0.has_output.notify_one();
    }

    /// Opens no more channels, and ends the session when all channels are over.
    pub fn finish(&self) {
        self.0.state().is_finishing = true;
        self.0.has_output.notify_one();
    }

    /// Ends the session now. The peer may connect again.
    pub fn stop(&self) {
        self.0.state().is_stopping = true;
        self.0.has_output.notify_one();
    }

    /// Ends every channel, as the end of the session does.
    pub(super) fn end(&self) {
        let (wakers, requests) = {
            let mut state = self.0.state();
            state.has_ended = true;
            state.answers.clear();
            let requests = std::mem::take(&mut state.requests);
            let mut wakers: Vec<Waker> = state.waiting.take().into_iter().collect();
            for slot in state.slots.values_mut() {
                slot.end.get_or_insert(ChannelEnd::SessionEnded);
                wakers.extend(slot.wakers());
            }
            (wakers, requests)
        };
        // Their channels take the lock when they are dropped.
        drop(requests);
        wakers.into_iter().for_each(Waker::wake);
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

    /// Forgets a channel whose stream is dropped. It is reset if it is not over.
    pub(super) fn release(&mut self, id: u32) {
        if let Some(slot) = self.slots.remove(&id)
            && slot.end.is_none()
        {
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
    pub(super) fn pass_events(&mut self, shared: &Arc<Shared>, wakers: &mut Vec<Waker>) {
        while let Some(event) = self.core.poll_event() {
            match event {
                ChannelEvent::Requested { id, kind, argument } => {
                    self.slots.insert(id, Slot::default());
                    let channel = ChannelStream::new(shared.clone(), id);
                    self.requests.push_back(Request::Channel { channel, kind, argument });
                    wakers.extend(self.waiting.take());
                }
                ChannelEvent::Asked { number, question } => {
                    self.requests.push_back(Request::Question { number, question });
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
