//! Who may stay when there is no room: sessions stay, of the handshakes the oldest of the source with
//! the most goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::source::Source;
use super::visitors::{Offence, Visit};

/// The connections whose handshake is not over.
#[derive(Clone, Debug, Default)]
pub(super) struct Admissions(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    next: u64,
    /// By the order of their arrival.
    handshakes: BTreeMap<u64, (Source, oneshot::Sender<()>)>,
}

/// The place of one connection among those whose handshake is not over.
#[derive(Debug)]
pub struct Admission {
    all: Admissions,
    number: u64,
    visit: Mutex<Option<Visit>>,
}

/// Resolves when a connection has to make room for another.
pub(super) type Eviction = oneshot::Receiver<()>;

impl Admissions {
    /// Takes a connection in.
    pub(super) fn admit(&self, source: Source, visit: Visit) -> (Admission, Eviction) {
        let (evict, eviction) = oneshot::channel();
        let mut pending = self.lock();
        let number = pending.next;
        pending.next += 1;
        pending.handshakes.insert(number, (source, evict));
        let visit = Mutex::new(Some(visit));
        (Admission { all: self.clone(), number, visit }, eviction)
    }

    /// Tells one handshake to make room; false if there is none.
    pub(super) fn evict_one(&self) -> bool {
        let mut pending = self.lock();
        let mut counts: HashMap<Source, usize> = HashMap::new();
        for (source, _) in pending.handshakes.values() {
            *counts.entry(*source).or_default() += 1;
        }
        let Some(most) = counts.values().max().copied() else { return false };
        let oldest = pending.handshakes.iter().find(|(_, (source, _))| counts[source] == most);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        // If it ended just now there is room as well.
        pending.handshakes.remove(&number).is_some_and(|(_, evict)| evict.send(()).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing that panics happens under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// The handshake is over: from here on the connection stays.
    pub fn establish(&self) {
        self.all.lock().handshakes.remove(&self.number);
        if let Some(visit) = self.visit() {
            visit.succeed();
        }
    }

    /// The handshake is over because of this; its source pays for it.
    pub fn offend(&self, offence: Offence) {
        if let Some(visit) = self.visit() {
            visit.offend(offence);
        }
    }

    /// The handshake is over, and nobody is to blame.
    pub fn excuse(&self) {
        if let Some(visit) = self.visit() {
            visit.succeed();
        }
    }

    fn visit(&self) -> Option<Visit> {
        // Nothing that panics happens under this lock.
        self.visit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.all.lock().handshakes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_source_with_the_most_goes() {
        let all = Admissions::default();
        let from = |last: u8| all.admit(Source::of([127, 0, 0, last].into()), Visit::uncounted());
        let (_keep, mut other) = from(1);
        let (first, mut first_evicted) = from(2);
        let (_second, mut second_evicted) = from(2);
        let (_third, mut third_evicted) = from(2);
        // Established ones stay.
        first.establish();
        assert!(all.evict_one());
        assert!(second_evicted.try_recv().is_ok());
        for stays in [&mut other, &mut third_evicted] {
            assert_eq!(stays.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
        assert!(first_evicted.try_recv().is_err());
    }

    #[test]
    fn without_handshakes_nobody_goes() {
        let all = Admissions::default();
        assert!(!all.evict_one());
        let (admission, _eviction) = all.admit(Source::SELF, Visit::uncounted());
        admission.establish();
        assert!(!all.evict_one());
    }
}
