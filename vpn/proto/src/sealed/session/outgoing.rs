//! The outgoing direction of a session: what a side sends, and when it changes its key.

use super::state::{BATCH, CHANNELS, MAX_PING, Rekey, Session, State};
use crate::role::Role;
use crate::sealed::alert::Alert;
use crate::sealed::error::SealedError;
use crate::sealed::record::{ALERT_PAD, MAX_PAYLOAD, content};
use crate::sealed::wire::{put_long, put_short};

impl Session {
    /// Asks for a service. Only a client does so, and only once.
    ///
    /// # Errors
    ///
    /// If the session has ended, if this is the server, or if it was called before.
    pub fn open(&mut self, service: &str, argument: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Server || self.ours.is_open || service.len() > usize::from(u8::MAX) {
            return Err(SealedError::Internal);
        }
        let mut payload = Vec::new();
        put_short(&mut payload, service.as_bytes());
        put_long(&mut payload, argument);
        self.ours.is_open = true;
        self.has_channels = (service, argument) == CHANNELS;
        self.send_record(content::OPEN, &payload, 1)
    }

    /// Answers the request for a service. Status 0 opens it.
    ///
    /// # Errors
    ///
    /// If there was no request, or if it is answered already.
    pub fn reply_open(&mut self, status: u8, text: &str) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Client || !self.theirs.is_open || self.ours.is_open {
            return Err(SealedError::Internal);
        }
        let mut payload = vec![status];
        payload.extend_from_slice(text.as_bytes());
        self.ours.is_open = true;
        self.is_accepted = status == 0;
        self.send_record(content::OPEN_REPLY, &payload, 1)
    }

    /// Sends data, in one record or more.
    ///
    /// # Errors
    ///
    /// If the service is not open, after [`Session::send_eof`], or if a limit is reached.
    pub fn send(&mut self, data: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if !self.is_accepted || self.has_channels || self.ours.is_at_end {
            return Err(SealedError::Internal);
        }
        let mut rest = data;
        while !rest.is_empty() {
            self.change_key_if_due()?;
            let count = self.batch_room();
            let (batch, behind) = rest.split_at(rest.len().min(count * MAX_PAYLOAD));
            let sizes = batch.chunks(MAX_PAYLOAD).map(|piece| self.sealer.size(piece.len(), 1));
            let size = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
            self.account(size)?;
            self.sealer.seal_batch(content::DATA, batch, MAX_PAYLOAD, &mut self.output)?;
            rest = behind;
        }
        Ok(())
    }

    /// Announces that this side will send no more data.
    ///
    /// # Errors
    ///
    /// As [`Session::send`].
    pub fn send_eof(&mut self) -> Result<(), SealedError> {
        self.running()?;
        if !self.is_accepted || self.has_channels || self.ours.is_at_end {
            return Err(SealedError::Internal);
        }
        self.ours.is_at_end = true;
        self.send_record(content::EOF, &[], 1)
    }

    /// Sends a ping. The peer answers with the same payload.
    ///
    /// # Errors
    ///
    /// If the session has ended, or if the payload is longer than 64 bytes.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if payload.len() > MAX_PING {
            return Err(SealedError::Internal);
        }
        self.send_record(content::PING, payload, 1)
    }

    /// Ends the session with an alert. [`Alert::CloseNotify`] is the regular end. It also answers
    /// the close_notify of the peer. No other method answers it, because it means that all data was
    /// delivered.
    ///
    /// # Errors
    ///
    /// If the suite fails. It is no error if the session has ended already.
    pub fn close(&mut self, alert: Alert) -> Result<(), SealedError> {
        if self.sent_close || matches!(self.state, State::Failed(_)) {
            return Ok(());
        }
        self.sent_close = !matches!(alert, Alert::Draining(_));
        self.sealer.seal_into(content::ALERT, &alert.encode(), ALERT_PAD, &mut self.output)
    }

    /// Changes to the next key of this direction.
    ///
    /// # Errors
    ///
    /// If the session has ended, or if a client has started a key exchange that is not finished.
    pub fn update_key(&mut self) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Client && !matches!(self.rekey, Rekey::Idle) {
            return Err(SealedError::Internal);
        }
        self.own_epoch += 1;
        let epoch = self.own_epoch.to_be_bytes();
        self.sealer.seal_into(content::KEY_UPDATE, &epoch, 1, &mut self.output)?;
        self.own = self.own.next();
        self.sealer.direction.rekey(self.own.record_keys(self.keys.id)?);
        Ok(())
    }

    /// Seals and counts a record. Changes the key if it is time for it. If the record would exceed
    /// a limit, it is not sealed, and the session ends.
    pub(super) fn send_record(
        &mut self,
        kind: u8,
        payload: &[u8],
        pad_to: usize,
    ) -> Result<(), SealedError> {
        self.change_key_if_due()?;
        let size = self.sealer.size(payload.len(), pad_to);
        self.account(size)?;
        self.sealer.seal_into(kind, payload, pad_to, &mut self.output)
    }

    /// How many full records may be sealed at once before the next change of keys.
    pub(super) fn batch_room(&self) -> usize {
        let limit = self.limits.blocks(self.sealer.block());
        let room = if self.may_change_key() { limit / 2 } else { limit };
        self.sealer.records_until(room).clamp(1, BATCH)
    }

    /// Changes the key after half of the blocks that are allowed under one key.
    pub(super) fn change_key_if_due(&mut self) -> Result<(), SealedError> {
        let limit = self.limits.blocks(self.sealer.block());
        if self.sealer.direction.blocks >= limit / 2 && self.may_change_key() {
            self.update_key()?;
        }
        Ok(())
    }

    /// Counts bytes and blocks before they are sealed. Ends the session if they would exceed a
    /// limit.
    fn account(&mut self, size: (usize, u64)) -> Result<(), SealedError> {
        let counted = self.counted(size);
        self.settle(counted)
    }

    /// Counts bytes and blocks before they are sealed. After an error the session has to end.
    pub(super) fn counted(&mut self, (bytes, blocks): (usize, u64)) -> Result<(), SealedError> {
        // There must be room for the alert that ends the session.
        let (_, alert) = self.sealer.size(0, ALERT_PAD);
        let limit = self.limits.blocks(self.sealer.block());
        match self.sealer.direction.blocks + blocks + alert > limit {
            true => Err(SealedError::Limit("the data under one key")),
            false => self.count(bytes),
        }
    }
}
