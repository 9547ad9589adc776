//! Connections by source and network, so that the source with the most of them is found at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use rand::RngExt;

use crate::net::source::{Prefix, Source};

/// The place of a connection in the order of eviction within its source. The least key is evicted
/// first: no time at all comes before any time. The number makes keys unique.
pub(super) type EvictionKey = (Option<Instant>, u64);

/// A tree of connections: by wide network prefix, by narrow one, by source, and in a source by
/// [`EvictionKey`].
///
/// A *victim* is the connection to evict. It is looked for from wide to narrow: in the widest prefix
/// with the most connections, in that in the narrower prefix with the most, and so on to the source,
/// whose connection with the least key it is.
///
/// Every operation takes time that grows with the logarithm of the number of connections.
#[derive(Debug, Default)]
pub(super) struct SourceTree {
    len: usize,
    /// For each prefix how many connections it has, and a random number that orders equals.
    counts: HashMap<Prefix, (usize, u32)>,
    /// For each prefix the narrower ones in it, by how many connections they have and then by the
    /// random number. `None` stands for the whole address space.
    children: HashMap<Option<Prefix>, BTreeSet<(usize, u32, Prefix)>>,
    /// The connections of each source, by its narrowest prefix.
    members: HashMap<Prefix, BTreeMap<EvictionKey, u64>>,
}

impl SourceTree {
    /// The number of connections.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of connections of a source.
    pub(super) fn count(&self, source: Source) -> usize {
        self.count_in(source.prefix())
    }

    fn count_in(&self, prefix: Prefix) -> usize {
        self.counts.get(&prefix).map_or(0, |(count, _)| *count)
    }

    /// Adds a connection. `key` must be unique.
    pub(super) fn insert(&mut self, source: Source, key: EvictionKey, id: u64) {
        self.members.entry(source.prefix()).or_default().insert(key, id);
        self.len += 1;
        self.recount(source, |count| count + 1);
    }

    /// Removes a connection, if it is in the tree.
    pub(super) fn remove(&mut self, source: Source, key: EvictionKey) {
        let Some(members) = self.members.get_mut(&source.prefix()) else { return };
        if members.remove(&key).is_some() {
            if members.is_empty() {
                self.members.remove(&source.prefix());
            }
            self.len -= 1;
            self.recount(source, |count| count - 1);
        }
    }

    fn recount(&mut self, source: Source, change: impl Fn(usize) -> usize) {
        let mut parent = None;
        for prefix in source.prefixes() {
            let children = self.children.entry(parent).or_default();
            let (old, random) = self.counts.remove(&prefix).unwrap_or_default();
            children.remove(&(old, random, prefix));
            let count = change(old);
            if count > 0 {
                let random = rand::rng().random();
                self.counts.insert(prefix, (count, random));
                children.insert((count, random, prefix));
            }
            if children.is_empty() {
                self.children.remove(&parent);
            }
            parent = Some(prefix);
        }
    }

    /// The child of a prefix with the most connections, and their number.
    fn largest_child(&self, parent: Option<Prefix>) -> Option<(usize, Prefix)> {
        let (count, _, prefix) = self.children.get(&parent)?.last()?;
        Some((*count, *prefix))
    }

    /// The victim among the connections of a source.
    pub(super) fn victim_of(&self, source: Source) -> Option<u64> {
        self.first_member(source.prefix())
    }

    fn first_member(&self, narrowest: Prefix) -> Option<u64> {
        self.members.get(&narrowest)?.first_key_value().map(|(_, id)| *id)
    }

    /// The victim among all connections.
    pub(super) fn victim(&self) -> Option<u64> {
        self.victim_within(None)
    }

    /// The victim, unless no network has more than one connection.
    pub(super) fn victim_of_several(&self) -> Option<u64> {
        self.largest_child(None).filter(|(count, _)| *count > 1).and_then(|_| self.victim())
    }

    fn victim_within(&self, mut parent: Option<Prefix>) -> Option<u64> {
        while let Some((_, prefix)) = self.largest_child(parent) {
            parent = Some(prefix);
        }
        self.first_member(parent?)
    }

