//! The pings of a session, and how long their answers take.

use std::time::{Duration, Instant};

/// How long a measurement counts, at least; at most twice as long.
const RECENT: Duration = Duration::from_millis(500);

/// The pings that were sent last, and the shortest time until an answer of late.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// The number of the last ping, and when it was sent.
    last: u64,
    sent: Option<Instant>,
    /// When the last ping was sent, with or without an answer.
    begun: Option<Instant>,
    /// The shortest times in the present span of time and in the one before, and when the present one
    /// began.
    now: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
}

impl Pings {
    /// The payload of a new ping.
    pub(super) fn next(&mut self, now: Instant) -> [u8; 8] {
        self.last += 1;
        self.sent = Some(now);
        self.begun = Some(now);
        self.last.to_be_bytes()
    }

    /// Whether the last ping has its answer and was sent before this time.
    pub(super) fn may_measure(&self, than: Duration, now: Instant) -> bool {
        let is_old = |begun: Instant| now.saturating_duration_since(begun) >= than;
        self.sent.is_none() && self.begun.is_none_or(is_old)
    }

    /// Handles an answer. Only that to the last ping says how long it took.
    pub(super) fn handle_pong(&mut self, payload: &[u8], now: Instant) {
        if payload != self.last.to_be_bytes() {
            return;
        }
        let Some(sent) = self.sent.take() else { return };
        let time = now.saturating_duration_since(sent);
        if now.saturating_duration_since(*self.since.get_or_insert(now)) >= RECENT {
            self.before = self.now.take();
            self.since = Some(now);
        }
        self.now = Some(self.now.map_or(time, |known| known.min(time)));
    }

    /// The shortest time from a ping to its answer, of the last second.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.now.into_iter().chain(self.before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_becomes_slower_is_noticed() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        let mut measure = |at_ms: u64, took_ms: u64| {
            let at = start + Duration::from_millis(at_ms);
            let ping = pings.next(at);
            pings.handle_pong(&ping, at + Duration::from_millis(took_ms));
            pings.round_trip().unwrap().as_millis()
        };
        assert_eq!(measure(0, 1), 1);
        assert_eq!(measure(200, 50), 1);
        assert_eq!(measure(600, 50), 1);
        assert_eq!(measure(1_200, 50), 50);
        assert_eq!(measure(1_300, 2), 2);
    }

    #[test]
    fn the_shortest_answer_counts_and_each_ping_has_one() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        let first = pings.next(start);
        pings.handle_pong(b"other", after(1));
        assert_eq!(pings.round_trip(), None);
        pings.handle_pong(&first, after(50));
        pings.handle_pong(&first, after(60));
        assert_eq!(pings.round_trip(), Some(Duration::from_millis(50)));
        let late = pings.next(after(100));
        let second = pings.next(after(200));
        pings.handle_pong(&late, after(201));
        pings.handle_pong(&second, after(220));
        assert_eq!(pings.round_trip(), Some(Duration::from_millis(20)));
    }
}
