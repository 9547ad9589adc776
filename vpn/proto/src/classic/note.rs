//! Notes: what happens in a session, for explanations and for key logs.
//!
//! [`ClassicParams::telling`](super::ClassicParams::telling) says which notes a session makes.

use super::dialect::{Chaining, Dialect, LineEnd, MacRule};
use super::keys::SessionKeys;
use super::negotiate::{Candidate, Choice};
use crate::role::Role;
use crate::suite::SuiteId;

/// Which notes a session makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    /// None.
    #[default]
    Nothing,
    /// Only [`Note::Established`].
    Keys,
    /// All.
    Everything,
}

/// An event of a session.
#[derive(Clone, Debug)]
pub enum Note {
    /// The server chose. These are the candidates, as far as this side knows them.
    Candidates {
        /// The candidates.
        list: Vec<Candidate>,
        /// The choice. `None` if the sides have nothing in common.
        chosen: Option<Choice>,
    },
    /// The dialect of the rest of the session is known.
    Dialect(Dialect),
    /// Both sides have the keys.
    Established(Box<Established>),
    /// A message of the handshake, or a refusal, was sent or received.
    Handshake(HandshakeMessage),
    /// A message of the client was sent, or was received and verified.
    Message(Message),
    /// A refused HMAC is correct by this other rule.
    OtherRuleFits(MacRule),
    /// A reply of the server was sent or received.
    Reply(Reply),
}

/// A message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeMessage {
    /// The sender.
    pub from: Role,
    /// The kind of message.
    pub kind: MessageKind,
    /// All bytes of the message, with its line end.
    pub bytes: Vec<u8>,
    /// How the receiver knows its end.
    pub end: End,
}

/// The kinds of messages in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// The choice of the server.
    Choice,
    /// A single line feed, for servers that wait for the end of a line.
    LineFeed,
    /// The list of ciphers of the client.
    Proposal,
    /// The reason why the server refuses.
    Refusal,
    /// A Diffie-Hellman public value.
    Share,
}

/// How the receiver of a message knows its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its content: nothing could follow.
    Itself,
    /// By this line end.
    Line(LineEnd),
    /// By silence, or by the end of the stream.
    Silence,
}

/// The keys of a session, and the public values that name it in a packet capture. The keys are
/// wiped on drop.
#[derive(Clone, Debug)]
pub struct Established {
    /// The suite.
    pub id: SuiteId,
    /// The dialect.
    pub dialect: Dialect,
    /// Key and IV.
    pub keys: SessionKeys,
    /// The public value of the client in decimal, as on the wire.
    pub client_share: String,
    /// The public value of the server in decimal, as on the wire.
    pub server_share: String,
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number of the message, from 1.
    pub number: u64,
    /// The ciphertext: whole blocks.
    pub ciphertext: Vec<u8>,
    /// The tag as on the wire: 64 hexadecimal digits.
    pub tag: Vec<u8>,
    /// The HMAC rule, if it is known already.
    pub rule: Option<MacRule>,
    /// The CBC chaining.
    pub chaining: Chaining,
    /// The text, without padding.
    pub text: Vec<u8>,
    /// The text is not UTF-8, but it would be with this chaining.
    pub garbled_unless: Option<Chaining>,
}

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The number of the message that this replies to.
    pub number: u64,
    /// The reply as on the wire.
    pub bytes: Vec<u8>,
    /// The text, without prefix, padding and line end.
    pub text: Vec<u8>,
    /// Whether the text is the reversed text of the message.
    pub is_expected: bool,
}
