//! The key exchange of the classic profile, the same for both roles but for who speaks first
//! (PROTOCOL.md §3.3).

use std::time::Instant;

use num_bigint::BigUint;

use super::super::dh::{DhOutcome, DhTask, KeyPair, PublicValue, ends_itself};
use super::super::error::HandshakeError;
use super::super::negotiate::SuiteId;
use super::dialect::{Dialect, LineEnd};
use super::handshake::{Event, Io, Timing, refused};
use super::keys::{SessionKeys, SharedKey};
use super::note::{End, Established, Role, Telling, What};

/// The word that opens a public value.
pub(super) const SHARE_HEAD: &str = "DHMKE:";

/// Sends our public value, takes and checks the peer's, and derives the keys.
///
/// Our value goes out before the secret is computed, so that both sides compute at once; the
/// server's goes out only after the client's was checked.
#[derive(Debug)]
pub(super) struct Exchange {
    role: Role,
    id: SuiteId,
    dialect: Dialect,
    timing: Timing,
    own: Option<KeyPair>,
    is_sent: bool,
    peer: PeerShare,
    /// Both public values in decimal, ours first, if somebody is to be told.
    shares: [String; 2],
}

#[derive(Debug)]
enum PeerShare {
    Awaited,
    Checking,
    Checked(PublicValue),
    /// Used up in the computation of the secret.
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

    /// Whether the peer has sent all that it owes to the handshake.
    pub(super) fn has_share(&self) -> bool {
        !matches!(self.peer, PeerShare::Awaited)
    }

    /// Reads the peer's `DHMKE:` as far as it has come.
    pub(super) fn read_share(
        &mut self,
        io: &mut Io,
        now: Instant,
        is_over: bool,
    ) -> Result<(), HandshakeError> {
        if !matches!(self.peer, PeerShare::Awaited) {
            // Bytes behind the value: a line end that came late, or the first message of a client
            // that was quicker than our computation. They are the session's; a driver that asks
            // `wants_input` brings no more of them.
            return Ok(());
        }
        self.skip_rest(io);
        match self.scan(&io.input, is_over)? {
            Scan::Unfinished => {
                if !io.input.is_empty() {
                    io.timer = Some(now + self.timing.stall);
                }
            }
            Scan::MayBeWhole => io.timer = Some(now + self.timing.quiet),
            Scan::Whole { value, text, used } => {
                let by_silence = if is_over { End::Silence } else { End::Itself };
                self.take_share(value, text, used, by_silence, io);
            }
        }
        Ok(())
    }

    /// Drops what comes late of the message before: its line end, and the blanks that may stand behind
    /// the number of a choice, which has ended itself before them.
    fn skip_rest(&self, io: &mut Io) {
        match self.role {
            Role::Client => io.skip_blanks_and_line_end(),
            Role::Server => io.skip_line_end(),
        }
    }

    fn scan(&self, input: &[u8], is_over: bool) -> Result<Scan, HandshakeError> {
        let head = SHARE_HEAD.as_bytes();
        let compared = input.len().min(head.len());
        if input[..compared] != head[..compared] {
            // A server that gives up says so in words; let it finish.
            return match self.role {
                Role::Server => Err(HandshakeError::KeyShare { got: input.to_vec() }),
                Role::Client if is_over || input.contains(&b'\n') => Err(refused(input)),
                Role::Client if input.len() > super::handshake::HANDSHAKE_LIMIT => {
                    Err(HandshakeError::TooLong { limit: super::handshake::HANDSHAKE_LIMIT })
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
            // Bytes right behind a number that ended itself belong to what comes next.
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

    fn ends_here(&self, digits: &[u8]) -> bool {
        let group = self.dialect.group;
        digits.len() + 1 >= group.digits()
            && BigUint::parse_bytes(digits, 10).is_some_and(|value| ends_itself(group, &value))
    }

    /// Takes the outcome of a computation; the keys, once the secret is there.
    pub(super) fn take_outcome(
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
                io.tell_keys(|| {
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
        self.go_on(io);
        Ok(None)
    }

    fn go_on(&mut self, io: &mut Io) {
        let is_checked = matches!(self.peer, PeerShare::Checked(_));
        if let Some(own) = &self.own
            && !self.is_sent
            && (self.role == Role::Client || is_checked)
        {
            // What the client sent until here can only be a late line end: it has no key yet.
            if self.role == Role::Server {
                io.skip_line_end();
            }
            let number = own.public_text();
            let text = format!("{SHARE_HEAD}{number}");
            io.send(self.role, What::Share, &text, self.dialect.line_end);
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

    /// Takes the end of the peer's stream: a public value before it is whole now.
    pub(super) fn read_eof(&mut self, io: &mut Io) -> Result<(), HandshakeError> {
        if self.has_share() {
            return Ok(());
        }
        self.skip_rest(io);
        if !io.input.is_empty()
            && let Scan::Whole { value, text, used } = self.scan(&io.input, true)?
        {
            self.take_share(value, text, used, End::Silence, io);
            return Ok(());
        }
        Err(HandshakeError::Closed { awaited: "the key exchange" })
    }

    /// Takes a number: the first `text` bytes of the input, and a line end up to `used`.
    fn take_share(&mut self, value: BigUint, text: usize, used: usize, end: End, io: &mut Io) {
        io.timer = None;
        let bytes: Vec<u8> = io.input.drain(..used).collect();
        let end = match &bytes[text..] {
            b"\r\n" => End::Line(LineEnd::CrLf),
            b"\n" => End::Line(LineEnd::Lf),
            _ => end,
        };
        io.tell_received(self.role.peer(), What::Share, &bytes[..text], end);
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
    MayBeWhole,
    /// The number, where its text ends, and where its line end does.
    Whole {
        value: BigUint,
        text: usize,
        used: usize,
    },
}
