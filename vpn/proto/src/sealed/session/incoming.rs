//! What a session does with the bytes of its peer: whole records are verified side by side, opened
//! where they lie, and taken in order.

use zeroize::{Zeroize, Zeroizing};

use super::super::super::classic::Role;
use super::super::alert::Alert;
use super::super::error::SealedError;
use super::super::record::{MAX_PAYLOAD, content};
use super::super::wire::{Part, Reader, next_length};
use super::exchange::Exchange;
use super::{BATCH, DATA, Event, MAX_PING, SPARES, Session, State};

impl Session {
    /// Takes bytes of the peer.
    ///
    /// # Errors
    ///
    /// Why the session is over; every later call returns the same. What came before is still to be
    /// had from [`Session::poll_event`], and what the peer is to be told from
    /// [`Session::poll_transmit`].
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), SealedError> {
        self.input_buffer().extend_from_slice(bytes);
        self.handle_buffer()
    }

    /// Where bytes of the peer can be appended without a copy; call [`Session::handle_buffer`] then.
    pub fn input_buffer(&mut self) -> &mut Vec<u8> {
        if self.taken > 0 {
            // Less than a record, or what waits for a key exchange.
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        &mut self.input
    }

    /// Takes what was appended to [`Session::input_buffer`].
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

    /// Wipes a buffer of [`Event::Data`] and keeps it for data to come, if it is one of the large ones
    /// and there are not enough of them.
    pub fn recycle(&mut self, buffer: Zeroizing<Vec<u8>>) {
        let buffer = wiped(buffer);
        if buffer.capacity() >= DATA && self.spare.len() < SPARES {
            self.spare.push(buffer);
        }
    }

    /// Whether a batch of the peer's records is here and waits for [`Session::finish_exchange`]: then
    /// nothing more should be read.
    pub fn has_backlog(&self) -> bool {
        matches!(self.exchange, Exchange::AwaitSecret { .. })
            && self.input.len() - self.taken >= self.batch_length()
    }

    /// How many bytes of the peer are opened side by side at most; more at once are of no use.
    pub fn batch_length(&self) -> usize {
        BATCH * self.sealer.size(MAX_PAYLOAD, 1).0
    }

    /// Takes the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// [`SealedError::Cut`] unless the peer said before that it was the end.
    pub fn handle_eof(&mut self) -> Result<(), SealedError> {
        match &self.state {
            State::Closed => Ok(()),
            State::Failed(error) => Err(error.clone()),
            // What came before the end waits for the secret, maybe the peer's close_notify.
            State::Running if matches!(self.exchange, Exchange::AwaitSecret { .. }) => {
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
                    // What came before the error comes first.
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

    /// The length of the next record if all of it is there and it has the form of one.
    fn next_record(&self, input: &[u8]) -> Result<Option<usize>, SealedError> {
        let Some(length) = next_length(Part::Record, input)? else { return Ok(None) };
        self.opener.check_form(&input[..length])?;
        Ok(Some(length))
    }

    fn is_reading(&self) -> bool {
        !matches!(self.exchange, Exchange::AwaitSecret { .. }) && self.state == State::Running
    }

    /// Verifies records side by side, then takes them one after the other, up to one that changes
    /// what the rest means.
    fn read_batch(&mut self, input: &mut [u8], lengths: &[usize]) -> Result<(), SealedError> {
        let mut records: [&[u8]; BATCH] = [&[]; BATCH];
        let mut rest = &input[self.taken..];
        for (record, length) in records.iter_mut().zip(lengths) {
            (*record, rest) = rest.split_at(*length);
        }
        let verified = self.opener.verify(&records[..lengths.len()])?;
        let epoch = self.peer_epoch;
        for &length in &lengths[..verified] {
            let record = &mut input[self.taken..self.taken + length];
            let (kind, payload) = self.opener.open_verified(record)?;
            if self.opener.blocks() > self.limits.blocks(self.sealer.block()) {
                return Err(SealedError::Limit("the data under one key"));
            }
            self.taken += length;
            self.count(length)?;
            let taken = self.take(kind, payload);
            // Nobody needs the plaintext here any more.
            record.zeroize();
            taken?;
            if !self.is_reading() || self.peer_epoch != epoch {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, kind: u8, payload: &[u8]) -> Result<(), SealedError> {
        match (kind, self.role) {
            (content::ALERT, _) => self.take_alert(payload),
            (content::DATA, _) if self.is_accepted && !self.theirs.is_at_end => {
                match self.events.back_mut() {
                    // Data that comes in one piece goes on in one.
                    Some(Event::Data(data)) if data.len() < BATCH * MAX_PAYLOAD => {
                        append(data, payload, self.piece);
                    }
                    _ => {
                        let mut data = Zeroizing::new(self.spare.pop().unwrap_or_default());
                        data.extend_from_slice(payload);
                        self.events.push_back(Event::Data(data));
                    }
                }
                Ok(())
            }
            (content::EOF, _)
                if self.is_accepted && !self.theirs.is_at_end && payload.is_empty() =>
            {
                self.theirs.is_at_end = true;
                self.events.push_back(Event::Eof);
                Ok(())
            }
            (content::OPEN, Role::Server) if !self.theirs.is_open => {
                let mut reader = Reader::new(payload);
                let service = str::from_utf8(reader.short()?)
                    .map_err(|_| SealedError::Malformed("name of a service"))?
                    .to_owned();
                let argument = reader.long()?.to_vec();
                reader.finish()?;
                self.theirs.is_open = true;
                self.events.push_back(Event::Open { service, argument });
                Ok(())
            }
            (content::OPEN_REPLY, Role::Client) if self.ours.is_open && !self.theirs.is_open => {
                let (status, text) =
                    payload.split_first().ok_or(SealedError::Malformed("answer of a service"))?;
                let text = String::from_utf8(text.to_vec())
                    .map_err(|_| SealedError::Malformed("answer of a service"))?;
                self.theirs.is_open = true;
                self.is_accepted = *status == 0;
                self.events.push_back(Event::OpenReply { status: *status, text });
                Ok(())
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
            (content::KEY_UPDATE, _) => self.take_key_update(payload),
            (content::HANDSHAKE, _) => self.take_handshake(payload),
            _ => Err(SealedError::Unexpected { expected: content::DATA, got: kind }),
        }
    }

    fn take_alert(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        let alert = Alert::decode(payload).ok_or(SealedError::Malformed("alert"))?;
        match alert {
            Alert::CloseNotify => {
                // The answer is a promise that only the service can make.
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

    fn take_key_update(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        // The client may not change keys by itself while it has an exchange under way.
        let is_barred = self.role == Role::Server && !matches!(self.exchange, Exchange::Idle);
        let mut reader = Reader::new(payload);
        let epoch = reader.u32()?;
        reader.finish()?;
        if is_barred || Some(epoch) != self.peer_epoch.checked_add(1) {
            return Err(SealedError::Malformed("epoch of a key update"));
        }
        self.peer_epoch = epoch;
        self.peer = self.peer.next();
        self.opener.rekey(self.peer.record_keys(self.keys.id)?);
        Ok(())
    }
}

/// An empty buffer in which nothing is left of what was in it. As a slice that is wiped at the speed of
/// memory and as far as it was used; as a vector it would be wiped byte by byte with all of its room.
pub fn wiped(mut buffer: Zeroizing<Vec<u8>>) -> Vec<u8> {
    let mut bytes = std::mem::take(&mut *buffer);
    bytes.as_mut_slice().zeroize();
    bytes.clear();
    bytes
}

/// Appends without leaving the bytes behind where a vector that grows was before.
fn append(data: &mut Zeroizing<Vec<u8>>, more: &[u8], room: usize) {
    if data.capacity() - data.len() < more.len() {
        let room = room.max(data.len() + more.len());
        let mut grown = Zeroizing::new(Vec::with_capacity(room));
        grown.extend_from_slice(data);
        *data = grown;
    }
    data.extend_from_slice(more);
}
