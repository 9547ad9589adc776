//! Gate values that were accepted, so that a recorded ClientHello opens the gate once only
//! (PROTOCOL.md §4.7).

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::GATES;

/// The last gate values that were accepted; the oldest make room.
#[derive(Clone, Debug, Default)]
pub struct SeenGates(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    values: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl SeenGates {
    /// Remembers a value; false if it was there before.
    pub fn is_first(&self, gate: &[u8; 32]) -> bool {
        // Nothing that panics happens under this lock.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.values.insert(*gate) {
            return false;
        }
        seen.order.push_back(*gate);
        if seen.order.len() > GATES
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.values.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_accepted_once_while_it_is_remembered() {
        let seen = SeenGates::default();
        let value = |number: usize| {
            let mut value = [0; 32];
            value[..8].copy_from_slice(&number.to_be_bytes());
            value
        };
        assert!(seen.is_first(&value(0)) && !seen.is_first(&value(0)));
        for number in 1..=GATES {
            assert!(seen.is_first(&value(number)));
        }
        assert!(!seen.is_first(&value(GATES)));
        // The oldest had to go, and no more than that is kept.
        assert!(seen.is_first(&value(0)));
        let inner = seen.0.lock().unwrap();
        assert_eq!((inner.values.len(), inner.order.len()), (GATES, GATES));
    }
}
