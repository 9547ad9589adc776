//! How often one source connects, and its penalties.

use std::time::{Duration, Instant};

use crate::net::limits::{MINUTE, SourceLimits};

/// Why a new connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::net) enum Refused {
    /// All sessions are in use by clients that have authenticated.
    #[error("all sessions are taken")]
    Full,
    /// There is little room left, and the source opened too many connections within a minute.
    #[error("its source opens connections too often while there is little room")]
    Rate,
    /// There is little room left, and the source is penalised for this much longer.
    #[error("its source is penalised for {} more seconds while there is little room", .0.as_secs() + 1)]
    Penalty(Duration),
}

/// A token bucket for new connections of one source, and the penalties of the source.
#[derive(Debug)]
pub(super) struct SourceRecord {
    /// How many connections the source could open at the time `updated`.
    tokens: f64,
    updated: Instant,
    /// When the sum of the penalties is over.
    penalised_until: Instant,
    /// Whether that sum has reached [`SourceLimits::penalty_min`], below which it is not enforced.
    is_penalised: bool,
}

impl SourceRecord {
    /// The record of a source that was not seen before.
    pub(super) fn new(now: Instant, limits: &SourceLimits) -> Self {
        let tokens = f64::from(limits.new_per_minute);
        Self { tokens, updated: now, penalised_until: now, is_penalised: false }
    }

    /// Counts a new connection.
    ///
    /// # Errors
    ///
    /// Why the source is too busy, for the case that there is no room for the connection.
    pub(super) fn count(&mut self, now: Instant, limits: &SourceLimits) -> Result<(), Refused> {
        self.refill(now, limits);
        let penalty = self.penalised_until.saturating_duration_since(now);
        self.is_penalised &= !penalty.is_zero();
        let has_token = self.tokens >= 1.0;
        if has_token {
            self.tokens -= 1.0;
        }
        match (self.is_penalised, has_token) {
            (true, _) => Err(Refused::Penalty(penalty)),
            (false, false) => Err(Refused::Rate),
            (false, true) => Ok(()),
        }
    }

    fn refill(&mut self, now: Instant, limits: &SourceLimits) {
        let capacity = f64::from(limits.new_per_minute);
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + passed * capacity / MINUTE.as_secs_f64()).min(capacity);
        self.updated = now;
    }

    /// Adds a penalty, up to the cap.
    pub(super) fn penalise(&mut self, penalty: Duration, now: Instant, limits: &SourceLimits) {
        let until = self.penalised_until.max(now) + penalty;
        self.penalised_until = until.min(now + limits.penalty_cap);
        if self.penalised_until.duration_since(now) >= limits.penalty_min {
            self.is_penalised = true;
        }
    }

    /// Whether a penalty was enforced when the record last changed.
    #[cfg(test)]
    pub(super) fn is_penalised(&self) -> bool {
        self.is_penalised
    }
}
