//! Every limit of the network side, with its reason (PROTOCOL.md §3.7, §4.7).

use std::time::Duration;

use super::admission::Offence;

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
/// Unused key pairs kept for each group: a burst of so many handshakes is spared making them.
pub const SPARE_PAIRS: usize = 16;

/// Computations of sealed handshakes that may wait for their turn; who has to go hears `busy`.
pub const QUEUE: usize = 64;
/// Computations of classic handshakes that may wait for their turn: what is done in half the time
/// that a handshake may take.
pub const CLASSIC_QUEUE: usize = 512;
/// After so much sealed computing while classic work waits, it is classic work's turn: three times
/// what one classic computation takes.
pub const CLASSIC_TURN: Duration = Duration::from_millis(75);
/// Once the first of a line has waited for so long, the last one goes first.
pub const STANDING: Duration = Duration::from_millis(500);
/// For how long it counts that a source has had computing time: after this time a third is left of it.
pub const USE: Duration = Duration::from_secs(20);
/// Where a handshake has to make room, one that has just come further counts as so much younger.
pub const HEARD: Duration = Duration::from_millis(250);
/// The same for a client that knows our key or a PSK.
pub const KNOWN: Duration = Duration::from_secs(10);
/// Handshakes of one source (an IPv4 address, an IPv6 /64) under way at once, beyond which it counts as
/// too busy.
pub const HALF_OPEN: usize = 8;
/// New connections of one source in a minute, beyond which it counts as too busy.
pub const NEW_PER_MINUTE: u32 = 20;
/// For how long a source counts as too busy after a failed authentication.
pub const PENALTY_AUTHENTICATION: Duration = Duration::from_secs(5);
/// The same after a connection that went without authenticating.
pub const PENALTY_NONE: Duration = Duration::from_secs(1);
/// The same after a breach of the protocol.
pub const PENALTY_PROTOCOL: Duration = Duration::from_secs(30);
/// Penalties of a source add up to no more than this.
pub const PENALTY_CAP: Duration = Duration::from_secs(600);
/// Penalties below this are remembered and not enforced: a probe, or a user who takes his time over
/// a new key, costs a second or two and has to be able to come again at once.
pub const PENALTY_MIN: Duration = Duration::from_secs(5);
/// From so many handshakes under way on, each new one takes the place of another. Where all sources have
/// equally many, that happens by chance: with this many percent there, rising to all at the last
/// number (as sshd's MaxStartups); so there are never more than that.
pub const EARLY_DROP: (usize, u32, usize) = (64, 30, 256);
/// Sources that are remembered, some 200 bytes each.
pub const SOURCES: usize = 65_536;
/// Accepted gate values that are remembered, some 100 bytes each.
pub const GATES: usize = 16_384;
/// The time that [`NEW_PER_MINUTE`] is about.
pub const MINUTE: Duration = Duration::from_secs(60);
/// Memory for long messages of sealed sessions, of all of them together, in bytes.
pub const MESSAGE_MEMORY: usize = 64 * 1024 * 1024;
/// A long message that is not there in this time ends its session: others wait for its memory.
pub const MESSAGE_TIME: Duration = Duration::from_secs(60);
/// The longest message of a sealed session in bytes (PROTOCOL.md §4.9).
pub const SEALED_MESSAGE: usize = 1 << 20;
/// How much a session of messages reads at once; it holds a few times that.
pub const MESSAGE_READ: usize = 32 * 1024;
/// Sessions at once of a client's key that `authorized_clients` does not limit otherwise.
pub const SESSIONS_OF_A_KEY: usize = 128;
/// After how long without a record of its own a client of the sealed profile sends a ping.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// A peer that was to send pings and was not heard of for this many times that long is gone.
pub const KEEPALIVES_MISSED: u32 = 3;

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
    /// When a client makes fresh keys, if earlier than the sealed profile wants: after so many bytes both
    /// ways, and after so much time.
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
            rekey: (None, None),
            sources: SourceLimits::DEFAULT,
        }
    }
}

/// What one source, and all of them together, may do before they are authenticated, on servers
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
    /// What holds unless the configuration says otherwise.
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

    /// What an offence costs.
    pub fn penalty(&self, offence: Offence) -> Duration {
        match offence {
            Offence::Authentication => self.penalty_authentication,
            Offence::None => self.penalty_none,
            Offence::Protocol => self.penalty_protocol,
        }
    }

    /// The chance in percent that a new connection takes the place of one of equals when so many
    /// handshakes are under way.
    pub fn drop_chance(&self, half_open: usize) -> u32 {
        let (start, rate, full) = self.early_drop;
        if half_open < start {
            0
        } else if half_open >= full {
            100
        } else {
            let share = (half_open - start) * (100 - rate as usize) / (full - start);
            rate + u32::try_from(share).unwrap_or(100)
        }
    }
}
