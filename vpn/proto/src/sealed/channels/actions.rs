//! What the user does with channels.

use std::borrow::Cow;
use std::time::Instant;

use zeroize::Zeroizing;

use super::event::ChannelEvent;
use super::frame::{
    Answer, ChannelExit, CloseCode, Frame, MAX_DATA, OpenStatus, Question, StreamKind,
};
use super::outgoing::End;
use super::state::{
    Channel, ChannelError, Channels, Live, MAX_QUESTIONS, MAX_QUEUE, MAX_QUEUED, Phase,
};
use super::window::{FIRST_WINDOW, Path, Window};
use crate::role::Role;
use crate::sealed::session::{DATA, wiped};

/// The kind of a channel for a command. Only its acceptor sends notes.
const EXEC: &str = "exec";
/// The room of such a channel in bytes.
const LITTLE: usize = 4 * 1024;
/// The number of empty buffers that are kept.
const SPARES: usize = 4;

impl Channels {
    /// Opens a channel. Its first bytes may be sent before the answer. While as many channels as may
    /// be have no answer, it waits for its turn.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if there are too many channels, or no more identifiers.
    pub fn open(&mut self, kind: &str, argument: &[u8]) -> Result<u32, ChannelError> {
        if self.channels.len() >= self.limits.channels {
            return Err(ChannelError::TooMany);
        }
        let id = match (self.last_own, self.role) {
            (0, Role::Client) => 1,
            (0, Role::Server) => 2,
            (last, _) => last.checked_add(2).ok_or(ChannelError::Exhausted)?,
        };
        let window = Window::new(&mut self.budget).ok_or(ChannelError::TooMany)?;
        self.last_own = id;
        let mut live = Live::new(Phase::Queued, FIRST_WINDOW, window);
        live.has_notes = kind == EXEC;
        self.channels.insert(id, Channel::Live(Box::new(live)));
        let open = Frame::Open {
            id,
            credit: FIRST_WINDOW,
            kind: Cow::Owned(kind.to_owned()),
            argument: Cow::Owned(argument.to_vec()),
        };
        self.unsent.push_back((id, open));
        self.send_opens();
        Ok(id)
    }

    /// Sends requests for channels, as many as may be without an answer.
    pub(super) fn send_opens(&mut self) {
        while self.opening < self.limits.unanswered
            && let Some((id, open)) = self.unsent.pop_front()
        {
            // A request that is reset meanwhile leaves the queue. Its identifier is never used.
            let Ok(live) = self.live(id) else { continue };
            live.phase = Phase::Opening;
            self.opening += 1;
            self.control.push_back(open);
            self.take_turn(id, None);
        }
    }

    /// Whether a channel was opened, by either side.
    pub fn was_used(&self) -> bool {
        self.last_own > 0 || self.last_peer > 0
    }

    /// Accepts a channel that the peer has requested.
    ///
    /// A request that the peer has closed meanwhile needs an answer, too: with this method,
    /// [`Channels::refuse`] or [`Channels::reset`]. Before it, the request counts as one without an
    /// answer, because the user may still work on it.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Closed`] if the peer has closed it, or if it was answered.
    pub fn accept(&mut self, id: u32) -> Result<(), ChannelError> {
        self.give_up(id);
        let live = self.live(id)?;
        if live.phase != Phase::Requested {
            return Err(ChannelError::Closed);
        }
        live.phase = Phase::Open;
        let is_readable = live.peer_has_ended || !live.received.is_empty();
        self.requested -= 1;
        let text = Cow::Borrowed("");
        self.control.push_back(Frame::Reply { id, refusal: None, credit: 0, text });
        self.take_turn(id, None);
        // The user may wait for both since the request.
        self.offer_room(id);
        if is_readable {
            self.events.push_back(ChannelEvent::Readable { id });
        }
        Ok(())
    }

    /// The user does not work on this request any more, if the peer has closed it.
    fn give_up(&mut self, id: u32) {
        if self.abandoned.remove(&id) {
            self.requested -= 1;
        }
    }

    /// Refuses a channel that the peer has requested. The text is for the peer's user.
    pub fn refuse(&mut self, id: u32, status: OpenStatus, text: &str) {
        self.give_up(id);
        if matches!(self.live(id), Ok(live) if live.phase == Phase::Requested) {
            self.requested -= 1;
            self.push_refusal(id, status, Cow::Owned(text.to_owned()));
            self.discard(id, Some(Channel::Closing { is_unanswered: false }));
        }
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
        if out.wants_room && is_full && !std::mem::replace(&mut out.is_starved, true) {
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

    /// The bytes in a buffer that is not much larger. Many channels may keep received bytes at once.
    pub(super) fn fitting(&mut self, data: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        if data.capacity() <= LITTLE.max(4 * data.len()) {
            return data;
        }
        let fitting = Zeroizing::new(data.to_vec());
        self.recycle(data);
        fitting
    }

    /// An empty buffer with room for a whole batch that arrives, if one is left over.
    pub fn take_large_buffer(&mut self) -> Option<Vec<u8>> {
        let at = self.spare.iter().position(|buffer| buffer.capacity() >= DATA)?;
        Some(self.spare.swap_remove(at))
    }

    /// Frees the memory of empty buffers.
    pub fn shrink(&mut self) {
        self.spare = Vec::new();
        self.control.shrink_to_fit();
        self.events.shrink_to_fit();
    }

    /// Queues bytes, at most [`Channels::room`]. Standard error is only for a channel of the kind
    /// `exec` that the peer has opened, and so is [`Channels::send_exit`].
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

    /// Tells the peer how the command has ended, after the data. A second exit has no effect.
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

    /// Receives bytes from the peer. Call [`Channels::consume`] when they are handed over. Bytes of a
    /// channel that the peer has requested wait for [`Channels::accept`].
    pub fn receive(&mut self, id: u32) -> Option<(StreamKind, Zeroizing<Vec<u8>>)> {
        let live = self.live(id).ok()?;
        // The acceptor sends nothing before its answer, so no credit either.
        if live.phase == Phase::Requested { None } else { live.received.pop_front() }
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
        let path = Path { round_trip: self.round_trip, drained: self.drained };
        let Some(Channel::Live(live)) = self.channels.get_mut(&id) else { return };
        if let Some(more) = live.window.take(bytes, path, now, &mut self.budget)
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

    /// Whether the channel ends normally without its user: both have ended their directions, and
    /// everything from the peer is handed over.
    pub fn ends_by_itself(&self, id: u32) -> bool {
        match self.channels.get(&id) {
            Some(Channel::Live(live)) => live.is_delivered && live.out.end != End::Open,
            _ => false,
        }
    }

    /// Ends a channel at once. Bytes may be lost.
    pub fn reset(&mut self, id: u32, code: CloseCode, text: &str) {
        self.give_up(id);
        let Ok(live) = self.live(id) else { return };
        let (phase, peer_has_closed) = (live.phase, live.peer_has_closed);
        if phase == Phase::Requested {
            return self.refuse(id, OpenStatus::Unreachable, text);
        }
        if phase == Phase::Queued {
            self.unsent.retain(|(unsent, _)| *unsent != id);
            return self.discard(id, None);
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
        self.questions.insert(number, question.clone());
        self.control.push_back(Frame::Ask { number, question });
        Ok(number)
    }

    /// Answers a question of the peer. A second answer has no effect.
    pub fn answer(&mut self, number: u32, answer: Answer) {
        if self.asked.remove(&number) {
            self.control.push_back(Frame::Answer { number, answer });
        }
    }
}
