//! The pauses between attempts to connect again.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The longest possible first pause.
const FIRST: Duration = Duration::from_millis(500);
/// The longest possible pause.
const LONGEST: Duration = Duration::from_secs(60);
/// The shortest pause. Without it, unlucky draws would make a client try without a pause.
const SHORTEST: Duration = Duration::from_millis(50);

/// Draws a pause before each attempt: exponential backoff with full jitter, so that clients that lost
/// their server at the same time do not come back at the same time.
///
/// The pause before attempt `n`, counted from 0, is drawn from 0 to `min(60 s, 0.5 s * 2^n)`, and is
/// 50 ms at least.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    /// The number of pauses since the last success.
    attempts: u32,
}

impl Backoff {
    /// The pauses from the first one on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws the next pause.
    pub fn next_delay(&mut self) -> Duration {
        self.draw(&mut rand::rng())
    }

    /// Begins again with the first pause. Call it after a success that has lasted.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    fn draw(&mut self, rng: &mut impl Rng) -> Duration {
        let factor = 1u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let longest = FIRST.saturating_mul(factor).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        rng.random_range(Duration::ZERO..=longest).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// The longest pauses in milliseconds: the first one, and those after it.
    const LIMITS: [u64; 10] =
        [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000];

    #[test]
    fn pauses_stay_within_limits_that_double_up_to_a_minute() {
        let mut longest = [Duration::ZERO; LIMITS.len()];
        let mut shortest = [Duration::MAX; LIMITS.len()];
        for seed in 0..2000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new();
            for (at, limit) in LIMITS.into_iter().enumerate() {
                let delay = backoff.draw(&mut rng);
                assert!(delay >= SHORTEST && delay <= Duration::from_millis(limit), "{delay:?}");
                longest[at] = longest[at].max(delay);
                shortest[at] = shortest[at].min(delay);
            }
        }
        // The jitter is full: the draws come close to both ends.
        for (at, limit) in LIMITS.into_iter().enumerate() {
            let limit = Duration::from_millis(limit);
            assert!(longest[at] > limit * 9 / 10, "{at}: {:?}", longest[at]);
            assert!(shortest[at] < SHORTEST + limit / 10, "{at}: {:?}", shortest[at]);
        }
    }

    #[test]
    fn a_success_begins_anew_and_many_attempts_do_not_overflow() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        for _ in 0..100 {
            assert!(backoff.draw(&mut rng) <= LONGEST);
        }
        backoff.attempts = u32::MAX;
        assert!(backoff.draw(&mut rng) <= LONGEST);
        backoff.reset();
        assert!(backoff.draw(&mut rng) <= FIRST);
        assert_eq!(backoff.attempts, 1);
        let mut backoff = Backoff::new();
        assert!((SHORTEST..=FIRST).contains(&backoff.next_delay()));
    }
}
