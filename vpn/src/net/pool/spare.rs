//! Key pairs made before anybody asks for them (PROTOCOL.md §4.7).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::net::limits::SPARE_PAIRS;
use vpn_proto::sealed::{Kex, KexKeyPair};
use vpn_proto::{ExponentSeed, Group, KeyPair};

/// Unused key pairs of the groups that clients have asked for, a bounded number of each.
///
/// A pair leaves when it is taken and never comes back, so it serves one handshake.
#[derive(Debug, Default)]
pub(super) struct SparePairs {
    classic: Mutex<Shelves<Group, KeyPair>>,
    sealed: Mutex<Shelves<Kex, KexKeyPair>>,
}

impl SparePairs {
    /// A pair for a classic handshake, if there is one; from now on there will be.
    pub(super) fn take_classic(&self, group: Group) -> Option<KeyPair> {
        lock(&self.classic).take(group)
    }

    /// Whether there is one.
    pub(super) fn has_classic(&self, group: Group) -> bool {
        lock(&self.classic).has(group)
    }

    /// Likewise for a sealed one. Only pairs of finite fields can be made in advance.
    pub(super) fn take_sealed(&self, kex: Kex) -> Option<KexKeyPair> {
        kex.is_finite_field().then(|| lock(&self.sealed).take(kex)).flatten()
    }

    /// Whether there is nothing to make.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.classic).lowest().is_none() && lock(&self.sealed).lowest().is_none()
    }

    /// Makes one pair of each profile where one is missing, which takes milliseconds.
    pub(super) fn make(&self) {
        // Nothing is locked while it computes.
        let group = lock(&self.classic).lowest();
        if let Some(group) = group {
            let pair = KeyPair::generate(&ExponentSeed::draw(group, &mut rand::rng()));
            lock(&self.classic).put(group, pair);
        }
        let kex = lock(&self.sealed).lowest();
        if let Some(kex) = kex {
            let pair = KexKeyPair::generate(kex, &mut rand::rng());
            lock(&self.sealed).put(kex, pair);
        }
    }
}

/// One shelf for each kind that was asked for.
#[derive(Debug)]
struct Shelves<K, P>(Vec<(K, Vec<P>)>);

impl<K, P> Default for Shelves<K, P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + PartialEq, P> Shelves<K, P> {
    fn take(&mut self, kind: K) -> Option<P> {
        match self.0.iter_mut().find(|(own, _)| *own == kind) {
            Some((_, pairs)) => pairs.pop(),
            None => {
                self.0.push((kind, Vec::new()));
                None
            }
        }
    }

    fn has(&self, kind: K) -> bool {
        self.0.iter().any(|(own, pairs)| *own == kind && !pairs.is_empty())
    }

    /// The kind with the fewest pairs, unless all have as many as they may.
    fn lowest(&self) -> Option<K> {
        let (kind, pairs) = self.0.iter().min_by_key(|(_, pairs)| pairs.len())?;
        (pairs.len() < SPARE_PAIRS).then_some(*kind)
    }

    fn put(&mut self, kind: K, pair: P) {
        if let Some((_, pairs)) = self.0.iter_mut().find(|(own, _)| *own == kind)
            && pairs.len() < SPARE_PAIRS
        {
            pairs.push(pair);
        }
    }
}

fn lock<T>(shelves: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics happens under this lock.
    shelves.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_given_away_once() {
        let spares = SparePairs::default();
        let group = Group::Modp2048;
        assert!(spares.take_classic(group).is_none());
        spares.make();
        spares.make();
        let (one, other) = (spares.take_classic(group), spares.take_classic(group));
        let texts = [one, other].map(|pair| pair.unwrap().public_text());
        assert_ne!(texts[0], texts[1]);
        assert!(spares.take_classic(group).is_none());
    }

    #[test]
    fn pairs_are_made_of_what_was_asked_for_and_no_more_than_the_limit() {
        let spares = SparePairs::default();
        spares.make();
        assert!(spares.is_full() && lock(&spares.classic).0.is_empty());
        assert!(spares.take_sealed(Kex::X25519MlKem768).is_none());
        assert!(spares.is_full(), "a hybrid exchange begins with the client's share");
        assert!(spares.take_classic(Group::Modp2048).is_none());
        assert!(spares.take_sealed(Kex::Ffdhe3072).is_none());
        for _ in 0..SPARE_PAIRS {
            assert!(!spares.is_full());
            spares.make();
        }
        assert!(spares.is_full());
        spares.make();
        assert_eq!(lock(&spares.classic).0[0].1.len(), SPARE_PAIRS);
        let pair = spares.take_sealed(Kex::Ffdhe3072).unwrap();
        assert_eq!(pair.kex(), Kex::Ffdhe3072);
        assert!(!spares.is_full());
        assert!(spares.take_classic(Group::Modp3072).is_none(), "of another group");
    }
}
