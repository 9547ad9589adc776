//! One connection among those of its server that have not proved themselves yet.

use std::time::Instant;

use super::control::{Offence, Visitors};

/// The place of a connection among those that have not proved themselves yet. Dropped without a word
/// it counts as an [`Offence::None`].
#[derive(Debug)]
pub struct Admission {
    all: Visitors,
    number: u64,
}

impl Admission {
    pub(in crate::net) fn new(all: Visitors, number: u64) -> Self {
        Self { all, number }
    }

    /// The handshake has come further; `is_known` if the peer has shown that it knows our key or a PSK.
    pub fn advance(&self, is_known: bool) {
        self.all.advance(self.number, is_known);
    }

    /// It is the peer's turn to say something.
    pub(in crate::net) fn await_peer(&self) {
        self.all.await_peer(self.number);
    }

    /// The peer has closed its side, and may still read.
    pub(in crate::net) fn abandon(&self) {
        self.all.abandon(self.number);
    }

    /// The handshake is over, and the peer may be anybody: the connection stays unless there is no room
    /// left and it never says a word.
    pub fn await_word(&self) {
        self.all.await_word(self.number);
    }

    /// The peer is who it says it is, or has said something that only it can say: the connection stays.
    pub fn establish(&self) {
        self.all.establish(self.number);
    }

    /// The handshake is over because of this; its source pays for it.
    pub fn offend(&self, offence: Offence) {
        self.all.offend(self.number, Some(offence), Instant::now());
    }

    /// The handshake is over, and nobody is to blame.
    pub fn excuse(&self) {
        self.all.offend(self.number, None, Instant::now());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.all.leave(self.number, Instant::now());
    }
}
