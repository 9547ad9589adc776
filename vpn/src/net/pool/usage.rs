//! How much computing time each source has used lately.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use crate::net::limits::{SOURCES, USAGE_DECAY};
use crate::net::lru::LruMap;
use crate::net::source::{Prefix, Source};

/// The logarithm of the computing time used, with exponential decay.
///
/// Old use has to count less and less. Instead of reducing all values as time passes, later use is
/// added with a greater weight. So the order of two values changes only when one of them is added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage(f64);

impl Usage {
    const NONE: Self = Self(f64::NEG_INFINITY);

    /// The usage of both together.
    fn plus(self, other: Self) -> Self {
        let (less, more) = if self < other { (self, other) } else { (other, self) };
        if less == Self::NONE { more } else { Self(more.0 + (less.0 - more.0).exp().ln_1p()) }
    }
}

impl Eq for Usage {}

impl PartialOrd for Usage {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Usage {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The usage of each source, and of the networks around it.
#[derive(Debug)]
pub(super) struct UsageTable {
    used: LruMap<Prefix, Usage>,
    start: Instant,
}

impl Default for UsageTable {
    fn default() -> Self {
        Self { used: LruMap::new(SOURCES), start: Instant::now() }
    }
}

impl UsageTable {
    /// Adds the time that a computation of this source took.
    pub(super) fn charge(&mut self, source: Source, spent: Duration, now: Instant) {
        let spent = spent.max(Duration::from_micros(1)).as_secs_f64().ln();
        let age = now.saturating_duration_since(self.start).as_secs_f64();
        let weight = age / USAGE_DECAY.as_secs_f64();
        for prefix in source.prefixes() {
            let usage = self.used.entry(prefix, || Usage::NONE);
            *usage = usage.plus(Usage(spent + weight));
        }
    }

    /// The usage of a source, or of a network around it if that has used more than its share. A network
    /// may use a few times as much as one source.
    pub(super) fn of(&self, source: Source) -> Usage {
        let shares: [f64; 3] = [16.0, 4.0, 1.0];
        let usages = source.prefixes().into_iter().zip(shares).map(|(prefix, share)| {
            Usage(self.used.get(&prefix).map_or(Usage::NONE, |usage| *usage).0 - share.ln())
        });
        usages.max().unwrap_or(Usage::NONE)
    }
}
