//! Key pairs that are made in advance (PROTOCOL.md §4.7).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::net::limits::SPARE_PAIRS;
use vpn_proto::sealed::{Kex, KexKeyPair};
use vpn_proto::{ExponentSeed, Group, KeyPair};

/// Unused ephemeral key pairs of the groups that clients have asked for: at most [`SPARE_PAIRS`] of each
/// group.
///
/// A pair is removed when it is taken, so it serves one handshake only.
#[derive(Debug, Default)]
pub(super) struct SparePairs {
    classic: Mutex<Stock<Group, KeyPair>>,
    sealed: Mutex<Stock<Kex, KexKeyPair>>,
}

impl SparePairs {
    /// Takes a pair for a classic handshake, if there is one. Pairs of this group are made from now on.
    pub(super) fn take_classic(&self, group: Group) -> Option<KeyPair> {
        lock(&self.classic).take(group)
    }

    /// Whether there is a pair for a classic handshake.
    pub(super) fn has_classic(&self, group: Group) -> bool {
        lock(&self.classic).has(group)
    }

    /// Takes a pair for a sealed handshake, if there is one. Only pairs of finite-field groups can be
    /// made in advance.
    pub(super) fn take_sealed(&self, kex: Kex) -> Option<KexKeyPair> {
        kex.is_finite_field().then(|| lock(&self.sealed).take(kex)).flatten()
    }

    /// Whether no pair is missing.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.classic).most_wanted().is_none() && lock(&self.sealed).most_wanted().is_none()
    }

    /// Makes one pair for each profile that misses one. This takes milliseconds.
    pub(super) fn make(&self) {
        // No lock is held during the computation.
        let group = lock(&self.classic).most_wanted();
        if let Some(group) = group {
            let pair = KeyPair::generate(&ExponentSeed::draw(group, &mut rand::rng()));
            lock(&self.classic).put(group, pair);
        }
        let kex = lock(&self.sealed).most_wanted();
        if let Some(kex) = kex {
            let pair = KexKeyPair::generate(kex, &mut rand::rng());
            lock(&self.sealed).put(kex, pair);
        }
    }
}

/// The pairs of each group that was asked for.
#[derive(Debug)]
struct Stock<K, P>(Vec<(K, Vec<P>)>);

impl<K, P> Default for Stock<K, P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + PartialEq, P> Stock<K, P> {
    fn take(&mut self, group: K) -> Option<P> {
        match self.0.iter_mut().find(|(own, _)| *own == group) {
            Some((_, pairs)) => pairs.pop(),
            None => {
                self.0.push((group, Vec::new()));
                None
            }
        }
    }

    fn has(&self, group: K) -> bool {
        self.0.iter().any(|(own, pairs)| *own == group && !pairs.is_empty())
    }

    /// The group with the fewest pairs, unless all have [`SPARE_PAIRS`].
    fn most_wanted(&self) -> Option<K> {
        let (group, pairs) = self.0.iter().min_by_key(|(_, pairs)| pairs.len())?;
        (pairs.len() < SPARE_PAIRS).then_some(*group)
    }

    fn put(&mut self, group: K, pair: P) {
        if let Some((_, pairs)) = self.0.iter_mut().find(|(own, _)| *own == group)
            && pairs.len() < SPARE_PAIRS
        {
            pairs.push(pair);
        }
    }
}

fn lock<T>(stock: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds this lock.
    stock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_taken_once_only() {
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
    fn pairs_are_made_of_groups_that_were_asked_for_up_to_the_limit() {
        let spares = SparePairs::default();
        spares.make();
        assert!(spares.is_full() && lock(&spares.classic).0.is_empty());
        assert!(spares.take_sealed(Kex::X25519MlKem768).is_none());
        assert!(
            spares.is_full(),
            "a hybrid exchange has no pairs in advance: it begins with the client's share"
        );
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
        assert!(spares.take_classic(Group::Modp3072).is_none(), "a pair of another group");
    }
}
