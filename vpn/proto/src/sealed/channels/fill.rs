//! Gives frames to a batch of records: first those that carry no data, then some records of each
//! channel in turn.

use std::time::Instant;

use super::frame::{Frame, data_header};
use super::outgoing::Next;
use super::state::{Channel, Channels};
use crate::sealed::error::SealedError;

/// How many records a channel sends in its turn while others wait. With one record, the peer would write
/// to another connection after each of them, and wake another program.
pub(super) const TURN: usize = 4;

/// Takes frames to send.
pub trait FrameSink {
    /// Whether it takes another frame.
    fn has_room(&self) -> bool;

    /// Takes a frame: the type of its record, and its payload in two parts.
    ///
    /// # Errors
    ///
    /// If the frame cannot be sent. It is lost then, and the session with it.
    fn push(&mut self, kind: u8, header: &[u8], data: &[u8]) -> Result<(), SealedError>;
}

impl Channels {
    /// Whether there is something to send.
    pub fn has_output(&self) -> bool {
        !self.control.is_empty() || !self.turns.is_empty()
    }

    /// Gives frames to `sink` while it has room.
    ///
    /// # Errors
    ///
    /// The error of the sink.
    pub fn fill(&mut self, sink: &mut impl FrameSink, now: Instant) -> Result<(), SealedError> {
        while sink.has_room() {
            let Some(frame) = self.control.pop_front() else { break };
            let (kind, header) = frame.header();
            sink.push(kind, &header, &[])?;
        }
        if self.control.is_empty() && self.control.capacity() > 64 {
            self.control.shrink_to(16);
        }
        // What has its turn goes behind all frames without data.
        while self.control.is_empty() && sink.has_room() {
            let Some((id, is_first)) = self.turns.pop() else { break };
            // The channel may be over since it got its turn.
            let Some(Channel::Live(live)) = self.channels.get(&id) else { continue };
            match is_first && !live.out.is_sparse(now) {
                // It got its turn without a time, see `take_turn`.
                true => self.turns.push(id, false),
                // A channel that has sent little sends one record, so that others like it are soon next.
                false if is_first => self.fill_turn(id, 1, sink, now)?,
                false => self.fill_turn(id, TURN, sink, now)?,
            }
        }
        Ok(())
    }

    /// Gives a channel its turn.
    fn fill_turn(
        &mut self,
        id: u32,
        records: usize,
        sink: &mut impl FrameSink,
        now: Instant,
    ) -> Result<(), SealedError> {
        for _ in 0..records {
            if !sink.has_room() || !self.fill_one(id, sink, now)? {
                break;
            }
        }
        if let Some(Channel::Live(live)) = self.channels.get_mut(&id) {
            live.out.has_turn = false;
        }
        self.take_turn(id, Some(now));
        self.close_if_complete(id);
        Ok(())
    }

    /// Gives one frame of a channel. Returns whether there was data in it.
    fn fill_one(
        &mut self,
        id: u32,
        sink: &mut impl FrameSink,
        now: Instant,
    ) -> Result<bool, SealedError> {
        let Some(Channel::Live(live)) = self.channels.get_mut(&id) else { return Ok(false) };
        let bytes = match live.out.next() {
            None => return Ok(false),
            Some(Next::Data(stream, data)) => {
                let (kind, header) = data_header(id, stream);
                sink.push(kind, header.as_slice(), data)?;
                data.len()
            }
            Some(Next::Exit(exit)) => {
                let (kind, header) = Frame::Exit { id, exit }.header();
                sink.push(kind, &header, &[])?;
                0
            }
            Some(Next::Eof) => {
                let (kind, header) = Frame::Eof { id }.header();
                sink.push(kind, &header, &[])?;
                0
            }
        };
        let used = live.out.sent(bytes, now);
        self.queued -= bytes;
        if let Some(buffer) = used {
            self.recycle(buffer);
        }
        if bytes > 0 {
            self.offer_room(id);
        }
        Ok(bytes > 0)
    }
}
