//! The state of all channels of a session, shared by the task of the session and the tasks of the
//! channels.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::explained::Explanations;
use super::shared::{ChannelEnd, OpenRefused, Shared, Slot, State, Wanted};
use super::stream::ChannelStream;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{Answer, ChannelLimits, Channels, OpenStatus, Question};

/// The channels of one session. Clones are handles of the same session.
#[derive(Clone)]
pub struct Multiplexer(pub(super) Arc<Shared>);

impl fmt::Debug for Multiplexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Multiplexer").field(&self.0.state().core).finish()
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
            is_closing: false,
            probe: None,
            explanations: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), has_output: Notify::new() }))
    }

    /// Tells every frame of the session to somebody.
    #[must_use]
    pub fn explained_to(self, reader: Option<Explanations>) -> Self {
        self.0.state().explanations = reader;
        self
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

    /// Whether a channel was opened, by either side.
    pub fn was_used(&self) -> bool {
        self.0.state().core.was_used()
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
            Some(Wanted::Channel { id, kind, argument }) => {
                let channel = ChannelStream::new(self.0.clone(), id);
                Poll::Ready(Some(Request::Channel { channel, kind, argument }))
            }
            Some(Wanted::Question { number, question }) => {
                Poll::Ready(Some(Request::Question { number, question }))
            }
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

    /// Refuses everything that the peer requests, until the session is over.
    pub async fn refuse_all(&self) {
        while let Some(request) = self.next_request().await {
            match request {
                Request::Channel { channel, .. } => {
                    channel.refuse(OpenStatus::UnknownKind, "this side opens all channels");
                }
                Request::Question { number, question } => self.refuse_question(number, &question),
            }
        }
    }

    /// Answers a question of the peer: this side listens for nobody.
    pub fn refuse_question(&self, number: u32, question: &Question) {
        let status = OpenStatus::NotPermitted;
        self.answer(
            number,
            match question {
                Question::Listen(_) => {
                    let text = "this side does not listen for others".to_owned();
                    Answer::NotListening { status, text }
                }
                Question::Unlisten(_) => Answer::Unlistened(Some(OpenStatus::NoSuchName)),
            },
        );
    }

    /// Whether channels can be opened.
    pub fn is_open(&self) -> bool {
        let state = self.0.state();
        !state.has_ended && !state.is_finishing && !state.is_closing
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

    /// Closes the session now. Channels that are not over are reset.
    pub fn close(&self) {
        self.0.state().is_closing = true;
        self.0.has_output.notify_one();
    }

    /// Ends the session now. The peer may connect again.
    pub fn stop(&self) {
        self.0.state().is_stopping = true;
        self.0.has_output.notify_one();
    }

    /// Ends every channel, as the end of the session does.
    pub(super) fn end(&self) {
        let wakers = {
            let mut state = self.0.state();
            state.has_ended = true;
            state.answers.clear();
            state.requests.clear();
            let mut wakers: Vec<Waker> = state.waiting.take().into_iter().collect();
            for slot in state.slots.values_mut() {
                slot.end.get_or_insert(ChannelEnd::SessionEnded);
                wakers.extend(slot.wakers());
            }
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
