//! The classic profile: the protocol of an assignment, and of the programs that implement it
//! (PROTOCOL.md §3).
//!
//! A [`ClientHandshake`] and a [`ServerHandshake`] agree on a cipher and on keys. They become a
//! [`ClientSession`] and a [`ServerSession`], which exchange texts and replies. A [`Dialect`] holds
//! the differences between existing programs.

mod advice;
mod dialect;
pub(crate) mod error;
mod handshake;
mod io;
mod keys;
mod mac;
pub(crate) mod negotiate;
mod note;
mod opener;
mod params;
mod sealer;
mod session;
mod tag;

pub use crate::role::Role;
pub use advice::{Advice, Diagnosis, Trouble};
pub use dialect::{Chaining, Dialect, DialectPlan, LineEnd, MacRule, ReplyForm, Strip};
pub use handshake::{ClientHandshake, Handshake, ServerHandshake};
pub use io::Event;
pub use keys::{SHARED_KEY_LEN, SessionKeys, SharedKey};
pub use note::{End, Established, HandshakeMessage, Message, MessageKind, Note, Reply, Telling};
pub use opener::{OpenError, Opener, Remainder};
pub use params::{ClassicParams, HANDSHAKE_LIMIT, Timing};
pub use sealer::{PAD_TO, Sealer};
pub use session::{ClientSession, REPLY_PREFIX, ServerSession};
pub use tag::TAG_DIGITS;
