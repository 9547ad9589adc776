//! The key exchange of the classic profile (PROTOCOL.md §3.3). The client sends first; everything
//! else is the same for both roles.

use std::time::Instant;

use num_bigint::BigUint;

use crate::classic::dialect::{Dialect, LineEnd};
use crate::classic::error::HandshakeError;
use crate::classic::io::{Event, Io};
use crate::classic::keys::{SessionKeys, SharedKey};
use crate::classic::note::{End, Established, MessageKind, Telling};
use crate::classic::params::{HANDSHAKE_LIMIT, Timing};
use crate::dh::{DhOutcome, DhTask, KeyPair, PublicValue, is_self_delimiting};
use crate::role::Role;
use crate::suite::SuiteId;

/// The first word of a public value.
pub(super) const SHARE_HEAD: &str = "DHMKE:";

/// Sends our public value, receives and checks the value of the peer, and derives the keys.
///
/// A side sends its value before it computes the secret. So both sides compute at the same time.
/// The server sends its value only after it has checked the value of the client.
#[derive(Debug)]
pub(super) struct Exchange {
    role: Role,
    id: SuiteId,
    dialect: Dialect,
    timing: Timing,
    own: Option<KeyPair>,
    is_sent: bool,
    peer: PeerShare,
    /// Both public values in decimal, ours first, if a note needs them.
    shares: [String; 2],
}

#[derive(Debug)]
enum PeerShare {
    Awaited,
    Checking,
    Checked(PublicValue),
    /// The value is part of the task that computes the secret.
    Agreeing,
}

impl Exchange {
    pub(super) fn new(role: Role, id: SuiteId, dialect: Dialect, timing: Timing) -> Self {
        Self {
            role,
            id,
            dialect,
            timing,
            own: None,
            is_sent: false,
            peer: PeerShare::Awaited,
            shares: [const { String::new() }; 2],
        }
    }

    pub(super) fn id(&self) -> SuiteId {
        self.id
    }

    pub(super) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Whether the public value of the peer is complete. It is the last message of the handshake.
    pub(super) fn has_share(&self) -> bool {
        !matches!(self.peer, PeerShare::Awaited)
    }

    /// Reads the `DHMKE:` message of the peer, as far as it has arrived.
    pub(super) fn read_share(
        &mut self,
        io: &mut Io,
        now: Instant,
        is_over: bool,
    ) -> Result<(), HandshakeError> {
        if !matches!(self.peer, PeerShare::Awaited) {
            // These bytes come after the value: a late line end, or the first message of a client
            // that was faster than our computation. The session handles them. A caller that asks
            // `wants_input` leaves such bytes unread.
            return Ok(());
        }
        self.skip_late_bytes(io);
        match self.scan(&io.input, is_over)? {
            Scan::Unfinished => {
                if !io.input.is_empty() {
                    io.timer = Some(now + self.timing.stall);
                }
            }
            Scan::MayBeWhole => io.timer = Some(now + self.timing.quiet),
            Scan::Whole { value, text, used } => {
                let end = if is_over { End::Silence } else { End::Itself };
                self.take_share(value, text, used, end, io);
            }
        }
        Ok(())
    }

    /// Drops the late rest of the message before: its line end, and the spaces that may follow the
    /// number of a choice.
    fn skip_late_bytes(&self, io: &mut Io) {
        match self.role {
            Role::Client => io.skip_blanks_and_line_end(),
            Role::Server => io.skip_line_end(),
        }
    }

    /// Parses the input up to the end of the number.
    fn scan(&self, input: &[u8], is_over: bool) -> Result<Scan, HandshakeError> {
        let head = SHARE_HEAD.as_bytes();
        let compared = input.len().min(head.len());
        if input[..compared] != head[..compared] {
            // A server that refuses sends a text. The client waits for the end of it.
            return match self.role {
                Role::Server => Err(HandshakeError::KeyShare { got: input.to_vec() }),
                Role::Client if is_over || input.contains(&b'\n') => {
                    Err(HandshakeError::refused(input))
                }
                Role::Client if input.len() > HANDSHAKE_LIMIT => {
                    Err(HandshakeError::TooLong { limit: HANDSHAKE_LIMIT })
                }
                Role::Client => Ok(Scan::MayBeWhole),
            };
        }
        let blanks = input[compared..].iter().take_while(|b| **b == b' ').count();
        let start = compared + blanks;
        let count = input[start..].iter().take_while(|b| b.is_ascii_digit()).count();
        let digits = &input[start..start + count];
        let end = match &input[start + count..] {
            [] | [b'\r'] => None,
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            // The number is complete, so the bytes after it are the next message.
            _ if self.ends_here(digits) => Some(0),
            _ => {
                return Err(HandshakeError::KeyShare { got: input.to_vec() });
            }
        };
        let most = self.dialect.group.digits();
        if count > most || blanks > most {
            return Err(HandshakeError::KeyShareTooLong { limit: most });
        }
        let is_whole = end.is_some()
            || is_over
            || (self.dialect.line_end == LineEnd::None && self.ends_here(digits));
        match (digits, is_whole) {
            ([], true) => Err(HandshakeError::KeyShare { got: input.to_vec() }),
            ([], false) => Ok(Scan::Unfinished),
            (_, false) => Ok(Scan::MayBeWhole),
            (_, true) => {
                let value = BigUint::parse_bytes(digits, 10).ok_or(HandshakeError::Internal)?;
                let text = start + count;
                Ok(Scan::Whole { value, text, used: text + end.unwrap_or(0) })
            }
        }
    }

