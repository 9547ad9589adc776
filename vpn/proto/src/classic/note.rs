//! What happens in a session, told in notes: for a running commentary and for key logs.
//!
//! Nothing is noted unless [`ClassicParams::telling`](super::ClassicParams::telling) asks for it.

use super::super::negotiate::{Candidate, Choice, SuiteId};
use super::dialect::{Chaining, Dialect, LineEnd, MacRule};
use super::keys::SessionKeys;

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that connects and speaks first.
    Client,
    /// The end that listens.
    Server,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// `client` or `server`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// How much of a session is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    /// Nothing.
    #[default]
    Nothing,
    /// [`Note::Established`] alone.
    Keys,
    /// Everything.
    Everything,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Note {
    /// What there was to choose from, as far as this side knows, and what the server chose.
    Candidates {
        /// What there was.
        list: Vec<Candidate>,
        /// What it chose, if there was something in common.
        chosen: Option<Choice>,
    },
    /// The dialect of the rest of the session is settled.
    Dialect(Dialect),
    /// Both sides have the keys.
    Established(Box<Established>),
    /// A message of the handshake, or a refusal, went over the wire.
    Handshake(Spoken),
    /// The client's n-th message went over the wire; on the server, after it was verified.
    Message(Message),
    /// The HMAC that was refused is right by the other rule.
    OtherRuleFits(MacRule),
    /// The server's reply to a message went over the wire.
    Reply(Reply),
}

/// A message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Who sent it.
    pub from: Role,
    /// What it is.
    pub what: What,
    /// All of its bytes, line end included.
    pub bytes: Vec<u8>,
    /// Where it ends.
    pub end: End,
}

/// The messages of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The server's choice of a cipher.
    Choice,
    /// A line feed alone, for servers that wait for the end of a line.
    LineFeed,
    /// The client's list of ciphers.
    Proposal,
    /// Why the server gives up.
    Refusal,
    /// A Diffie-Hellman public value.
    Share,
}

/// How the end of a message is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing could follow.
    Itself,
    /// By a line end.
    Line(LineEnd),
    /// By silence, or by the end of the stream.
    Silence,
}

/// The keys of a session and what a capture of it knows it by. Wiped on drop.
#[derive(Clone, Debug)]
pub struct Established {
    /// The suite.
    pub id: SuiteId,
    /// The dialect.
    pub dialect: Dialect,
    /// Key and IV.
    pub keys: SessionKeys,
    /// The client's public value, in decimal as on the wire.
    pub client_share: String,
    /// The server's.
    pub server_share: String,
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number, from 1.
    pub number: u64,
    /// Whole blocks.
    pub ciphertext: Vec<u8>,
    /// The HMAC as it is on the wire: 64 hexadecimal digits.
    pub tag: Vec<u8>,
    /// What the HMAC covers, if that is known yet.
    pub rule: Option<MacRule>,
    /// Where the chaining value came from.
    pub chaining: Chaining,
    /// The text.
    pub text: Vec<u8>,
    /// The text is no UTF-8, and would be if CBC went on like this.
    pub garbled_unless: Option<Chaining>,
}

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The number of the message that it answers.
    pub number: u64,
    /// As on the wire.
    pub bytes: Vec<u8>,
    /// Without prefix, filling and line end.
    pub text: Vec<u8>,
    /// Whether it is the reversed text.
    pub is_expected: bool,
}
