//! Every limit of the network side, with its reason (PROTOCOL.md §3.7, §4.7).

use std::time::Duration;

/// A handshake that takes longer is given up: the slowest peers known need 3 s to compute.
pub const HANDSHAKE: Duration = Duration::from_secs(20);
/// A handshake of the sealed profile that takes longer is given up.
pub const SEALED_HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a server waits for the first byte, which decides the profile.
pub const FIRST_BYTE: Duration = Duration::from_secs(5);
/// A session in which nothing happens for this long is closed.
pub const IDLE: Duration = Duration::from_secs(15 * 60);
/// A client waits this long for a reply; servers with a residue test need up to 3 s at the start.
pub const REPLY: Duration = Duration::from_secs(30);
/// A client tries one address of a name for this long before it goes on to the next.
pub const CONNECT: Duration = Duration::from_secs(10);
/// Sessions served at once, handshakes included; a further client is told so and closed.
pub const SESSIONS: usize = 1024;
/// The longest ciphertext of a message in bytes.
pub const MESSAGE: usize = 64 * 1024;
/// How long sessions may go on with what they are doing once the server was told to stop.
pub const SHUTDOWN: Duration = Duration::from_secs(5);
/// Bytes taken from a socket in one read.
pub const READ: usize = 16 * 1024;
/// How long the last words of a refusal may take to be sent.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// Lines that may wait to be printed before sessions have to wait.
pub const LINES: usize = 256;

/// The limits that a configuration can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`HANDSHAKE`].
    pub handshake: Duration,
    /// See [`IDLE`].
    pub idle: Duration,
    /// See [`SESSIONS`].
    pub sessions: usize,
    /// See [`MESSAGE`].
    pub message: usize,
    /// How many Diffie-Hellman computations run at once.
    ///
    /// One core is left free, so that a flood of handshakes cannot stop established sessions.
    pub dh_workers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            handshake: HANDSHAKE,
            idle: IDLE,
            sessions: SESSIONS,
            message: MESSAGE,
            dh_workers: cores.saturating_sub(1).max(1),
        }
    }
}
