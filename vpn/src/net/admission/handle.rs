//! The admission of one connection.

use std::time::Instant;

use super::offence::Offence;
use super::table::SharedTable;

/// The entry of one connection in [`AdmissionControl`](super::AdmissionControl).
///
/// The session reports its progress here. A connection that is evicted gets no further service: its
/// server drops the future that serves it.
///
/// If it is dropped without any other report, it counts as [`Offence::NoAuth`].
#[derive(Debug)]
pub struct Admission {
    table: SharedTable,
    id: u64,
}

impl Admission {
    pub(super) fn new(table: SharedTable, id: u64) -> Self {
        Self { table, id }
    }

    /// The handshake has made progress. `is_known` is true if the peer has shown that it knows our
    /// key or a PSK.
    pub fn advance(&self, is_known: bool) {
        self.table.lock().advance(self.id, is_known);
    }

    /// The server has sent its message, and the peer has to answer.
    pub(in crate::net) fn await_peer(&self) {
        self.table.lock().await_peer(self.id);
    }

    /// The peer has closed its side of the connection. It may still read.
    pub(in crate::net) fn peer_closed(&self) {
        self.table.lock().close(self.id);
    }

    /// The handshake is complete and has not authenticated the peer, as in the classic profile. The
    /// connection can still be evicted until [`Admission::establish`].
    pub fn await_first_message(&self) {
        self.table.lock().await_first_message(self.id);
    }

    /// The peer is authenticated, or has sent a valid first message. The connection cannot be evicted
    /// any more.
    pub fn establish(&self) {
        self.table.lock().remove(self.id);
    }

    /// The handshake has failed, and the source is penalised for this offence. Only the first report
    /// of [`Admission::penalise`] or [`Admission::excuse`] counts.
    pub fn penalise(&self, offence: Offence) {
        self.table.lock().fail(self.id, Some(offence), Instant::now());
    }

    /// The handshake has failed, and the source is not penalised.
    pub fn excuse(&self) {
        self.table.lock().fail(self.id, None, Instant::now());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.table.lock().leave(self.id, Instant::now());
    }
}
