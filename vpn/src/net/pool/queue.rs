//! Who computes next, and who is turned away when too many wait (PROTOCOL.md §4.7).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::net::limits::{CLASSIC_TURN, OVERLOAD, SOURCES, USAGE_DECAY};
use crate::net::lru::LruMap;
use crate::net::source::{Prefix, Source};

/// What a computation is for. Within a source the first of these go first: what is further along,
/// and what somebody still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net) enum Rank {
    /// An established session, or a client.
    Session,
    /// A sealed handshake of a client that knows our key or a PSK.
    Known,
    /// A sealed handshake of any other client.
    Stranger,
    /// A sealed handshake of a client that has closed its side.
    Left,
    /// The secret of a classic handshake whose client has gone on to its first message.
    Awaited,
    /// The check of a classic client's public value.
    Check,
    /// Our key pair for a classic client whose public value is good.
    Pair,
    /// The secret of a classic handshake whose client has not gone on yet.
    Secret,
    /// Our key pair for a classic client that has not sent its public value.
    Early,
    /// Anything for a classic client that has closed its side and left nothing to read.
    Abandoned,
}

impl Rank {
    const fn lane(self) -> usize {
        match self {
            Self::Session | Self::Known | Self::Stranger | Self::Left => SEALED,
            _ => CLASSIC,
        }
    }
}

/// Computations take 0.3 ms in one lane and 25 in the other.
const SEALED: usize = 0;
const CLASSIC: usize = 1;

/// There is no place for it.
#[derive(Debug)]
pub(super) struct Full;

/// Computations that wait for their turn.
///
/// * Sealed work goes first; but when [`CLASSIC_TURN`] of it was done while classic work waited, one
///   classic computation is next.
/// * The source goes first that has used the least time lately.
/// * Within a source the [`Rank`] decides, and then who came first; if that one has waited for
///   [`OVERLOAD`], more comes than can be done, and who came last goes first: so some are served
///   in time rather than all of them too late.
/// * A source that waits for nothing always gets a place. If there is none, the longest line loses its
///   last entry, or among lines of one the source that has used the most time.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lanes: [Lane<T>; 2],
    /// Where each computation waits.
    places: HashMap<u64, (Source, Rank)>,
    used: LruMap<Prefix, Level>,
    start: Instant,
    /// Sealed work done while classic work waited.
    owed: Duration,
}

#[derive(Debug)]
struct Lane<T> {
    length: usize,
    lines: HashMap<Source, Line<T>>,
    /// Whose turn it is, by the time used before it queued up or had its last turn.
    order: BTreeSet<(Level, u64, Source)>,
    lengths: BTreeSet<(usize, Source)>,
}

/// What waits for one source.
#[derive(Debug)]
struct Line<T> {
    /// Its place in the order of the lane.
    key: (Level, u64),
    jobs: BTreeMap<(Rank, u64), (Instant, T)>,
}

/// The logarithm of the time used, of which the past counts less and less: instead of making all of
/// them smaller as time passes, what is added is made greater, so that their order never changes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level(f64);

impl Level {
    const NONE: Self = Self(f64::NEG_INFINITY);

    /// With so much more time used.
    fn plus(self, other: Self) -> Self {
        let (less, more) = if self < other { (self, other) } else { (other, self) };
        if less == Self::NONE { more } else { Self(more.0 + (less.0 - more.0).exp().ln_1p()) }
    }
}

