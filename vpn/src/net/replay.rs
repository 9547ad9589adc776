//! Protection against a replayed ClientHello (PROTOCOL.md §4.7), as in RFC 8446 §8.2.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::GATES;

/// The gate values that were accepted last. When there are [`GATES`] of them, the oldest one makes
/// room. Clones share one cache.
#[derive(Clone, Debug, Default)]
pub struct ReplayCache(Arc<Mutex<Cache>>);

#[derive(Debug, Default)]
struct Cache {
    values: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl ReplayCache {
    /// Remembers a gate value. Returns false if the cache has it already, so that the message is a
    /// replay.
    pub fn is_first(&self, gate: &[u8; 32]) -> bool {
        // No code panics while it holds this lock.
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.values.insert(*gate) {
            return false;
        }
        cache.order.push_back(*gate);
        if cache.order.len() > GATES
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.values.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_accepted_once_while_it_is_remembered() {
        let cache = ReplayCache::default();
        let value = |number: usize| {
            let mut value = [0; 32];
            value[..8].copy_from_slice(&number.to_be_bytes());
            value
        };
        assert!(cache.is_first(&value(0)) && !cache.is_first(&value(0)));
        for number in 1..=GATES {
            assert!(cache.is_first(&value(number)));
        }
        assert!(!cache.is_first(&value(GATES)));
        // The oldest one has made room, and the cache has not grown.
        assert!(cache.is_first(&value(0)));
        let inner = cache.0.lock().unwrap();
        assert_eq!((inner.values.len(), inner.order.len()), (GATES, GATES));
    }
}