    /// The victim, if its source or network has more connections than that of `source` will have with
    /// one more.
    pub(super) fn victim_of_larger_than(&self, source: Source) -> Option<u64> {
        let mut parent = None;
        for own in source.prefixes() {
            let (largest, prefix) = self.largest_child(parent)?;
            let will_have = self.count_in(own) + 1;
            if largest > will_have && prefix != own {
                return self.victim_within(Some(prefix));
            }
            if self.count_in(own) < largest {
                // They will be equal: chance has to decide.
                return None;
            }
            // No prefix has more connections than our own, so compare the ones inside it.
            parent = Some(own);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// A tree whose connections are numbered from 1.
    #[derive(Default)]
    struct Test {
        tree: SourceTree,
        next: u64,
    }

    fn source(address: &str) -> Source {
        Source::of(address.parse::<IpAddr>().unwrap())
    }

    impl Test {
        fn add(&mut self, address: &str) -> u64 {
            self.next += 1;
            self.tree.insert(source(address), (None, self.next), self.next);
            self.next
        }
    }

    #[test]
    fn the_victim_is_the_oldest_of_the_source_with_the_most() {
        let mut test = Test::default();
        test.add("192.0.2.1");
        let first = test.add("198.51.100.1");
        let second = test.add("198.51.100.1");
        assert_eq!(test.tree.victim(), Some(first));
        // The older one makes progress.
        test.tree.remove(source("198.51.100.1"), (None, first));
        test.tree.insert(source("198.51.100.1"), (Some(Instant::now()), first), first);
        assert_eq!(test.tree.victim(), Some(second));
    }

    #[test]
    fn the_256_networks_of_one_customer_count_together() {
        let mut test = Test::default();
        let other = test.add("2001:db8:ffff::1");
        let attackers: Vec<u64> =
            (0..256).map(|n| test.add(&format!("2001:db8:0:{n:x}::1"))).collect();
        let ipv4 = test.add("192.0.2.1");
        for _ in 0..255 {
            let victim = test.tree.victim().unwrap();
            assert!(attackers.contains(&victim) && victim != other && victim != ipv4);
            let number = attackers.iter().position(|a| *a == victim).unwrap();
            let source = source(&format!("2001:db8:0:{number:x}::1"));
            test.tree.remove(source, (None, victim));
        }
        assert_eq!(test.tree.len(), 3);
    }

    #[test]
    fn a_newcomer_replaces_a_connection_of_a_source_that_has_more_than_its_own_will_have() {
        let mut test = Test::default();
        let more = |test: &Test, from: &str| test.tree.victim_of_larger_than(source(from));
        assert_eq!(more(&test, "192.0.2.1"), None);
        let first = test.add("198.51.100.1");
        // Each will have one.
        assert_eq!(more(&test, "192.0.2.1"), None);
        test.add("198.51.100.1");
        assert_eq!(more(&test, "192.0.2.1"), Some(first));
        // A source without connections in the same network.
        assert_eq!(more(&test, "198.51.100.2"), Some(first));
        // The newcomer's own source has the most.
        assert_eq!(more(&test, "198.51.100.1"), None);
        // Each will have two.
        test.add("192.0.2.1");
        assert_eq!(more(&test, "192.0.2.1"), None);
    }

    #[test]
    fn among_equals_chance_decides() {
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let mut test = Test::default();
            for last in 1..=4 {
                test.add(&format!("10.{last}.0.1"));
            }
            seen.insert(test.tree.victim().unwrap());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn an_empty_tree_holds_no_memory() {
        let mut test = Test::default();
        let addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1"];
        for address in addresses {
            test.add(address);
        }
        assert_eq!((test.tree.len(), test.tree.count(source("192.0.2.1"))), (4, 2));
        for (number, address) in (1..).zip(addresses) {
            test.tree.remove(source(address), (None, number));
        }
        let SourceTree { len, counts, children, members } = test.tree;
        assert!(len == 0 && counts.is_empty() && children.is_empty() && members.is_empty());
    }
}
