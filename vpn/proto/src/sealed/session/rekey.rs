//! New key exchanges within a session (PROTOCOL.md §4.6). The client starts one when it is due.
//! After it both sides use keys that do not follow from earlier secrets.

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::event::Event;
use super::state::{Rekey, Session, State};
use crate::role::Role;
use crate::sealed::error::SealedError;
use crate::sealed::kex::KexSecret;
use crate::sealed::record::{HANDSHAKE_PAD, content};
use crate::sealed::wire::{Reader, frame, framed, put_long, unframed};

impl Session {
    /// Whether the client should start a new key exchange: after enough bytes or enough time.
    pub fn is_exchange_due(&self) -> bool {
        self.role == Role::Client
            && matches!(self.rekey, Rekey::Idle)
            && self.running().is_ok()
            && (self.is_exchange_due || self.bytes_since_exchange >= self.limits.bytes_per_exchange)
    }

    /// Whether this side must not change its key because of an unfinished key exchange.
    pub fn is_exchanging(&self) -> bool {
        !self.may_change_key()
    }

    /// Handles the passing of time. The first call after a key exchange starts the clock.
    ///
    /// # Errors
    ///
    /// [`SealedError::Limit`] if the last key exchange was too long ago.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SealedError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let since = now.saturating_duration_since(*self.exchanged.get_or_insert(now));
        self.is_exchange_due = since >= self.limits.time_per_exchange;
        if since >= self.limits.time_without_exchange && self.state == State::Running {
            return self.settle(Err(SealedError::Limit("the time since the last key exchange")));
        }
        Ok(())
    }

    /// The time of the next [`Session::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let is_first = self.role == Role::Client && !self.is_exchange_due;
        let after = match is_first {
            true => self.limits.time_per_exchange,
            false => self.limits.time_without_exchange,
        };
        Some(self.exchanged? + after)
    }

    /// Starts a new key exchange with this share. Only a client does so.
    ///
    /// # Errors
    ///
    /// If this is the server, or if another key exchange is not finished.
    pub fn begin_exchange(&mut self, share: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Server || !matches!(self.rekey, Rekey::Idle) {
            return Err(SealedError::Internal);
        }
        let mut body = Vec::new();
        put_long(&mut body, share);
        let init = framed(frame::REKEY_INIT, &body);
        self.send_record(content::HANDSHAKE, &init, HANDSHAKE_PAD)?;
        self.rekey = Rekey::AwaitReply { init };
        Ok(())
    }

    /// Answers a new key exchange with the share of this side and the secret.
    ///
    /// # Errors
    ///
    /// If the client has not started one.
    pub fn answer_exchange(&mut self, share: &[u8], secret: &KexSecret) -> Result<(), SealedError> {
        let is_closing = self.sent_close || self.state == State::Closed;
        if is_closing && !matches!(self.state, State::Failed(_)) {
            // After a close_notify of either side no more data follows, so no new keys are needed.
            return Ok(());
        }
        self.running()?;
        let Rekey::AwaitAnswer { init } = std::mem::replace(&mut self.rekey, Rekey::Idle) else {
            return Err(SealedError::Internal);
        };
        let mut body = Vec::new();
        put_long(&mut body, share);
        let reply = framed(frame::REKEY_REPLY, &body);
        self.sealer.seal_into(content::HANDSHAKE, &reply, HANDSHAKE_PAD, &mut self.output)?;
        self.renew(rekey_transcript(&self.transcript, &init, &reply), secret);
        self.own = self.keys.secrets.server.clone();
        self.own_epoch += 1;
        self.sealer.direction.rekey(self.own.record_keys(self.keys.id)?);
        self.rekey = Rekey::AwaitDone { client: self.keys.secrets.client.clone() };
        Ok(())
    }

    /// Continues with the secret of a key exchange that the server has answered.
    ///
    /// # Errors
    ///
    /// If the server has not answered one, or if a record that waited for the secret is wrong.
    pub fn finish_exchange(&mut self, secret: &KexSecret) -> Result<(), SealedError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let rekey = std::mem::replace(&mut self.rekey, Rekey::Idle);
        let Rekey::AwaitSecret { transcript } = rekey else {
            return Err(SealedError::Internal);
        };
        self.renew(transcript, secret);
        self.peer = self.keys.secrets.server.clone();
        self.peer_epoch += 1;
        self.opener.direction.rekey(self.peer.record_keys(self.keys.id)?);
        // After our close_notify nothing is sent.
        if !self.sent_close {
            let done = framed(frame::REKEY_DONE, &[]);
            self.sealer.seal_into(content::HANDSHAKE, &done, HANDSHAKE_PAD, &mut self.output)?;
            self.own = self.keys.secrets.client.clone();
            self.own_epoch += 1;
            self.sealer.direction.rekey(self.own.record_keys(self.keys.id)?);
        }
        self.handle_buffer()?;
        if self.has_ended { self.handle_eof() } else { Ok(()) }
    }

    /// Derives the secrets after a key exchange.
    fn renew(&mut self, transcript: [u8; 32], secret: &KexSecret) {
        let id = self.keys.secrets.id;
        self.keys.secrets = self.keys.secrets.renewed(secret, &transcript);
        // The name of the session does not change.
        self.keys.secrets.id = id;
        self.transcript = transcript;
        self.bytes_since_exchange = 0;
        self.exchanged = None;
        self.is_exchange_due = false;
    }

    /// Whether this side may change its key now.
    pub(super) fn may_change_key(&self) -> bool {
        // A server always may. Its Reply is sealed with the key of that moment.
        self.role == Role::Server || matches!(self.rekey, Rekey::Idle)
    }

    /// Handles a handshake record of the peer.
    pub(super) fn handle_handshake(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        let share = |kind: u8| {
            let mut reader = Reader::new(unframed(kind, payload)?);
            let share = reader.long()?.to_vec();
            reader.finish()?;
            Ok::<_, SealedError>(share)
        };
        match (std::mem::replace(&mut self.rekey, Rekey::Idle), self.role) {
            (Rekey::Idle, Role::Server) => {
                let share = share(frame::REKEY_INIT)?;
                self.rekey = Rekey::AwaitAnswer { init: payload.to_vec() };
                self.events.push_back(Event::ExchangeWanted(share));
                Ok(())
            }
            (Rekey::AwaitReply { init }, Role::Client) => {
                let share = share(frame::REKEY_REPLY)?;
                let transcript = rekey_transcript(&self.transcript, &init, payload);
                self.rekey = Rekey::AwaitSecret { transcript };
                self.events.push_back(Event::ExchangeAnswered(share));
                Ok(())
            }
            (Rekey::AwaitDone { client }, Role::Server) => {
                if !unframed(frame::REKEY_DONE, payload)?.is_empty() {
                    return Err(SealedError::Malformed("end of an exchange"));
                }
                self.peer = client;
                self.peer_epoch += 1;
                self.opener.direction.rekey(self.peer.record_keys(self.keys.id)?);
                Ok(())
            }
            (rekey, _) => {
                self.rekey = rekey;
                Err(SealedError::Unexpected {
                    expected: content::DATA,
                    got: payload.first().copied().unwrap_or(content::HANDSHAKE),
                })
            }
        }
    }
}

/// `TH' = SHA-256(TH || Init || Reply)`.
fn rekey_transcript(before: &[u8; 32], init: &[u8], reply: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(init).chain_update(reply).finalize().into()
}
