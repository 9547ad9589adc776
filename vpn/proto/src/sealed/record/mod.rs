//! Records (PROTOCOL.md §4.5): CBC encryption, then HMAC-SHA256 over sequence number, length and
//! ciphertext.

mod format;
mod keys;
mod opener;
mod sealer;

pub(super) use format::{ALERT_PAD, HANDSHAKE_PAD, content};
pub use format::{MAX_PAYLOAD, MAX_RECORD};
pub use keys::RecordKeys;
pub use opener::{Opened, RecordOpener};
pub use sealer::RecordSealer;
