//! The pings of a session, and how long their answers take.

use std::time::{Duration, Instant};

/// The pings that were sent last, and the shortest time until an answer.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// The number of the last ping, and when it was sent.
    last: u64,
    sent: Option<Instant>,
    shortest: Option<Duration>,
}

impl Pings {
    /// The payload of a new ping.
    pub(super) fn next(&mut self, now: Instant) -> [u8; 8] {
        self.last += 1;
        self.sent = Some(now);
        self.last.to_be_bytes()
    }

    /// Handles an answer. Only that to the last ping says how long it took.
    pub(super) fn handle_pong(&mut self, payload: &[u8], now: Instant) {
        if payload == self.last.to_be_bytes()
            && let Some(sent) = self.sent.take()
        {
            let time = now.saturating_duration_since(sent);
            self.shortest = Some(self.shortest.map_or(time, |known| known.min(time)));
        }
    }

    /// The shortest time from a ping to its answer.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
