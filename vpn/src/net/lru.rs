//! A map with a bound on its size.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that forgets: when it is full, the entry that was not used for the longest time makes room.
///
/// Every step takes a time that grows with the logarithm of the size, never with the size.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// The keys in the order of their last use.
    order: BTreeMap<u64, K>,
    next: u64,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// An empty map for so many entries, at least one.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), next: 0, most: most.max(1) }
    }

    /// The entry of a key, made if there is none. It counts as used.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.most
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

    /// What is known of a key. It does not count as used.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_was_not_used_for_the_longest_time_makes_room() {
        let mut map = Recent::new(3);
        for key in [1, 2, 3, 1] {
            *map.entry(key, || 0) += 1;
        }
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (Some(&2), Some(&1), Some(&1)));
        map.entry(4, || 7);
        assert_eq!((map.get(&1), map.get(&2), map.get(&4)), (Some(&2), None, Some(&7)));
        assert_eq!((map.entries.len(), map.order.len()), (3, 3));
    }

    #[test]
    fn a_million_keys_take_no_walk_over_all_of_them() {
        let mut map = Recent::new(65_536);
        for key in 0..1_000_000u32 {
            map.entry(key, || ());
        }
        assert_eq!((map.entries.len(), map.order.len()), (65_536, 65_536));
        assert!(map.get(&999_999).is_some() && map.get(&900_000).is_none());
    }
}
