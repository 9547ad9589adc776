//! Handles the frames of the peer. Whatever §4.10 calls fatal is an error here.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::event::ChannelEvent;
use super::frame::{ChannelExit, CloseCode, Frame, OpenStatus, Question, StreamKind};
use super::outgoing::End;
use super::state::{Channel, Channels, Live, MAX_QUESTIONS, Phase};
use super::window::Window;
use crate::role::Role;
use crate::sealed::error::SealedError;

/// The most credit that one side may have.
const MAX_CREDIT: u32 = i32::MAX.unsigned_abs();
/// The most frames without data that wait to be sent, for each channel that there may be. An honest
/// peer causes an answer, some credit and an end.
const CONTROL_PER_CHANNEL: usize = 16;
/// Notes come from the acceptor of an `exec` channel only.
const NO_NOTES: SealedError = SealedError::Malformed("a note of a channel without notes");

impl Channels {
    /// Handles a frame of the peer.
    ///
    /// # Errors
    ///
    /// [`SealedError::Malformed`] or [`SealedError::Limit`] if the peer broke a rule. The session has
    /// to end.
    pub fn handle(&mut self, frame: Frame<'_>) -> Result<(), SealedError> {
        self.check_control()?;
        match frame {
            Frame::Open { id, credit, kind, argument } => {
                self.handle_open(id, credit, &kind, argument)
            }
            Frame::Reply { id, refusal, credit, text } => {
                self.handle_reply(id, refusal, credit, &text)
            }
            Frame::Data { id, stream, data } => {
                self.handle_data(id, stream, Zeroizing::new(data.into_owned()))
            }
            Frame::Credit { id, more } => self.handle_credit(id, more),
            Frame::Eof { id } => self.handle_eof(id),
            Frame::Close { id, code, text } => self.handle_close(id, code, &text),
            Frame::Exit { id, exit } => self.handle_exit(id, exit),
            Frame::Ask { number, question } => self.handle_ask(number, question),
            Frame::Answer { number, answer } => {
                match self.questions.remove(&number) {
                    Some(question) if question.fits(&answer) => {}
                    _ => return Err(SealedError::Malformed("an answer to no question")),
                }
                self.events.push_back(ChannelEvent::Answered { number, answer });
                Ok(())
            }
        }
    }

