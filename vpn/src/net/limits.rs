//! Every limit of the network side, with its reason (PROTOCOL.md §3.7, §4.7).
//!
//! Sizes are in bytes. A configuration can change those limits that are fields of [`Limits`].

use std::time::Duration;

/// The longest time of a classic handshake. The slowest known peers need 3 s to compute.
pub const HANDSHAKE: Duration = Duration::from_secs(20);
/// The longest time of a sealed handshake.
pub const SEALED_HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a server waits for the first byte, which decides the profile.
pub const FIRST_BYTE: Duration = Duration::from_secs(5);
/// A session is closed when nothing happens in it for this time.
pub const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a client waits for a reply. Servers with a residue test need up to 3 s at the start.
pub const REPLY: Duration = Duration::from_secs(30);
/// How long a client tries one address of a name before it gives that address up.
pub const CONNECT: Duration = Duration::from_secs(10);
/// The longest path of a unix socket, in bytes (unix(7): sun_path, without the zero at its end).
pub const SOCKET_PATH: usize = 107;
/// Sessions at once, handshakes included. A further client gets a busy message and is closed.
pub const SESSIONS: usize = 1024;
/// The longest ciphertext of a classic message.
pub const MESSAGE: usize = 64 * 1024;
/// How long sessions may continue after the server was told to stop.
pub const SHUTDOWN: Duration = Duration::from_secs(5);
/// The size of one read from a socket during a handshake or a classic session.
pub const READ: usize = 16 * 1024;
/// How long the last message of a connection (a refusal, an alert) may take to be sent, and how long
/// a close waits for the peer to close too.
pub const CLOSE: Duration = Duration::from_secs(2);
/// Unused key pairs that are kept for each group. A burst of this many handshakes needs no new ones.
pub const SPARE_PAIRS: usize = 16;

/// How many computations of sealed handshakes may wait. A client that finds no place is told
/// `busy`.
pub const QUEUE: usize = 64;
/// How many computations of classic handshakes may wait. This many are done in half of the time that
/// a handshake may take.
pub const CLASSIC_QUEUE: usize = 512;
/// The next computation is a classic one when sealed computations have taken this much time while
/// classic ones waited. One classic computation takes a third of it.
pub const CLASSIC_TURN: Duration = Duration::from_millis(75);
/// A queue whose oldest entry has waited for this time is overloaded. Its newest entry is served
/// first then, so that some are served in time.
pub const OVERLOAD: Duration = Duration::from_millis(500);
/// The time in which the computing time that a source has used decays to about a third.
pub const USAGE_DECAY: Duration = Duration::from_secs(20);
/// A handshake that has just made progress counts as this much younger when one has to be evicted.
pub const PROGRESS_CREDIT: Duration = Duration::from_millis(250);
/// The same for a client that knows our key or a PSK.
pub const KNOWN_CLIENT_CREDIT: Duration = Duration::from_secs(10);
/// A source (an IPv4 address, an IPv6 /64) with this many handshakes under way counts as too busy.
pub const HALF_OPEN: usize = 8;
/// A source that opens more connections than this in a minute counts as too busy.
pub const NEW_PER_MINUTE: u32 = 20;
/// How long a source counts as too busy after a failed authentication.
pub const PENALTY_AUTHENTICATION: Duration = Duration::from_secs(5);
/// The same after a connection that ended before it authenticated.
pub const PENALTY_NONE: Duration = Duration::from_secs(1);
/// The same after a violation of the protocol.
pub const PENALTY_PROTOCOL: Duration = Duration::from_secs(30);
/// The penalties of a source add up to this at most.
pub const PENALTY_CAP: Duration = Duration::from_secs(600);
/// Penalties below this are remembered and not enforced. `vpn probe`, or a user who takes time to
/// check a new key, costs a second or two and has to be able to come back at once.
pub const PENALTY_MIN: Duration = Duration::from_secs(5);
/// When connections are dropped early, as with sshd's MaxStartups: start, percent, full.
///
/// From `start` handshakes under way, a new one replaces another one. If all sources have equally
/// many, it does so with a chance of `percent`, which rises to 100 at `full`. So there are never more
/// than `full`.
pub const EARLY_DROP: (usize, u32, usize) = (64, 30, 256);
/// Sources that are remembered. Each takes some 200 bytes.
pub const SOURCES: usize = 65_536;
/// Accepted gate values that are remembered. Each takes some 100 bytes.
pub const GATES: usize = 16_384;
/// The time that [`NEW_PER_MINUTE`] is counted over.
pub const MINUTE: Duration = Duration::from_secs(60);
/// Memory for long messages of all sealed sessions together.
pub const MESSAGE_MEMORY: usize = 64 * 1024 * 1024;
/// A session ends if a long message is not complete in this time. Others wait for its memory.
pub const MESSAGE_TIME: Duration = Duration::from_secs(60);
/// The longest message of a sealed session (PROTOCOL.md §4.9).
pub const SEALED_MESSAGE: usize = 1 << 20;
/// The most that a session of the message service reads at once. It holds a few times this much.
pub const MESSAGE_READ: usize = 32 * 1024;
/// Sessions at once of one client key, unless its line in `authorized_clients` says otherwise.
pub const SESSIONS_OF_A_KEY: usize = 128;
/// How long a client of a SOCKS proxy may take to say what it wants.
pub const SOCKS: Duration = Duration::from_secs(10);
/// A sealed client sends a ping when it has sent no record for this time.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// A peer that has to send pings is gone when nothing came from it for this many ping intervals.
pub const KEEPALIVES_MISSED: u32 = 3;