impl Eq for Level {}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            lanes: [Lane::default(), Lane::default()],
            places: HashMap::new(),
            used: LruMap::new(SOURCES),
            start: Instant::now(),
            owed: Duration::ZERO,
        }
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { length: 0, lines: HashMap::new(), order: BTreeSet::new(), lengths: BTreeSet::new() }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The ranks of all that waits, best first.
    #[cfg(test)]
    pub(super) fn ranks(&self) -> Vec<Rank> {
        let mut ranks: Vec<Rank> = self.places.values().map(|(_, rank)| *rank).collect();
        ranks.sort_unstable();
        ranks
    }

    /// Lets a computation wait, where at most so many of its profile may. `number` names it and is
    /// greater than those that came before.
    pub(super) fn push(
        &mut self,
        number: u64,
        source: Source,
        rank: Rank,
        most: usize,
        job: T,
    ) -> Result<(), Full> {
        let now = Instant::now();
        let lane = &mut self.lanes[rank.lane()];
        if lane.length >= most {
            let evicted = lane.victim(source, rank, now)?;
            self.remove(evicted);
        }
        let level = self.level(source);
        self.lanes[rank.lane()].push(source, level, (rank, number), (now, job));
        self.places.insert(number, (source, rank));
        Ok(())
    }

    /// Takes a computation out, if it still waits.
    pub(super) fn remove(&mut self, number: u64) -> Option<(Instant, T)> {
        let (source, rank) = self.places.remove(&number)?;
        self.lanes[rank.lane()].remove(source, (rank, number))
    }

    /// Changes the rank of a computation, if it still waits.
    pub(super) fn rank(&mut self, number: u64, rank: Rank) {
        let Some((source, old)) = self.places.get(&number).copied() else { return };
        if old.lane() == rank.lane()
            && let Some(job) = self.remove(number)
        {
            let level = self.level(source);
            self.lanes[rank.lane()].push(source, level, (rank, number), job);
            self.places.insert(number, (source, rank));
        }
    }

    /// Who is next.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Source, Rank, T)> {
        let lanes = if self.owed >= CLASSIC_TURN { [CLASSIC, SEALED] } else { [SEALED, CLASSIC] };
        let lane = lanes.into_iter().find(|lane| self.lanes[*lane].length > 0)?;
        if lane == CLASSIC || self.lanes[CLASSIC].length == 0 {
            self.owed = Duration::ZERO;
        }
        loop {
            let (level, number, source) = self.lanes[lane].order.first().copied()?;
            // It may have had other turns since it was put there.
            let used = self.level(source);
            if used > level {
                self.lanes[lane].reorder(source, (used, number));
                continue;
            }
            let (rank, number) = self.lanes[lane].lines.get(&source)?.first(now)?;
            let (_, job) = self.remove(number)?;
            return Some((source, rank, job));
        }
    }

    /// Writes down that a computation took so long.
    pub(super) fn charge(&mut self, source: Source, rank: Rank, spent: Duration, now: Instant) {
        if rank.lane() == SEALED && self.lanes[CLASSIC].length > 0 {
            self.owed += spent;
        }
        let spent = spent.max(Duration::from_micros(1)).as_secs_f64().ln();
        let age =
            now.saturating_duration_since(self.start).as_secs_f64() / USAGE_DECAY.as_secs_f64();
        for block in source.prefixes() {
            let level = self.used.entry(block, || Level::NONE);
            *level = level.plus(Level(spent + age));
        }
    }

    /// What a source has used, or a network around it, which may use a few times as much.
    fn level(&self, source: Source) -> Level {
        let shares: [f64; 3] = [16.0, 4.0, 1.0];
        let levels = source.prefixes().into_iter().zip(shares).map(|(block, share)| {
            Level(self.used.get(&block).map_or(Level::NONE, |level| *level).0 - share.ln())
        });
        levels.max().unwrap_or(Level::NONE)
    }
}

impl<T> Lane<T> {
    fn push(&mut self, source: Source, level: Level, key: (Rank, u64), job: (Instant, T)) {
        let line = self.lines.entry(source).or_insert_with(|| {
            self.order.insert((level, key.1, source));
            Line { key: (level, key.1), jobs: BTreeMap::new() }
        });
        self.lengths.remove(&(line.jobs.len(), source));
        line.jobs.insert(key, job);
        self.lengths.insert((line.jobs.len(), source));
        self.length += 1;
    }

    fn remove(&mut self, source: Source, key: (Rank, u64)) -> Option<(Instant, T)> {
        let line = self.lines.get_mut(&source)?;
        let before = line.jobs.len();
        let job = line.jobs.remove(&key)?;
        self.length -= 1;
        self.lengths.remove(&(before, source));
        if before > 1 {
            self.lengths.insert((before - 1, source));
        } else {
            let (level, number) = line.key;
            self.order.remove(&(level, number, source));
            self.lines.remove(&source);
        }
        Some(job)
    }

    fn reorder(&mut self, source: Source, key: (Level, u64)) {
        if let Some(line) = self.lines.get_mut(&source) {
            let (level, number) = std::mem::replace(&mut line.key, key);
            self.order.remove(&(level, number, source));
            self.order.insert((key.0, key.1, source));
        }
    }

    /// Which computation has to go for one of this source and rank; the new one, if none.
    fn victim(&self, source: Source, rank: Rank, now: Instant) -> Result<u64, Full> {
        let own = self.lines.get(&source);
        let own_length = own.map_or(0, |line| line.jobs.len());
        let &(longest, of) = self.lengths.last().ok_or(Full)?;
        if longest > own_length.max(1) {
            return self.lines.get(&of).and_then(|line| line.last(now)).map(|l| l.1).ok_or(Full);
        }
        let Some(own) = own else {
            // All lines have one entry each: whoever would be served last goes.
            let (_, _, last) = self.order.last().ok_or(Full)?;
            return self.lines.get(last).and_then(|line| line.last(now)).map(|l| l.1).ok_or(Full);
        };
        // The new one is the last of its rank.
        match own.last(now) {
            Some((worst, number)) if worst > rank || (worst == rank && own.stands(rank, now)) => {
                Ok(number)
            }
            _ => Err(Full),
        }
    }
}

