//! The limits of a session.

use std::time::Duration;

/// The limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most blocks under one key. The session ends at this limit; at half of it a side changes
    /// its key. `None` is the limit of the profile: 2^(block size in bits / 4) (RFC 4344 §3.2).
    pub blocks_per_key: Option<u64>,
    /// The bytes of both directions after which a new key exchange is due.
    pub bytes_per_exchange: u64,
    /// The time after which a new key exchange is due.
    pub time_per_exchange: Duration,
    /// The time after which a session without a new key exchange ends.
    pub time_without_exchange: Duration,
    /// The most bytes of both directions, for a suite with 64-bit blocks.
    pub bytes_of_small_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            blocks_per_key: None,
            bytes_per_exchange: 64 * GIB,
            time_per_exchange: HOUR,
            time_without_exchange: HOUR.saturating_mul(2),
            bytes_of_small_blocks: 64 * GIB,
        }
    }
}

impl Limits {
    /// The limits of the profile, with new key exchanges after this many bytes and this much time.
    /// Values above those of the profile have no effect.
    #[must_use]
    pub fn rekeying(bytes: Option<u64>, time: Option<Duration>) -> Self {
        let usual = Self::default();
        Self {
            bytes_per_exchange: bytes.unwrap_or(u64::MAX).min(usual.bytes_per_exchange),
            time_per_exchange: time.unwrap_or(Duration::MAX).min(usual.time_per_exchange),
            ..usual
        }
    }

    /// The number of blocks under one key, for this block size in bytes.
    pub(super) fn blocks(&self, block: usize) -> u64 {
        self.blocks_per_key.unwrap_or(1 << (block * 8 / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_under_one_key_follow_rfc_4344() {
        assert_eq!([8, 16].map(|block| Limits::default().blocks(block)), [1 << 16, 1 << 32]);
        let few = Limits { blocks_per_key: Some(7), ..Limits::default() };
        assert_eq!(few.blocks(16), 7);
    }

    #[test]
    fn rekeying_limits_can_only_be_smaller() {
        let usual = Limits::default();
        assert_eq!(Limits::rekeying(None, None), usual);
        let minute = Duration::from_secs(60);
        let early = Limits::rekeying(Some(1 << 20), Some(minute));
        assert_eq!((early.bytes_per_exchange, early.time_per_exchange), (1 << 20, minute));
        let late = Limits::rekeying(Some(u64::MAX), Some(Duration::MAX));
        assert_eq!(late, usual);
    }
}