/// The memory for bytes of channels that their targets have not taken, of all sessions together. Each
/// channel reserves at least 64 KiB of it.
pub const CHANNEL_BYTES: usize = 512 * 1024 * 1024;
/// How many addresses a session may listen at.
pub const LISTENERS: usize = 64;
/// A connection with channels is dead when the peer's system acknowledges nothing for this time.
pub const USER_TIMEOUT: Duration = Duration::from_secs(15);

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
    /// One core stays free by default, so that a flood of handshakes cannot stop established sessions.
    pub dh_workers: usize,
    /// See [`QUEUE`].
    pub queue: usize,
    /// See [`FIRST_BYTE`].
    pub first_byte: Duration,
    /// See [`SEALED_HANDSHAKE`].
    pub sealed_handshake: Duration,
    /// See [`KEEPALIVE`].
    pub keepalive: Duration,
    /// See [`MESSAGE_MEMORY`].
    pub message_memory: usize,
    /// See [`CHANNEL_BYTES`].
    pub channel_bytes: usize,
    /// When a client makes fresh keys: after this many bytes in both directions together, and after
    /// this time. `None` leaves it to the sealed profile, whose own limits always hold (PROTOCOL.md §4.5).
    pub rekey: (Option<u64>, Option<Duration>),
    /// What each source may do.
    pub sources: SourceLimits,
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
            queue: QUEUE,
            first_byte: FIRST_BYTE,
            sealed_handshake: SEALED_HANDSHAKE,
            keepalive: KEEPALIVE,
            message_memory: MESSAGE_MEMORY,
            channel_bytes: CHANNEL_BYTES,
            rekey: (None, None),
            sources: SourceLimits::DEFAULT,
        }
    }
}

/// What one source, and all sources together, may do before they authenticate. It holds on servers
/// that speak the sealed profile (PROTOCOL.md §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLimits {
    /// See [`HALF_OPEN`].
    pub half_open: usize,
    /// See [`NEW_PER_MINUTE`].
    pub new_per_minute: u32,
    /// See [`PENALTY_AUTHENTICATION`].
    pub penalty_authentication: Duration,
    /// See [`PENALTY_NONE`].
    pub penalty_none: Duration,
    /// See [`PENALTY_PROTOCOL`].
    pub penalty_protocol: Duration,
    /// See [`PENALTY_CAP`].
    pub penalty_cap: Duration,
    /// See [`PENALTY_MIN`].
    pub penalty_min: Duration,
    /// See [`EARLY_DROP`].
    pub early_drop: (usize, u32, usize),
}

impl SourceLimits {
    /// The limits without a configuration.
    pub const DEFAULT: Self = Self {
        half_open: HALF_OPEN,
        new_per_minute: NEW_PER_MINUTE,
        penalty_authentication: PENALTY_AUTHENTICATION,
        penalty_none: PENALTY_NONE,
        penalty_protocol: PENALTY_PROTOCOL,
        penalty_cap: PENALTY_CAP,
        penalty_min: PENALTY_MIN,
        early_drop: EARLY_DROP,
    };

    /// The chance, in percent, that a new connection replaces another one while `half_open` handshakes
    /// are under way and all sources have equally many. See [`EARLY_DROP`].
    pub fn drop_chance(&self, half_open: usize) -> u32 {
        let (start, percent, full) = self.early_drop;
        if half_open < start {
            0
        } else if half_open >= full {
            100
        } else {
            let share = (half_open - start) * (100 - percent as usize) / (full - start);
            percent + u32::try_from(share).unwrap_or(100)
        }
    }
}
