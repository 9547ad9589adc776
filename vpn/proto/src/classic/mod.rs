//! The classic profile: the protocol of the assignment and of the programs that speak it
//! (PROTOCOL.md §3).

mod advice;
mod dialect;
mod exchange;
mod handshake;
mod keys;
mod message;
mod note;
mod session;

pub use advice::{Advice, Story, Trouble};
pub use dialect::{Chaining, Dialect, DialectPlan, LineEnd, MacRule, ReplyForm, Strip};
pub use handshake::{
    ClassicParams, ClientHandshake, Event, HANDSHAKE_LIMIT, Handshake, ServerHandshake, Timing,
};
pub use keys::{SHARED_KEY_LEN, SessionKeys, SharedKey};
pub use message::{OpenError, Opener, PAD_TO, Rest, Sealer, TAG_DIGITS};
pub use note::{End, Established, Message, Note, Reply, Role, Spoken, Telling, What};
pub use session::{ClientSession, REPLY_PREFIX, ServerSession};

/// How a proposal is written, for messages.
pub(super) const PROPOSAL_FORM: &str = "ProposedCiphers:NAME:[BITS,...],...";
/// How a choice is written, for messages.
pub(super) const CHOICE_FORM: &str = "ChosenCipher:NAME:BITS";
/// How a public value is written, for messages.
pub(super) const SHARE_FORM: &str = "DHMKE:NUMBER";
