//! The computations of one profile that wait, in one queue for each source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::priority::Priority;
use super::usage::Usage;
use crate::net::limits::OVERLOAD;
use crate::net::source::Source;

/// The queue is full, and there is no place for a new entry.
#[derive(Debug)]
pub(super) struct Full;

/// The place of an entry within its source: its priority, and its number in order of arrival.
pub(super) type EntryKey = (Priority, u64);

/// The computations of one profile that wait.
#[derive(Debug)]
pub(super) struct Lane<T> {
    len: usize,
    queues: HashMap<Source, SourceQueue<T>>,
    /// The sources in the order in which they are served.
    order: BTreeSet<(Usage, u64, Source)>,
    /// The sources by the length of their queues.
    lengths: BTreeSet<(usize, Source)>,
}

/// The entries of one source, each with the time since when it waits.
#[derive(Debug)]
struct SourceQueue<T> {
    /// The source's place in the order of the lane: its usage when it last got a place, and a number
    /// that orders equals by arrival.
    place: (Usage, u64),
    entries: BTreeMap<EntryKey, (Instant, T)>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { len: 0, queues: HashMap::new(), order: BTreeSet::new(), lengths: BTreeSet::new() }
    }
}

impl<T> Lane<T> {
    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry. `usage` is that of its source.
    pub(super) fn push(
        &mut self,
        source: Source,
        usage: Usage,
        key: EntryKey,
        entry: (Instant, T),
    ) {
        let queue = self.queues.entry(source).or_insert_with(|| {
            self.order.insert((usage, key.1, source));
            SourceQueue { place: (usage, key.1), entries: BTreeMap::new() }
        });
        self.lengths.remove(&(queue.entries.len(), source));
        queue.entries.insert(key, entry);
        self.lengths.insert((queue.entries.len(), source));
        self.len += 1;
    }

    /// Removes an entry, if it is there.
    pub(super) fn remove(&mut self, source: Source, key: EntryKey) -> Option<(Instant, T)> {
        let queue = self.queues.get_mut(&source)?;
        let before = queue.entries.len();
        let entry = queue.entries.remove(&key)?;
        self.len -= 1;
        self.lengths.remove(&(before, source));
        if before > 1 {
            self.lengths.insert((before - 1, source));
        } else {
            let (usage, number) = queue.place;
            self.order.remove(&(usage, number, source));
            self.queues.remove(&source);
        }
        Some(entry)
    }

    /// The source and the key of the entry that is served next. `usage_of` gives the present usage of
    /// a source.
    pub(super) fn first(
        &mut self,
        now: Instant,
        usage_of: impl Fn(Source) -> Usage,
    ) -> Option<(Source, EntryKey)> {
        loop {
            let (usage, number, source) = self.order.first().copied()?;
            // The source may have used more time since it got its place.
            let present = usage_of(source);
            if present > usage {
                self.reorder(source, (present, number));
                continue;
            }
            return Some((source, self.queues.get(&source)?.first(now)?));
        }
    }

    fn reorder(&mut self, source: Source, place: (Usage, u64)) {
        if let Some(queue) = self.queues.get_mut(&source) {
            let (usage, number) = std::mem::replace(&mut queue.place, place);
            self.order.remove(&(usage, number, source));
            self.order.insert((place.0, place.1, source));
        }
    }

    /// The number of the entry that a new entry of this source and priority replaces when the lane is
    /// full.
    ///
    /// # Errors
    ///
    /// [`Full`] if no entry has to make room for the new one.
    pub(super) fn victim(
        &self,
        source: Source,
        priority: Priority,
        now: Instant,
    ) -> Result<u64, Full> {
        let last_of = |source| self.queues.get(source).and_then(|queue| queue.last(now));
        let own = self.queues.get(&source);
        let own_len = own.map_or(0, |queue| queue.entries.len());
        let (longest, longest_source) = self.lengths.last().ok_or(Full)?;
        if *longest > own_len.max(1) {
            return last_of(longest_source).map(|key| key.1).ok_or(Full);
        }
        let Some(own) = own else {
            // All sources have one entry each. The source that would be served last loses its own.
            let (_, _, last) = self.order.last().ok_or(Full)?;
            return last_of(last).map(|key| key.1).ok_or(Full);
        };
        // The new entry would be the last of its priority.
        match own.last(now) {
            Some((worst, number))
                if worst > priority || (worst == priority && own.is_overloaded(priority, now)) =>
            {
                Ok(number)
            }
            _ => Err(Full),
        }
    }

    /// Whether nothing is left in any of the collections.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.len == 0 && self.queues.is_empty() && self.order.is_empty() && self.lengths.is_empty()
    }
}

impl<T> SourceQueue<T> {
    /// The entry that is served first.
    fn first(&self, now: Instant) -> Option<EntryKey> {
        let (priority, _) = *self.entries.keys().next()?;
        let mut equals = self.of_priority(priority);
        if self.is_overloaded(priority, now) { equals.next_back() } else { equals.next() }
    }

    /// The entry that is served last.
    fn last(&self, now: Instant) -> Option<EntryKey> {
        let (priority, _) = *self.entries.keys().next_back()?;
        let mut equals = self.of_priority(priority);
        if self.is_overloaded(priority, now) { equals.next() } else { equals.next_back() }
    }

    /// Whether the oldest entry of this priority has waited for so long that the newest one is served
    /// first.
    fn is_overloaded(&self, priority: Priority, now: Instant) -> bool {
        let oldest = self.entries.range((priority, 0)..=(priority, u64::MAX)).next();
        oldest.is_some_and(|(_, (since, _))| now.saturating_duration_since(*since) >= OVERLOAD)
    }

    fn of_priority(&self, priority: Priority) -> impl DoubleEndedIterator<Item = EntryKey> {
        self.entries.range((priority, 0)..=(priority, u64::MAX)).map(|(key, _)| *key)
    }
}
