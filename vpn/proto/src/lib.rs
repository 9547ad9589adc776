//! The protocol core: no sockets, files, clock, threads or standard streams.
//!
//! Bytes, time and randomness are arguments; bytes, events and deadlines are results.

#![forbid(unsafe_code)]

pub mod classic;
mod dh;
mod error;
mod negotiate;
pub mod sealed;
mod sniff;
mod text;

pub use dh::{
    DhOutcome, DhTask, ExponentSeed, Group, KeyPair, PublicValue, PublicValueError, SharedSecret,
    ends_itself,
};
pub use error::{HandshakeError, SessionError};
pub use negotiate::{
    CHOICE_HEAD, Candidate, Choice, ChoiceError, EnabledSuite, Having, Offer, OfferEntry,
    OfferError, PROPOSAL_HEAD, Selection, Separator, SuiteId, accept, candidates, describe, select,
};
pub use sniff::Profile;
pub use text::Printable;
