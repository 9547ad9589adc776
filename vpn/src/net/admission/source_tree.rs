//! Connections by where they come from, so that it is known at once who has the most of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use rand::RngExt;

use crate::net::source::{Prefix, Source};

/// The place of a connection within its source: the first has to go first. That is until when it need not
/// go before others that said nothing, or no time at all; the number makes it the only one.
pub(super) type Standing = (Option<Instant>, u64);

/// Connections by source, and sources by the networks that they are in.
///
/// Every step takes a time that grows with the logarithm of their number.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    count: usize,
    /// How many connections a block has, and its place among equals.
    counts: HashMap<Prefix, (usize, u32)>,
    /// The parts of each block (of everything, without one), by how many connections they have, and
    /// among equals by chance.
    parts: HashMap<Option<Prefix>, BTreeSet<(usize, u32, Prefix)>>,
    /// The connections of each source, by its narrowest block.
    members: HashMap<Prefix, BTreeMap<Standing, u64>>,
}

impl Crowd {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many a source has.
    pub(super) fn of(&self, source: Source) -> usize {
        self.count_of(source.prefix())
    }

    fn count_of(&self, block: Prefix) -> usize {
        self.counts.get(&block).map_or(0, |(connections, _)| *connections)
    }

    pub(super) fn insert(&mut self, source: Source, standing: Standing, connection: u64) {
        self.members.entry(source.prefix()).or_default().insert(standing, connection);
        self.count += 1;
        self.recount(source, |connections| connections + 1);
    }

    pub(super) fn remove(&mut self, source: Source, standing: Standing) {
        let Some(members) = self.members.get_mut(&source.prefix()) else { return };
        if members.remove(&standing).is_some() {
            if members.is_empty() {
                self.members.remove(&source.prefix());
            }
            self.count -= 1;
            self.recount(source, |connections| connections - 1);
        }
    }

    fn recount(&mut self, source: Source, change: impl Fn(usize) -> usize) {
        let mut whole = None;
        for block in source.prefixes() {
            let parts = self.parts.entry(whole).or_default();
            let (old, chance) = self.counts.remove(&block).unwrap_or_default();
            parts.remove(&(old, chance, block));
            let connections = change(old);
            if connections > 0 {
                let chance = rand::rng().random();
                self.counts.insert(block, (connections, chance));
                parts.insert((connections, chance, block));
            }
            if parts.is_empty() {
                self.parts.remove(&whole);
            }
            whole = Some(block);
        }
    }

    /// The part of a block with the most connections, and how many those are.
    fn most(&self, whole: Option<Prefix>) -> Option<(usize, Prefix)> {
        let (connections, _, block) = self.parts.get(&whole)?.last()?;
        Some((*connections, *block))
    }

    /// The connection of a source that has to go first.
    pub(super) fn last_of(&self, source: Source) -> Option<u64> {
        self.last_of_block(source.prefix())
    }

    fn last_of_block(&self, block: Prefix) -> Option<u64> {
        self.members.get(&block)?.first_key_value().map(|(_, connection)| *connection)
    }

    /// The connection that has to go first: in the widest blocks, of those with the most connections,
    /// and so on to the source.
    pub(super) fn last(&self) -> Option<u64> {
        self.last_within(None)
    }

    /// The same, unless no source and no network has more than one.
    pub(super) fn last_of_several(&self) -> Option<u64> {
        self.most(None).filter(|(connections, _)| *connections > 1).and_then(|_| self.last())
    }

    fn last_within(&self, mut whole: Option<Prefix>) -> Option<u64> {
        while let Some((_, block)) = self.most(whole) {
            whole = Some(block);
        }
        self.last_of_block(whole?)
    }

    /// The same, if it is one of another source or network with more connections than that of `source`
    /// will have with one more.
    pub(super) fn last_of_more_than(&self, source: Source) -> Option<u64> {
        let mut whole = None;
        for own in source.prefixes() {
            let (connections, block) = self.most(whole)?;
            let will_have = self.count_of(own) + 1;
            if connections > will_have && block != own {
                return self.last_within(Some(block));
            }
            if self.count_of(own) < connections {
                // As many as the others: chance has to decide.
                return None;
            }
            // Nobody has more than this one. Who in it has more than the new one's part?
            whole = Some(own);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// A crowd of which each connection has its own number.
    #[derive(Default)]
    struct Test {
        crowd: Crowd,
        next: u64,
    }

    fn source(address: &str) -> Source {
        Source::of(address.parse::<IpAddr>().unwrap())
    }

    impl Test {
        fn add(&mut self, address: &str) -> u64 {
            self.next += 1;
            self.crowd.insert(source(address), (None, self.next), self.next);
            self.next
        }
    }

    #[test]
    fn the_oldest_of_the_source_with_the_most_goes() {
        let mut test = Test::default();
        test.add("192.0.2.1");
        let first = test.add("198.51.100.1");
        let second = test.add("198.51.100.1");
        assert_eq!(test.crowd.last(), Some(first));
        // It got further.
        test.crowd.remove(source("198.51.100.1"), (None, first));
        test.crowd.insert(source("198.51.100.1"), (Some(Instant::now()), first), first);
        assert_eq!(test.crowd.last(), Some(second));
    }

    #[test]
    fn the_256_networks_of_one_customer_count_as_one_party() {
        let mut test = Test::default();
        let other = test.add("2001:db8:ffff::1");
        let attackers: Vec<u64> =
            (0..256).map(|n| test.add(&format!("2001:db8:0:{n:x}::1"))).collect();
        let ipv4 = test.add("192.0.2.1");
        for _ in 0..255 {
            let last = test.crowd.last().unwrap();
            assert!(attackers.contains(&last) && last != other && last != ipv4);
            let number = attackers.iter().position(|a| *a == last).unwrap();
            let source = source(&format!("2001:db8:0:{number:x}::1"));
            test.crowd.remove(source, (None, last));
        }
        assert_eq!(test.crowd.len(), 3);
    }

    #[test]
    fn a_newcomer_takes_the_place_of_one_of_a_source_that_has_more_than_it_will_have() {
        let mut test = Test::default();
        let more = |test: &Test, from: &str| test.crowd.last_of_more_than(source(from));
        assert_eq!(more(&test, "192.0.2.1"), None);
        let first = test.add("198.51.100.1");
        // One against one: equals.
        assert_eq!(more(&test, "192.0.2.1"), None);
        test.add("198.51.100.1");
        assert_eq!(more(&test, "192.0.2.1"), Some(first));
        // One of the same network, which has none itself.
        assert_eq!(more(&test, "198.51.100.2"), Some(first));
        // The source itself has the most.
        assert_eq!(more(&test, "198.51.100.1"), None);
        // Two against one and the new one: equals.
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
            seen.insert(test.crowd.last().unwrap());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn an_empty_crowd_remembers_nothing() {
        let mut test = Test::default();
        let addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1"];
        for address in addresses {
            test.add(address);
        }
        assert_eq!((test.crowd.len(), test.crowd.of(source("192.0.2.1"))), (4, 2));
        for (number, address) in (1..).zip(addresses) {
            test.crowd.remove(source(address), (None, number));
        }
        let Crowd { count, counts, parts, members } = test.crowd;
        assert!(count == 0 && counts.is_empty() && parts.is_empty() && members.is_empty());
    }
}
