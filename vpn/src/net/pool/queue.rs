//! Which computation is next, and which one is dropped when too many wait (PROTOCOL.md §3.7, §4.7).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::lane::{Full, Lane};
use super::priority::{CLASSIC, Priority, SEALED};
use super::usage::UsageTable;
use crate::net::limits::CLASSIC_TURN;
use crate::net::source::Source;

/// A fair queue of computations.
///
/// * Sealed computations go first. But when they have taken [`CLASSIC_TURN`] while classic ones
///   waited, one classic computation is next.
/// * Of the sources, the one that has used the least time lately is next (fair queuing).
/// * Within a source the [`Priority`] decides, and then the order of arrival. If the oldest entry of a
///   priority has waited for [`OVERLOAD`](crate::net::limits::OVERLOAD), the newest one goes first:
///   some are served in time then, instead of all of them too late.
/// * A source without an entry always gets a place. If the lane is full, the source with the most
///   entries loses its last one. If all sources have one entry, the source that has used the most time
///   loses it.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Indexed by [`Priority::lane`].
    lanes: [Lane<T>; 2],
    /// The place of each entry.
    places: HashMap<u64, (Source, Priority)>,
    usage: UsageTable,
    /// The time that sealed computations have taken while classic ones waited.
    classic_waited: Duration,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            lanes: [Lane::default(), Lane::default()],
            places: HashMap::new(),
            usage: UsageTable::default(),
            classic_waited: Duration::ZERO,
        }
    }
}

impl<T> Queue<T> {
    /// Adds a computation, where at most `capacity` of its lane may wait. `number` names it and must
    /// be greater than all numbers before it.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no place for it.
    pub(super) fn push(
        &mut self,
        number: u64,
        source: Source,
        priority: Priority,
        capacity: usize,
        job: T,
    ) -> Result<(), Full> {
        let now = Instant::now();
        let lane = &mut self.lanes[priority.lane()];
        if lane.len() >= capacity {
            let victim = lane.victim(source, priority, now)?;
            self.remove(victim);
        }
        let usage = self.usage.of(source);
        self.lanes[priority.lane()].push(source, usage, (priority, number), (now, job));
        self.places.insert(number, (source, priority));
        Ok(())
    }

    /// Removes a computation, if it still waits. Returns since when it has waited.
    pub(super) fn remove(&mut self, number: u64) -> Option<(Instant, T)> {
        let (source, priority) = self.places.remove(&number)?;
        self.lanes[priority.lane()].remove(source, (priority, number))
    }

    /// Changes the priority of a computation, if it still waits. The lane must stay the same.
    pub(super) fn set_priority(&mut self, number: u64, priority: Priority) {
        let Some((source, old)) = self.places.get(&number).copied() else { return };
        if old.lane() == priority.lane()
            && let Some(entry) = self.remove(number)
        {
            let usage = self.usage.of(source);
            self.lanes[priority.lane()].push(source, usage, (priority, number), entry);
            self.places.insert(number, (source, priority));
        }
    }

    /// Removes the computation that is next.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Source, Priority, T)> {
        let is_classic_first = self.classic_waited >= CLASSIC_TURN;
        let lanes = if is_classic_first { [CLASSIC, SEALED] } else { [SEALED, CLASSIC] };
        let lane = lanes.into_iter().find(|lane| !self.lanes[*lane].is_empty())?;
        if lane == CLASSIC || self.lanes[CLASSIC].is_empty() {
            self.classic_waited = Duration::ZERO;
        }
        let (source, (priority, number)) =
            self.lanes[lane].first(now, |source| self.usage.of(source))?;
        let (_, job) = self.remove(number)?;
        Some((source, priority, job))
    }

    /// Adds the time that a computation took to the usage of its source.
    pub(super) fn charge(
        &mut self,
        source: Source,
        priority: Priority,
        spent: Duration,
        now: Instant,
    ) {
        if priority.lane() == SEALED && !self.lanes[CLASSIC].is_empty() {
            self.classic_waited += spent;
        }
        self.usage.charge(source, spent, now);
    }
}

