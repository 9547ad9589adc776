//! The incoming direction of a session. Records are verified several at once, decrypted in place,
//! and handled in order.

use zeroize::{Zeroize, Zeroizing};

use super::buffer::{append, wiped};
use super::event::Event;
use super::state::{BATCH, CHANNELS, DATA, MAX_PING, Rekey, Session, State};
use crate::role::Role;
use crate::sealed::alert::Alert;
use crate::sealed::channels::Frame;
use crate::sealed::error::SealedError;
use crate::sealed::record::{MAX_PAYLOAD, content};
use crate::sealed::wire::{Part, Reader, next_length};

/// The most empty buffers that a session keeps.
const SPARES: usize = 4;

impl Session {
    /// Handles bytes from the peer, in pieces of any size.
    ///
    /// # Errors
    ///
    /// If the session failed. All later calls return the same error. Earlier events are still in
    /// [`Session::poll_event`], and the alert for the peer is in [`Session::poll_transmit`].
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), SealedError> {
        self.input_buffer().extend_from_slice(bytes);
        self.handle_buffer()
    }

    /// A buffer for bytes from the peer. Append to it, then call [`Session::handle_buffer`]. This
    /// saves a copy.
    pub fn input_buffer(&mut self) -> &mut Vec<u8> {
        if self.taken > 0 {
            // The rest is part of a record, or records that wait for a key exchange.
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        &mut self.input
    }

    /// Handles the bytes that were appended to [`Session::input_buffer`].
    ///
    /// # Errors
    ///
    /// As [`Session::handle_input`].
    pub fn handle_buffer(&mut self) -> Result<(), SealedError> {
        match &self.state {
            // Later bytes are ignored.
            State::Closed => {
                self.input.clear();
                return Ok(());
            }
            State::Failed(error) => {
                self.input.clear();
                return Err(error.clone());
            }
            State::Running => {}
        }
        let mut input = std::mem::take(&mut self.input);
        let result = self.read(&mut input);
        self.input = input;
        self.settle(result)
    }

    /// Wipes a buffer of [`Event::Data`]. A large buffer is kept for later data, up to four of
    /// them.
    pub fn recycle(&mut self, buffer: Zeroizing<Vec<u8>>) {
        let buffer = wiped(buffer);
        if buffer.capacity() >= DATA && self.spare.len() < SPARES {
            self.spare.push(buffer);
        }
    }

    /// Whether a batch of records waits for [`Session::finish_exchange`]. Then read no more bytes.
    pub fn has_backlog(&self) -> bool {
        matches!(self.rekey, Rekey::AwaitSecret { .. })
            && self.input.len() - self.taken >= self.batch_length()
    }

    /// The most bytes that are opened at once. Reading more bytes at once has no use.
    pub fn batch_length(&self) -> usize {
        BATCH * self.sealer.size(MAX_PAYLOAD, 1).0
    }

    /// Handles the end of the stream of the peer.
    ///
    /// # Errors
    ///
    /// [`SealedError::Cut`] if the peer has not sent close_notify.
    pub fn handle_eof(&mut self) -> Result<(), SealedError> {
        match &self.state {
            State::Closed => Ok(()),
            State::Failed(error) => Err(error.clone()),
            // Records wait for the secret. A close_notify may be among them.
            State::Running if matches!(self.rekey, Rekey::AwaitSecret { .. }) => {
                self.has_ended = true;
                Ok(())
            }
            State::Running => self.settle(Err(SealedError::Cut)),
        }
    }

    fn read(&mut self, input: &mut [u8]) -> Result<(), SealedError> {
        while self.is_reading() {
            let (mut lengths, mut end) = ([0; BATCH], self.taken);
            let mut count = 0;
            while count < BATCH {
                let length = match self.next_record(&input[end..]) {
                    Ok(Some(length)) => length,
                    // The records before the error are handled first.
                    Err(error) if count == 0 => return Err(error),
                    Ok(None) | Err(_) => break,
                };
                lengths[count] = length;
                end += length;
                count += 1;
            }
            if count == 0 {
                break;
            }
            self.read_batch(input, &lengths[..count])?;
        }
        Ok(())
    }

    /// The size of the next record in bytes, if it is complete.
    fn next_record(&self, input: &[u8]) -> Result<Option<usize>, SealedError> {
        let Some(length) = next_length(Part::Record, input)? else { return Ok(None) };
        self.opener.check_form(&input[..length])?;
        Ok(Some(length))
    }

    fn is_reading(&self) -> bool {
        !matches!(self.rekey, Rekey::AwaitSecret { .. }) && self.state == State::Running
    }

    /// Verifies several records at once, then handles them one after the other. It stops after a
    /// record that changes the keys.
    fn read_batch(&mut self, input: &mut [u8], lengths: &[usize]) -> Result<(), SealedError> {
        let mut records: [&[u8]; BATCH] = [&[]; BATCH];
        let mut rest = &input[self.taken..];
        for (record, length) in records.iter_mut().zip(lengths) {
            (*record, rest) = rest.split_at(*length);
        }
        let verified = self.opener.verify(&records[..lengths.len()])?;
        let epoch = self.peer_epoch;
        self.behind = lengths[..verified].iter().sum();
        for &length in &lengths[..verified] {
            self.behind -= length;
            let record = &mut input[self.taken..self.taken + length];
            let (kind, payload) = self.opener.open_verified(record)?;
            if self.opener.direction.blocks > self.limits.blocks(self.sealer.block()) {
                return Err(SealedError::Limit("the data under one key"));
            }
            self.taken += length;
            self.count(length)?;
            let handled = self.handle_record(kind, payload);
            // The plaintext is not needed here any more.
            record.zeroize();
            handled?;
            if !self.is_reading() || self.peer_epoch != epoch {
                break;
            }
        }
        Ok(())
    }

    fn handle_record(&mut self, kind: u8, payload: &[u8]) -> Result<(), SealedError> {
        match (kind, self.role) {
            (content::ALERT, _) => self.handle_alert(payload),
            (content::CHAN_OPEN..=content::ASK, _) if self.is_accepted && self.has_channels => {
                self.handle_frame(Frame::parse(kind, payload)?);
                Ok(())
            }
            (content::DATA | content::EOF, _) if self.has_channels => {
                Err(SealedError::Unexpected { expected: content::CHAN_DATA, got: kind })
            }
            (content::DATA, _) if self.is_accepted && !self.theirs.is_at_end => {
                self.handle_data(payload);
                Ok(())
            }
            (content::EOF, _)
                if self.is_accepted && !self.theirs.is_at_end && payload.is_empty() =>
            {
                self.theirs.is_at_end = true;
                self.events.push_back(Event::Eof);
                Ok(())
            }
            (content::OPEN, Role::Server) if !self.theirs.is_open => self.handle_open(payload),
            (content::OPEN_REPLY, Role::Client) if self.ours.is_open && !self.theirs.is_open => {
                self.handle_open_reply(payload)
            }
            (content::PING, _) if payload.len() <= MAX_PING => {
                if self.running().is_ok() {
                    self.send_record(content::PONG, payload, 1)?;
                }
                Ok(())
            }
            (content::PONG, _) if payload.len() <= MAX_PING => {
                self.events.push_back(Event::Pong(payload.to_vec()));
                Ok(())
            }
            (content::KEY_UPDATE, _) => self.handle_key_update(payload),
            (content::HANDSHAKE, _) => self.handle_handshake(payload),
            _ => Err(SealedError::Unexpected { expected: content::DATA, got: kind }),
        }
    }

    fn handle_data(&mut self, payload: &[u8]) {
        match self.events.back_mut() {
            // Data that arrived at once is one event.
            Some(Event::Data(data)) if data.len() < BATCH * MAX_PAYLOAD => {
                append(data, payload, self.piece);
            }
            _ => {
                let mut data = Zeroizing::new(self.spare.pop().unwrap_or_default());
                data.extend_from_slice(payload);
                self.events.push_back(Event::Data(data));
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame<'_>) {
        let Frame::Data { id, stream, data } = frame else {
            return self.events.push_back(Event::Frame(frame.into_owned()));
        };
        match self.events.back_mut() {
            // Data of one channel that arrived at once is one event.
            Some(Event::ChannelData { id: last, stream: same, data: before })
                if *last == id && *same == stream && before.len() < BATCH * MAX_PAYLOAD =>
            {
                let needed = before.len() + data.len();
                if before.capacity() < needed {
                    let mut grown = Zeroizing::new(self.spare.pop().unwrap_or_default());
                    // The rest of the batch may be for this channel too. Large buffers have one size, so
                    // that they come back for later data.
                    let room = needed + self.behind;
                    grown.reserve_exact(if room > DATA / 4 { DATA } else { room });
                    grown.extend_from_slice(before);
                    drop(wiped(std::mem::replace(before, grown)));
                }
                before.extend_from_slice(&data);
            }
            _ => {
                let data = Zeroizing::new(data.into_owned());
                self.events.push_back(Event::ChannelData { id, stream, data });
            }
        }
    }

    fn handle_open(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        let mut reader = Reader::new(payload);
        let service = str::from_utf8(reader.short()?)
            .map_err(|_| SealedError::Malformed("name of a service"))?
            .to_owned();
        let argument = reader.long()?.to_vec();
        reader.finish()?;
        self.theirs.is_open = true;
        self.has_channels = (service.as_str(), argument.as_slice()) == CHANNELS;
        self.events.push_back(Event::Open { service, argument });
        Ok(())
    }

    fn handle_open_reply(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        let malformed = SealedError::Malformed("answer of a service");
        let Some((&status, text)) = payload.split_first() else { return Err(malformed) };
        let text = String::from_utf8(text.to_vec()).map_err(|_| malformed)?;
        self.theirs.is_open = true;
        self.is_accepted = status == 0;
        self.events.push_back(Event::OpenReply { status, text });
        Ok(())
    }

    fn handle_alert(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        let alert = Alert::decode(payload).ok_or(SealedError::Malformed("alert"))?;
        match alert {
            Alert::CloseNotify => {
                // The answer means that all data was delivered. Only the caller knows that.
                self.events.push_back(match self.sent_close {
                    true => Event::Closed,
                    false => Event::CloseRequested,
                });
                self.state = State::Closed;
                Ok(())
            }
            Alert::Draining(_) => {
                self.events.push_back(Event::Alert(alert));
                Ok(())
            }
            alert => {
                self.events.push_back(Event::Alert(alert));
                Err(SealedError::Alert(alert))
            }
        }
    }

    fn handle_key_update(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        // A client must not change its key during a key exchange.
        let is_barred = self.role == Role::Server && !matches!(self.rekey, Rekey::Idle);
        let mut reader = Reader::new(payload);
        let epoch = reader.u32()?;
        reader.finish()?;
        if is_barred || Some(epoch) != self.peer_epoch.checked_add(1) {
            return Err(SealedError::Malformed("epoch of a key update"));
        }
        self.peer_epoch = epoch;
        self.peer = self.peer.next();
        self.opener.direction.rekey(self.peer.record_keys(self.keys.id)?);
        Ok(())
    }
}
