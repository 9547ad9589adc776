//! A map with a bound on its size: least recently used (LRU) entries make room.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that removes its least recently used entry when it is full and gets a new one.
///
/// Every operation takes time that grows with the logarithm of the size.
#[derive(Debug)]
pub(super) struct LruMap<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// The keys, in the order of their last use.
    order: BTreeMap<u64, K>,
    next: u64,
    capacity: usize,
}

impl<K: Copy + Eq + Hash, V> LruMap<K, V> {
    /// An empty map for `capacity` entries, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), next: 0, capacity: capacity.max(1) }
    }

    /// The entry of a key, made by `make` if there is none. This counts as a use.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.capacity
            && !self.entries.contains_key(&key)
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let number = self.next;
        self.next += 1;
        self.order.insert(number, key);
        let (used, value) = self.entries.entry(key).or_insert_with(|| (number, make()));
        if *used != number {
            self.order.remove(used);
            *used = number;
        }
        value
    }

    /// The entry of a key, if there is one. This does not count as a use.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entry_makes_room() {
        let mut map = LruMap::new(3);
        for key in [1, 2, 3, 1] {
            *map.entry(key, || 0) += 1;
        }
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (Some(&2), Some(&1), Some(&1)));
        map.entry(4, || 7);
        assert_eq!((map.get(&1), map.get(&2), map.get(&4)), (Some(&2), None, Some(&7)));
        assert_eq!((map.entries.len(), map.order.len()), (3, 3));
    }

    #[test]
    fn a_million_keys_are_inserted_without_a_walk_over_the_map() {
        let mut map = LruMap::new(65_536);
        for key in 0..1_000_000u32 {
            map.entry(key, || ());
        }
        assert_eq!((map.entries.len(), map.order.len()), (65_536, 65_536));
        assert!(map.get(&999_999).is_some() && map.get(&900_000).is_none());
    }
}
