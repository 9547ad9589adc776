//! Parameters of a session: suites, dialect, times and limits.

use std::sync::Arc;
use std::time::Duration;

use super::dialect::DialectPlan;
use super::note::Telling;
use crate::suite::EnabledSuite;

/// The longest handshake message in bytes. A `DHMKE:` message of group 18 has 2,473 bytes, a
/// proposal of all suites has some hundreds.
pub const HANDSHAKE_LIMIT: usize = 4096;

/// How long a side waits before silence has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence that ends a message without a visible end.
    pub quiet: Duration,
    /// Silence that ends a proposal if no further entry could change the choice.
    pub settled: Duration,
    /// Silence after which an unfinished message counts as malformed.
    pub stall: Duration,
    /// How long a client waits for an answer before it sends a single line feed.
    pub probe: Duration,
    /// How long one message may take from its first byte to its last.
    pub message: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            // A delayed acknowledgement can hold a line end back for 40 ms.
            settled: Duration::from_millis(50),
            stall: Duration::from_secs(2),
            probe: Duration::from_millis(1500),
            message: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// The times for a peer on this machine. Its writes are acknowledged at once, so a line end
    /// comes late only if the scheduler is busy, or if the peer is the end of a tunnel.
    #[must_use]
    pub fn without_network(self) -> Self {
        Self { settled: self.settled.min(Duration::from_millis(20)), ..self }
    }
}

/// The parameters of both roles.
#[derive(Clone, Debug)]
pub struct ClassicParams {
    /// The enabled suites, in order of preference.
    pub enabled: Arc<[EnabledSuite]>,
    /// The dialect, or how to find it.
    pub plan: DialectPlan,
    /// The times.
    pub timing: Timing,
    /// The longest ciphertext of a message in bytes.
    pub message_limit: usize,
    /// Which [`Note`](super::Note)s the session makes.
    pub telling: Telling,
}