#[cfg(test)]
impl<T> Queue<T> {
    /// The number of computations that wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The priorities of all that wait, first ones first.
    pub(super) fn priorities(&self) -> Vec<Priority> {
        let mut priorities: Vec<Priority> =
            self.places.values().map(|(_, priority)| *priority).collect();
        priorities.sort_unstable();
        priorities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::limits::{OVERLOAD, USAGE_DECAY};

    fn source(last: u8) -> Source {
        // No two of them share a network.
        Source::of([10, last, 0, 1].into())
    }

    /// A queue, and the number of its last computation.
    #[derive(Default)]
    struct Test {
        queue: Queue<u64>,
        last: u64,
    }

    impl Test {
        /// Adds a computation. Returns its number, or `None` if the lane is full.
        fn push(&mut self, from: u8, priority: Priority, capacity: usize) -> Option<u64> {
            self.last += 1;
            let number = self.last;
            self.queue.push(number, source(from), priority, capacity, number).ok().map(|()| number)
        }

        /// Computes everything that waits. `cost` is the time of each in milliseconds. Returns their
        /// numbers in order.
        fn drain(&mut self, cost: impl Fn(Priority) -> u64) -> Vec<u64> {
            let now = Instant::now();
            std::iter::from_fn(|| {
                let (source, priority, number) = self.queue.pop(now)?;
                self.queue.charge(source, priority, Duration::from_millis(cost(priority)), now);
                Some(number)
            })
            .collect()
        }
    }

    #[test]
    fn sources_take_turns() {
        let mut test = Test::default();
        // Four from one source, then fewer from two others.
        for from in [1, 1, 1, 1, 2, 3, 2] {
            test.push(from, Priority::ClassicPair, 64).unwrap();
        }
        assert_eq!(test.drain(|_| 25), [1, 5, 6, 2, 7, 3, 4]);
        assert!(test.queue.lanes.iter().all(Lane::holds_nothing));
    }

    #[test]
    fn a_newcomer_goes_before_sixty_sources_with_recent_usage() {
        let mut test = Test::default();
        for from in 1..=60 {
            for _ in 0..4 {
                test.push(from, Priority::ClassicPair, 512).unwrap();
            }
        }
        let now = Instant::now();
        for _ in 0..120 {
            let (source, priority, _) = test.queue.pop(now).unwrap();
            test.queue.charge(source, priority, Duration::from_millis(25), now);
        }
        // Both computations of its handshake are next, one after the other.
        for _ in 0..2 {
            let own = test.push(99, Priority::ClassicPair, 512).unwrap();
            let (from, priority, number) = test.queue.pop(now).unwrap();
            assert_eq!((from, number), (source(99), own));
            test.queue.charge(from, priority, Duration::from_millis(20), now);
        }
    }

    #[test]
    fn old_usage_counts_less_than_recent_usage() {
        let mut test = Test::default();
        let start = Instant::now();
        let later = start + USAGE_DECAY * 3;
        test.queue.charge(source(1), Priority::ClassicPair, Duration::from_millis(400), start);
        test.queue.charge(source(2), Priority::ClassicPair, Duration::from_millis(25), later);
        test.push(2, Priority::ClassicPair, 64);
        test.push(1, Priority::ClassicPair, 64);
        assert_eq!(test.drain(|_| 25), [2, 1]);
        // The numbers are still exact enough after ten years.
        let much_later = start + Duration::from_secs(10 * 365 * 86_400);
        test.queue.charge(source(1), Priority::ClassicPair, Duration::from_millis(26), much_later);
        test.queue.charge(source(2), Priority::ClassicPair, Duration::from_millis(25), much_later);
        test.push(1, Priority::ClassicPair, 64);
        test.push(2, Priority::ClassicPair, 64);
        assert_eq!(test.drain(|_| 25), [4, 3]);
    }

    #[test]
    fn all_addresses_of_one_network_together_have_a_few_shares() {
        let mut test = Test::default();
        let now = Instant::now();
        let at = |first, fourth| {
            Source::of(std::net::Ipv6Addr::new(0x2001, first, 0, fourth, 0, 0, 0, 1).into())
        };
        let (of, other) = (|fourth| at(0xdb8, fourth), at(0xdb9, 0));
        for last in 0..256 {
            test.queue.charge(of(last), Priority::ClassicPair, Duration::from_millis(25), now);
        }
        test.queue.charge(other, Priority::ClassicPair, Duration::from_millis(100), now);
        // An address without usage in a busy network, and one with more usage than each address of it.
        test.queue.push(1, of(255), Priority::ClassicPair, 64, 1).unwrap();
        test.queue.push(2, other, Priority::ClassicPair, 64, 2).unwrap();
        assert_eq!(test.drain(|_| 25), [2, 1]);
    }

    #[test]
    fn within_a_source_later_steps_of_a_handshake_go_first() {
        let mut test = Test::default();
        let priorities = [
            Priority::ClassicClosed,
            Priority::ClassicEarly,
            Priority::ClassicSecret,
            Priority::ClassicPair,
            Priority::ClassicCheck,
            Priority::ClassicAwaited,
            Priority::SealedClosed,
            Priority::SealedUnknown,
            Priority::SealedKnown,
            Priority::Session,
        ];
        for priority in priorities {
            test.push(1, priority, 64).unwrap();
        }
        assert_eq!(test.drain(|_| 0), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn under_overload_the_newest_goes_first() {
        let mut test = Test::default();
        for _ in 0..4 {
            test.push(1, Priority::ClassicPair, 64).unwrap();
        }
        let now = Instant::now();
        let pop = |test: &mut Test, at| test.queue.pop(at).unwrap().2;
        assert_eq!(pop(&mut test, now), 1);
        assert_eq!(pop(&mut test, now + OVERLOAD), 4);
        assert_eq!(pop(&mut test, now + OVERLOAD), 3);
    }

    #[test]
    fn sealed_computations_go_first_and_do_not_starve_classic_ones() {
        let mut test = Test::default();
        for _ in 0..2 {
            test.push(1, Priority::ClassicPair, 512).unwrap();
        }
        let sealed: Vec<u64> =
            (0..20).map(|_| test.push(2, Priority::SealedKnown, 64).unwrap()).collect();
        let order = test.drain(|priority| if priority == Priority::ClassicPair { 25 } else { 15 });
        let mut expected = sealed[..5].to_vec();
        expected.push(1);
        expected.extend(&sealed[5..10]);
        expected.push(2);
        expected.extend(&sealed[10..]);
        assert_eq!(order, expected);
    }

    #[test]
    fn a_source_without_an_entry_gets_a_place_in_a_full_queue() {
        let mut test = Test::default();
        for _ in 0..3 {
            test.push(1, Priority::SealedUnknown, 4).unwrap();
        }
        test.push(2, Priority::SealedUnknown, 4).unwrap();
        let newcomer = test.push(3, Priority::SealedUnknown, 4).unwrap();
        // The source with the most entries has lost its last one.
        assert_eq!(test.queue.len(), 4);
        assert_eq!(test.drain(|_| 1), [1, 4, newcomer, 2]);
    }

    #[test]
    fn a_full_queue_of_single_entries_drops_that_of_the_source_with_the_most_usage() {
        let mut test = Test::default();
        let now = Instant::now();
        for from in 1..=4 {
            let spent = Duration::from_millis(if from == 2 { 90 } else { 10 });
            test.queue.charge(source(from), Priority::SealedUnknown, spent, now);
            test.push(from, Priority::SealedUnknown, 4).unwrap();
        }
        let newcomer = test.push(9, Priority::SealedUnknown, 4).unwrap();
        assert_eq!(test.drain(|_| 1), [newcomer, 1, 3, 4]);
    }

    #[test]
    fn a_flood_of_one_source_replaces_only_its_own_entries() {
        let mut test = Test::default();
        for _ in 0..4 {
            test.push(1, Priority::SealedUnknown, 4).unwrap();
        }
        assert_eq!(test.push(1, Priority::SealedUnknown, 4), None);
        // An entry of higher priority replaces the last one of lower priority.
        let known = test.push(1, Priority::SealedKnown, 4).unwrap();
        assert_eq!(test.drain(|_| 1), [known, 1, 2, 3]);
    }

    #[test]
    fn each_profile_has_its_own_bound() {
        let mut test = Test::default();
        for _ in 0..4 {
            test.push(1, Priority::ClassicPair, 4).unwrap();
        }
        assert_eq!(test.push(1, Priority::ClassicPair, 4), None);
        assert!(test.push(1, Priority::SealedUnknown, 4).is_some());
    }
}