impl<T> Line<T> {
    /// Who of this source is next.
    fn first(&self, now: Instant) -> Option<(Rank, u64)> {
        let (rank, _) = *self.jobs.keys().next()?;
        let mut group = self.jobs.range((rank, 0)..=(rank, u64::MAX)).map(|(key, _)| *key);
        if self.stands(rank, now) { group.next_back() } else { group.next() }
    }

    /// Who of this source is last.
    fn last(&self, now: Instant) -> Option<(Rank, u64)> {
        let (rank, _) = *self.jobs.keys().next_back()?;
        let mut group = self.jobs.range((rank, 0)..=(rank, u64::MAX)).map(|(key, _)| *key);
        if self.stands(rank, now) { group.next() } else { group.next_back() }
    }

    /// Whether the first of this rank has waited for so long that more comes than can be done.
    fn stands(&self, rank: Rank, now: Instant) -> bool {
        let first = self.jobs.range((rank, 0)..=(rank, u64::MAX)).next();
        first.is_some_and(|(_, (since, _))| now.saturating_duration_since(*since) >= OVERLOAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        // Each in a network of its own.
        Source::of([10, last, 0, 1].into())
    }

    /// A queue and the number of the next computation.
    #[derive(Default)]
    struct Test {
        queue: Queue<u64>,
        next: u64,
    }

    impl Test {
        /// Lets one wait; its number, or nothing if it was turned away.
        fn push(&mut self, from: u8, rank: Rank, most: usize) -> Option<u64> {
            self.next += 1;
            let number = self.next;
            self.queue.push(number, source(from), rank, most, number).ok().map(|()| number)
        }

        /// Computes all that waits, each for so many milliseconds; their numbers.
        fn drain(&mut self, cost: impl Fn(Rank) -> u64) -> Vec<u64> {
            let now = Instant::now();
            std::iter::from_fn(|| {
                let (source, rank, number) = self.queue.pop(now)?;
                self.queue.charge(source, rank, Duration::from_millis(cost(rank)), now);
                Some(number)
            })
            .collect()
        }
    }

    #[test]
    fn sources_take_turns() {
        let mut test = Test::default();
        // A flood of four from one source, then two others with less.
        for from in [1, 1, 1, 1, 2, 3, 2] {
            test.push(from, Rank::Pair, 64).unwrap();
        }
        assert_eq!(test.drain(|_| 25), [1, 5, 6, 2, 7, 3, 4]);
        assert!(test.queue.lanes.iter().all(|lane| lane.length == 0 && lane.lines.is_empty()));
        assert!(test.queue.lanes.iter().all(|l| l.order.is_empty() && l.lengths.is_empty()));
    }

    #[test]
    fn a_newcomer_goes_before_sixty_sources_that_computed_lately() {
        let mut test = Test::default();
        for from in 1..=60 {
            for _ in 0..4 {
                test.push(from, Rank::Pair, 512).unwrap();
            }
        }
        let now = Instant::now();
        for _ in 0..120 {
            let (source, rank, _) = test.queue.pop(now).unwrap();
            test.queue.charge(source, rank, Duration::from_millis(25), now);
        }
        // Both computations of its handshake, one after the other.
        for _ in 0..2 {
            let own = test.push(99, Rank::Pair, 512).unwrap();
            let (from, rank, number) = test.queue.pop(now).unwrap();
            assert_eq!((from, number), (source(99), own));
            test.queue.charge(from, rank, Duration::from_millis(20), now);
        }
    }

    #[test]
    fn what_was_used_long_ago_counts_less_than_what_was_used_just_now() {
        let mut test = Test::default();
        let start = Instant::now();
        let later = start + USAGE_DECAY * 3;
        test.queue.charge(source(1), Rank::Pair, Duration::from_millis(400), start);
        test.queue.charge(source(2), Rank::Pair, Duration::from_millis(25), later);
        test.push(2, Rank::Pair, 64);
        test.push(1, Rank::Pair, 64);
        assert_eq!(test.drain(|_| 25), [2, 1]);
        // And in the order of years.
        let much_later = start + Duration::from_secs(10 * 365 * 86_400);
        test.queue.charge(source(1), Rank::Pair, Duration::from_millis(26), much_later);
        test.queue.charge(source(2), Rank::Pair, Duration::from_millis(25), much_later);
        test.push(1, Rank::Pair, 64);
        test.push(2, Rank::Pair, 64);
        assert_eq!(test.drain(|_| 25), [4, 3]);
    }

    #[test]
    fn the_addresses_of_one_network_together_have_a_few_shares() {
        let mut test = Test::default();
        let now = Instant::now();
        let at = |first, fourth| {
            Source::of(std::net::Ipv6Addr::new(0x2001, first, 0, fourth, 0, 0, 0, 1).into())
        };
        let (of, other) = (|fourth| at(0xdb8, fourth), at(0xdb9, 0));
        for last in 0..256 {
            test.queue.charge(of(last), Rank::Pair, Duration::from_millis(25), now);
        }
        test.queue.charge(other, Rank::Pair, Duration::from_millis(100), now);
        // An address that computed nothing itself, and one that computed more than any of them.
        test.queue.push(1, of(255), Rank::Pair, 64, 1).unwrap();
        test.queue.push(2, other, Rank::Pair, 64, 2).unwrap();
        assert_eq!(test.drain(|_| 25), [2, 1]);
    }

    #[test]
    fn within_a_source_what_is_further_along_goes_first() {
        let mut test = Test::default();
        let ranks = [
            Rank::Abandoned,
            Rank::Early,
            Rank::Secret,
            Rank::Pair,
            Rank::Check,
            Rank::Awaited,
            Rank::Left,
            Rank::Stranger,
            Rank::Known,
            Rank::Session,
        ];
        for rank in ranks {
            test.push(1, rank, 64).unwrap();
        }
        assert_eq!(test.drain(|_| 0), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn where_more_comes_than_can_be_done_the_newest_goes_first() {
        let mut test = Test::default();
        for _ in 0..4 {
            test.push(1, Rank::Pair, 64).unwrap();
        }
        let now = Instant::now();
        let pop = |test: &mut Test, at| test.queue.pop(at).unwrap().2;
        assert_eq!(pop(&mut test, now), 1);
        assert_eq!(pop(&mut test, now + OVERLOAD), 4);
        assert_eq!(pop(&mut test, now + OVERLOAD), 3);
    }

    #[test]
    fn sealed_work_goes_first_and_classic_work_is_not_starved() {
        let mut test = Test::default();
        for _ in 0..2 {
            test.push(1, Rank::Pair, 512).unwrap();
        }
        let sealed: Vec<u64> = (0..20).map(|_| test.push(2, Rank::Known, 64).unwrap()).collect();
        let order = test.drain(|rank| if rank == Rank::Pair { 25 } else { 15 });
        let mut expected = sealed[..5].to_vec();
        expected.push(1);
        expected.extend(&sealed[5..10]);
        expected.push(2);
        expected.extend(&sealed[10..]);
        assert_eq!(order, expected);
    }

    #[test]
    fn a_source_that_waits_for_nothing_gets_a_place_in_a_full_queue() {
        let mut test = Test::default();
        for _ in 0..3 {
            test.push(1, Rank::Stranger, 4).unwrap();
        }
        test.push(2, Rank::Stranger, 4).unwrap();
        let newcomer = test.push(3, Rank::Stranger, 4).unwrap();
        // The longest line has lost its last entry.
        assert_eq!(test.queue.len(), 4);
        assert_eq!(test.drain(|_| 1), [1, 4, newcomer, 2]);
    }

    #[test]
    fn a_full_queue_of_many_sources_takes_a_newcomer_and_loses_who_used_the_most() {
        let mut test = Test::default();
        let now = Instant::now();
        for from in 1..=4 {
            let spent = Duration::from_millis(if from == 2 { 90 } else { 10 });
            test.queue.charge(source(from), Rank::Stranger, spent, now);
            test.push(from, Rank::Stranger, 4).unwrap();
        }
        let newcomer = test.push(9, Rank::Stranger, 4).unwrap();
        assert_eq!(test.drain(|_| 1), [newcomer, 1, 3, 4]);
    }

    #[test]
    fn the_flood_of_one_source_fills_its_own_line_and_no_other() {
        let mut test = Test::default();
        for _ in 0..4 {
            test.push(1, Rank::Stranger, 4).unwrap();
        }
        assert_eq!(test.push(1, Rank::Stranger, 4), None);
        // One that is further along takes the place of the last that is not.
        let known = test.push(1, Rank::Known, 4).unwrap();
        assert_eq!(test.drain(|_| 1), [known, 1, 2, 3]);
    }

    #[test]
    fn each_profile_has_a_bound_of_its_own() {
        let mut test = Test::default();
        for _ in 0..4 {
            test.push(1, Rank::Pair, 4).unwrap();
        }
        assert_eq!(test.push(1, Rank::Pair, 4), None);
        assert!(test.push(1, Rank::Stranger, 4).is_some());
    }
}
