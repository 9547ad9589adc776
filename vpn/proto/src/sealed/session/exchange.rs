//! Fresh key exchanges within a session (PROTOCOL.md §4.6): the client starts one when it is due, both
//! sides go on under keys that an earlier secret does not give away.

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::super::super::classic::Role;
use super::super::error::SealedError;
use super::super::kex::KexSecret;
use super::super::record::content;
use super::super::schedule::TrafficSecret;
use super::super::wire::{Reader, frame, framed, put_long, unframed};
use super::{Event, HANDSHAKE_PAD, Session, State};

/// How far a fresh exchange has come.
#[derive(Debug)]
pub(super) enum Exchange {
    Idle,
    /// The client: Init was sent.
    AwaitReply {
        init: Vec<u8>,
    },
    /// The client: Reply is there, its secret is not.
    AwaitSecret {
        transcript: [u8; 32],
    },
    /// The server: Init is there, the answer is not.
    AwaitAnswer {
        init: Vec<u8>,
    },
    /// The server: Reply was sent; the client's secret of the next epoch waits for Done.
    AwaitDone {
        client: TrafficSecret,
    },
}

impl Session {
    /// Whether a fresh exchange is due that a client has not started yet: so much went both ways, or
    /// so much time has passed.
    pub fn is_exchange_due(&self) -> bool {
        self.role == Role::Client
            && matches!(self.exchange, Exchange::Idle)
            && self.running().is_ok()
            && (self.is_exchange_due || self.bytes_since_exchange >= self.limits.bytes_per_exchange)
    }

    /// Whether this side must not change keys by itself because its fresh exchange is under way.
    pub fn is_exchanging(&self) -> bool {
        !self.may_change_key()
    }

    /// Takes notice of the time; the first call after the handshake starts the clock.
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

    /// When [`Session::handle_timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let is_first = self.role == Role::Client && !self.is_exchange_due;
        let after = match is_first {
            true => self.limits.time_per_exchange,
            false => self.limits.time_without_exchange,
        };
        Some(self.exchanged? + after)
    }

    /// Starts a fresh exchange with this share; only a client does.
    ///
    /// # Errors
    ///
    /// If this is not the client, or one is under way.
    pub fn begin_exchange(&mut self, share: &[u8]) -> Result<(), SealedError> {
        self.running()?;
        if self.role == Role::Server || !matches!(self.exchange, Exchange::Idle) {
            return Err(SealedError::Internal);
        }
        let mut body = Vec::new();
        put_long(&mut body, share);
        let init = framed(frame::REKEY_INIT, &body);
        self.send_record(content::HANDSHAKE, &init, HANDSHAKE_PAD)?;
        self.exchange = Exchange::AwaitReply { init };
        Ok(())
    }

    /// Answers a fresh exchange: our share, and the secret.
    ///
    /// # Errors
    ///
    /// If none is under way.
    pub fn answer_exchange(&mut self, share: &[u8], secret: &KexSecret) -> Result<(), SealedError> {
        let is_closing = self.sent_close || self.state == State::Closed;
        if is_closing && !matches!(self.state, State::Failed(_)) {
            // Behind a close_notify, whoever said it, there is nothing left to protect.
            return Ok(());
        }
        self.running()?;
        let Exchange::AwaitAnswer { init } = std::mem::replace(&mut self.exchange, Exchange::Idle)
        else {
            return Err(SealedError::Internal);
        };
        let mut body = Vec::new();
        put_long(&mut body, share);
        let reply = framed(frame::REKEY_REPLY, &body);
        self.sealer.seal_into(content::HANDSHAKE, &reply, HANDSHAKE_PAD, &mut self.output)?;
        self.renew(rekey_transcript(&self.transcript, &init, &reply), secret);
        self.own = self.keys.secrets.server.clone();
        self.own_epoch += 1;
        self.sealer.rekey(self.own.record_keys(self.keys.id)?);
        self.exchange = Exchange::AwaitDone { client: self.keys.secrets.client.clone() };
        Ok(())
    }

    /// Takes the secret of a fresh exchange that the server has answered.
    ///
    /// # Errors
    ///
    /// If none is under way; or what the records that waited for it are wrong in.
    pub fn finish_exchange(&mut self, secret: &KexSecret) -> Result<(), SealedError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let exchange = std::mem::replace(&mut self.exchange, Exchange::Idle);
        let Exchange::AwaitSecret { transcript } = exchange else {
            return Err(SealedError::Internal);
        };
        self.renew(transcript, secret);
        self.peer = self.keys.secrets.server.clone();
        self.peer_epoch += 1;
        self.opener.rekey(self.peer.record_keys(self.keys.id)?);
        // Behind our own close_notify nothing is sent.
        if !self.sent_close {
            let done = framed(frame::REKEY_DONE, &[]);
            self.sealer.seal_into(content::HANDSHAKE, &done, HANDSHAKE_PAD, &mut self.output)?;
            self.own = self.keys.secrets.client.clone();
            self.own_epoch += 1;
            self.sealer.rekey(self.own.record_keys(self.keys.id)?);
        }
        self.handle_buffer()?;
        if self.has_ended { self.handle_eof() } else { Ok(()) }
    }

    fn renew(&mut self, transcript: [u8; 32], secret: &KexSecret) {
        let id = self.keys.secrets.id;
        self.keys.secrets = self.keys.secrets.renewed(secret, &transcript);
        // The name of a session stays.
        self.keys.secrets.id = id;
        self.transcript = transcript;
        self.bytes_since_exchange = 0;
        self.exchanged = None;
        self.is_exchange_due = false;
    }

    /// Whether this side may go on to its next key by itself now.
    pub(super) fn may_change_key(&self) -> bool {
        // A server may at any time; its answer to an exchange comes with the key of its time.
        self.role == Role::Server || matches!(self.exchange, Exchange::Idle)
    }

    pub(super) fn take_handshake(&mut self, payload: &[u8]) -> Result<(), SealedError> {
        let share = |kind: u8| {
            let mut reader = Reader::new(unframed(kind, payload)?);
            let share = reader.long()?.to_vec();
            reader.finish()?;
            Ok::<_, SealedError>(share)
        };
        match (std::mem::replace(&mut self.exchange, Exchange::Idle), self.role) {
            (Exchange::Idle, Role::Server) => {
                let share = share(frame::REKEY_INIT)?;
                self.exchange = Exchange::AwaitAnswer { init: payload.to_vec() };
                self.events.push_back(Event::ExchangeWanted(share));
                Ok(())
            }
            (Exchange::AwaitReply { init }, Role::Client) => {
                let share = share(frame::REKEY_REPLY)?;
                let transcript = rekey_transcript(&self.transcript, &init, payload);
                self.exchange = Exchange::AwaitSecret { transcript };
                self.events.push_back(Event::ExchangeAnswered(share));
                Ok(())
            }
            (Exchange::AwaitDone { client }, Role::Server) => {
                if !unframed(frame::REKEY_DONE, payload)?.is_empty() {
                    return Err(SealedError::Malformed("end of an exchange"));
                }
                self.peer = client;
                self.peer_epoch += 1;
                self.opener.rekey(self.peer.record_keys(self.keys.id)?);
                Ok(())
            }
            (exchange, _) => {
                self.exchange = exchange;
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