    /// Handles data of the peer: any number of bytes of one stream, from one frame or more.
    ///
    /// # Errors
    ///
    /// As [`Channels::handle`].
    pub fn handle_data(
        &mut self,
        id: u32,
        stream: StreamKind,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<(), SealedError> {
        self.check_control()?;
        let Some(live) = self.sender(id)? else { return Ok(()) };
        if stream == StreamKind::StandardError && !live.has_notes {
            return Err(NO_NOTES);
        }
        if live.peer_has_ended {
            return Err(SealedError::Malformed("data behind its end"));
        }
        if !live.window.receive(data.len()) {
            return Err(SealedError::Malformed("more data than credit"));
        }
        let data = self.fitting(data);
        if let Ok(live) = self.live(id) {
            live.keep(stream, data);
        }
        self.events.push_back(ChannelEvent::Readable { id });
        Ok(())
    }

    fn handle_open(
        &mut self,
        id: u32,
        credit: u32,
        kind: &str,
        argument: Cow<'_, [u8]>,
    ) -> Result<(), SealedError> {
        let is_theirs = match self.role {
            Role::Client => id.is_multiple_of(2),
            Role::Server => !id.is_multiple_of(2),
        };
        if !is_theirs || id <= self.last_peer {
            return Err(SealedError::Malformed("identifier of a new channel"));
        }
        if credit > MAX_CREDIT {
            return Err(SealedError::Malformed("too much credit"));
        }
        self.last_peer = id;
        // An honest peer cannot know our limit, but it waits for answers.
        let most = self.limits.channels + self.limits.channels.max(self.limits.unanswered);
        if self.channels.len() >= most {
            return Err(SealedError::Limit("the number of channels"));
        }
        let has_room =
            self.channels.len() < self.limits.channels && self.requested < self.limits.unanswered;
        let window = has_room.then(|| Window::new(&mut self.budget)).flatten();
        let Some(window) = window else {
            let text = Cow::Borrowed("there are too many channels");
            self.push_refusal(id, OpenStatus::TooMany, text);
            self.channels.insert(id, Channel::Closing { is_unanswered: false });
            return Ok(());
        };
        self.requested += 1;
        let live = Live::new(Phase::Requested, credit, window);
        self.channels.insert(id, Channel::Live(Box::new(live)));
        let (kind, argument) = (kind.to_owned(), argument.into_owned());
        self.events.push_back(ChannelEvent::Requested { id, kind, argument });
        Ok(())
    }

    fn handle_reply(
        &mut self,
        id: u32,
        refusal: Option<OpenStatus>,
        credit: u32,
        text: &str,
    ) -> Result<(), SealedError> {
        let is_live = match self.known(id)? {
            Channel::Closing { is_unanswered } if *is_unanswered => {
                *is_unanswered = false;
                false
            }
            Channel::Live(live) if live.phase == Phase::Opening => {
                live.phase = Phase::Open;
                true
            }
            _ => return Err(SealedError::Malformed("an answer to no request")),
        };
        self.opening -= 1;
        let handled = match (is_live, refusal) {
            (true, None) => {
                self.events.push_back(ChannelEvent::Accepted { id });
                if credit > 0 { self.handle_credit(id, credit) } else { Ok(()) }
            }
            (true, Some(status)) => {
                let (code, none) = (CloseCode::Reset, Cow::Borrowed(""));
                self.control.push_back(Frame::Close { id, code, text: none });
                self.discard(id, None);
                self.events.push_back(ChannelEvent::Refused { id, status, text: text.to_owned() });
                Ok(())
            }
            // We have sent ChanClose before. A refusal answers it.
            (false, Some(_)) => {
                self.channels.remove(&id);
                Ok(())
            }
            (false, None) => Ok(()),
        };
        // Behind our ChanClose, which makes room.
        self.send_opens();
        handled
    }

    fn handle_credit(&mut self, id: u32, more: u32) -> Result<(), SealedError> {
        let Some(live) = self.sender(id)? else { return Ok(()) };
        let sum = live.out.credit.checked_add(more).filter(|sum| *sum <= MAX_CREDIT);
        live.out.credit = sum.ok_or(SealedError::Malformed("too much credit"))?;
        self.take_turn(id, None);
        self.offer_room(id);
        Ok(())
    }

    fn handle_eof(&mut self, id: u32) -> Result<(), SealedError> {
        let Some(live) = self.sender(id)? else { return Ok(()) };
        if std::mem::replace(&mut live.peer_has_ended, true) {
            return Err(SealedError::Malformed("a second end of a channel"));
        }
        self.events.push_back(ChannelEvent::Readable { id });
        Ok(())
    }

    fn handle_exit(&mut self, id: u32, exit: ChannelExit) -> Result<(), SealedError> {
        let Some(live) = self.sender(id)? else { return Ok(()) };
        if !live.has_notes {
            return Err(NO_NOTES);
        }
        if live.peer_has_ended {
            return Err(SealedError::Malformed("the end of a command behind that of its channel"));
        }
        if std::mem::replace(&mut live.has_exit, true) {
            return Err(SealedError::Malformed("a second end of a command"));
        }
        self.events.push_back(ChannelEvent::Exit { id, exit });
        Ok(())
    }

    fn handle_close(&mut self, id: u32, code: CloseCode, text: &str) -> Result<(), SealedError> {
        let too_early = SealedError::Malformed("a channel closed before its end");
        let text = text.to_owned();
        match self.known(id)? {
            Channel::Closing { is_unanswered } => {
                // A peer that knows of our ChanClose need not answer the request.
                if std::mem::take(is_unanswered) {
                    self.opening -= 1;
                }
                self.channels.remove(&id);
                self.send_opens();
                self.events.push_back(ChannelEvent::Closed { id, code, text });
                return Ok(());
            }
            Channel::Live(live) => {
                if matches!(live.phase, Phase::Queued | Phase::Opening) || live.peer_has_closed {
                    return Err(too_early);
                }
                if code == CloseCode::Normal {
                    if !live.peer_has_ended || live.out.end != End::Sent {
                        return Err(too_early);
                    }
                    live.peer_has_closed = true;
                    return Ok(());
                }
                if live.phase == Phase::Requested {
                    self.abandoned.insert(id);
                }
            }
        }
        let (answer, none) = (CloseCode::Reset, Cow::Borrowed(""));
        self.control.push_back(Frame::Close { id, code: answer, text: none });
        self.discard(id, None);
        self.events.push_back(ChannelEvent::Closed { id, code, text });
        Ok(())
    }

    fn handle_ask(&mut self, number: u32, question: Question) -> Result<(), SealedError> {
        if self.role == Role::Client || number <= self.last_asked {
            return Err(SealedError::Malformed("a question"));
        }
        if self.asked.len() >= MAX_QUESTIONS {
            return Err(SealedError::Limit("the number of questions"));
        }
        self.last_asked = number;
        self.asked.insert(number);
        self.events.push_back(ChannelEvent::Asked { number, question });
        Ok(())
    }

    /// Every frame may have an answer. A peer that reads gets them in time.
    fn check_control(&self) -> Result<(), SealedError> {
        match self.control.len() < CONTROL_PER_CHANNEL * self.limits.channels.max(1024) {
            true => Ok(()),
            false => Err(SealedError::Limit("the number of answers to send")),
        }
    }

    /// A channel that is not over.
    fn known(&mut self, id: u32) -> Result<&mut Channel, SealedError> {
        self.channels.get_mut(&id).ok_or(SealedError::Malformed("a channel that is not open"))
    }

    /// The channel of a frame. `None` if we have closed it, so that the frame is dropped.
    ///
    /// # Errors
    ///
    /// If there is no such channel, or if the peer has not answered the request or has closed it.
    fn sender(&mut self, id: u32) -> Result<Option<&mut Live>, SealedError> {
        match self.known(id)? {
            Channel::Closing { .. } => Ok(None),
            Channel::Live(live) if matches!(live.phase, Phase::Queued | Phase::Opening) => {
                Err(SealedError::Malformed("a frame before the answer"))
            }
            Channel::Live(live) if live.peer_has_closed => {
                Err(SealedError::Malformed("a frame behind the end of its channel"))
            }
            Channel::Live(live) => Ok(Some(live)),
        }
    }
}
