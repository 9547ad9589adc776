//! What keeps a session with channels alive.

use crate::net::Multiplexer;

/// Holds a session. When it is dropped, the session ends as soon as its channels are over.
#[derive(Debug)]
pub(super) struct Held(pub(super) Multiplexer);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.finish();
    }
}