    /// Whether no further digit can belong to this number.
    fn ends_here(&self, digits: &[u8]) -> bool {
        let group = self.dialect.group;
        digits.len() + 1 >= group.digits()
            && BigUint::parse_bytes(digits, 10)
                .is_some_and(|value| is_self_delimiting(group, &value))
    }

    /// Handles the outcome of a task. Returns the keys when the secret is computed.
    pub(super) fn handle_outcome(
        &mut self,
        outcome: DhOutcome,
        io: &mut Io,
    ) -> Result<Option<SessionKeys>, HandshakeError> {
        match (outcome, &self.peer) {
            (DhOutcome::Generated(pair), _) => self.own = Some(pair),
            (DhOutcome::Checked(value), PeerShare::Checking) => {
                self.peer = PeerShare::Checked(value.map_err(HandshakeError::PublicValue)?);
            }
            (DhOutcome::Agreed(secret), PeerShare::Agreeing) => {
                let shared = SharedKey::derive(&secret);
                let keys = shared.cut(self.id).ok_or_else(|| HandshakeError::KeyTooLong {
                    suite: self.id.suite.name(),
                    bits: self.id.size.bits(),
                })?;
                io.note_keys(|| {
                    let [ours, theirs] = std::mem::take(&mut self.shares);
                    let (client_share, server_share) = match self.role {
                        Role::Client => (ours, theirs),
                        Role::Server => (theirs, ours),
                    };
                    let (id, dialect, keys) = (self.id, self.dialect, keys.clone());
                    Established { id, dialect, keys, client_share, server_share }
                });
                return Ok(Some(keys));
            }
            (DhOutcome::Agreed(_) | DhOutcome::Checked(_), _) => {
                return Err(HandshakeError::Internal);
            }
        }
        self.advance(io);
        Ok(None)
    }

    /// Sends our value and starts the computation of the secret, when it is time for it.
    fn advance(&mut self, io: &mut Io) {
        let is_checked = matches!(self.peer, PeerShare::Checked(_));
        if let Some(own) = &self.own
            && !self.is_sent
            && (self.role == Role::Client || is_checked)
        {
            // The client has no key yet, so it can have sent nothing but a late line end.
            if self.role == Role::Server {
                io.skip_line_end();
            }
            let number = own.public_text();
            let text = format!("{SHARE_HEAD}{number}");
            io.send(self.role, MessageKind::Share, &text, self.dialect.line_end);
            if io.telling > Telling::Nothing {
                self.shares[0] = number;
            }
            self.is_sent = true;
        }
        if self.is_sent && is_checked {
            let peer = std::mem::replace(&mut self.peer, PeerShare::Agreeing);
            if let (PeerShare::Checked(peer), Some(own)) = (peer, self.own.take()) {
                io.events.push_back(Event::Compute(DhTask::Agree(own, peer)));
            }
        }
    }

    /// Handles the end of the stream of the peer: a public value before it is complete.
    pub(super) fn handle_eof(&mut self, io: &mut Io) -> Result<(), HandshakeError> {
        if self.has_share() {
            return Ok(());
        }
        self.skip_late_bytes(io);
        if !io.input.is_empty()
            && let Scan::Whole { value, text, used } = self.scan(&io.input, true)?
        {
            self.take_share(value, text, used, End::Silence, io);
            return Ok(());
        }
        Err(HandshakeError::Closed { awaited: "the key exchange" })
    }

    /// Takes the message of a number off the input: `text` bytes, then its line end up to `used`.
    fn take_share(&mut self, value: BigUint, text: usize, used: usize, end: End, io: &mut Io) {
        io.timer = None;
        let bytes: Vec<u8> = io.input.drain(..used).collect();
        let end = match &bytes[text..] {
            b"\r\n" => End::Line(LineEnd::CrLf),
            b"\n" => End::Line(LineEnd::Lf),
            _ => end,
        };
        io.note_received(self.role.peer(), MessageKind::Share, &bytes[..text], end);
        if io.telling > Telling::Nothing {
            let digits = bytes[..text].iter().filter(|b| b.is_ascii_digit());
            self.shares[1] = digits.copied().map(char::from).collect();
        }
        self.peer = PeerShare::Checking;
        io.events.push_back(Event::Compute(DhTask::Check(self.dialect.group, value)));
    }
}

enum Scan {
    Unfinished,
    /// The number is complete if no further digit arrives.
    MayBeWhole,
    /// The number, the end of its text, and the end of its line end.
    Whole {
        value: BigUint,
        text: usize,
        used: usize,
    },
}
