//! A bounded pool for Diffie-Hellman, so that handshakes cannot starve sessions, and a fair one, so
//! that a flood of them cannot starve other clients' handshakes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::source::Source;
use crate::proto::{DhOutcome, DhTask};

/// Runs at most so many [`DhTask`]s at once, off the network threads.
///
/// Tasks wait in one queue for each source, and sources take turns: whoever floods the server waits
/// behind its own flood.
#[derive(Clone, Debug)]
pub struct DhPool(Arc<Mutex<Turns>>);

#[derive(Debug)]
struct Turns {
    free: usize,
    /// Sources with tasks that wait, in the order of their turns.
    order: VecDeque<Source>,
    waiting: HashMap<Source, VecDeque<oneshot::Sender<Turn>>>,
}

/// The right to compute; passed on when it is dropped.
#[derive(Debug)]
struct Turn(Option<Arc<Mutex<Turns>>>);

impl DhPool {
    /// A pool for this many computations at once, at least one.
    pub fn new(workers: usize) -> Self {
        let (free, order, waiting) = (workers.max(1), VecDeque::new(), HashMap::new());
        Self(Arc::new(Mutex::new(Turns { free, order, waiting })))
    }

    /// Runs a task when its turn comes. `None` only if the runtime is going down.
    ///
    /// Dropping the future gives up a place in the queue; what has begun is finished.
    pub async fn run(&self, task: DhTask, source: Source) -> Option<DhOutcome> {
        self.compute(task.name(), source, move || task.run()).await
    }

    /// As [`DhPool::compute`] unless `most` computations wait for their turn already.
    ///
    /// # Errors
    ///
    /// [`PoolError`].
    pub async fn compute_unless_full<T: Send + 'static>(
        &self,
        name: &'static str,
        source: Source,
        most: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        if lock(&self.0).waiting() >= most {
            return Err(PoolError::Full);
        }
        self.compute(name, source, work).await.ok_or(PoolError::Closed)
    }

    /// Runs any computation of a handshake when its turn comes, as [`DhPool::run`] does.
    pub async fn compute<T: Send + 'static>(
        &self,
        name: &'static str,
        source: Source,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.turn(source).await?;
        let work = move || {
            // Held until the computation is over, also when nobody waits for it any more.
            let _turn = turn;
            let started = Instant::now();
            let outcome = work();
            log::debug!("key exchange: {name} took {:?}", started.elapsed());
            outcome
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    async fn turn(&self, source: Source) -> Option<Turn> {
        let awaited = {
            let mut turns = lock(&self.0);
            if turns.free > 0 {
                turns.free -= 1;
                return Some(Turn(Some(self.0.clone())));
            }
            let (sender, awaited) = oneshot::channel();
            turns.enqueue(source, sender);
            awaited
        };
        awaited.await.ok()
    }
}

fn lock(turns: &Mutex<Turns>) -> MutexGuard<'_, Turns> {
    // Nothing that panics happens under this lock.
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a computation was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The runtime is going down.
    #[error("the program is ending")]
    Closed,
    /// Too many wait already.
    #[error("too many computations wait for their turn")]
    Full,
}

impl Turns {
    /// How many wait; some of them may have given up.
    fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    fn enqueue(&mut self, source: Source, sender: oneshot::Sender<Turn>) {
        let queue = self.waiting.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue.push_back(sender);
    }

    /// Who is next: the first of the next source, which then goes to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(source) = self.order.pop_front() {
            let Some(queue) = self.waiting.get_mut(&source) else { continue };
            // Whoever gave up has closed its end.
            let next = std::iter::from_fn(|| queue.pop_front()).find(|sender| !sender.is_closed());
            if queue.is_empty() {
                self.waiting.remove(&source);
            } else {
                self.order.push_back(source);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let Some(next) = ({
                let mut turns = lock(&turns);
                let next = turns.next();
                turns.free += usize::from(next.is_none());
                next
            }) else {
                return;
            };
            match next.send(Self(Some(turns.clone()))) {
                Ok(()) => return,
                // It gave up in this very moment; its turn must not be passed on a second time.
                Err(mut refused) => refused.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of([127, 0, 0, last].into())
    }

    /// Queues up and says its name when its turn comes.
    async fn queue_up(
        pool: &DhPool,
        name: u8,
        from: u8,
        log: &Arc<Mutex<Vec<u8>>>,
    ) -> tokio::task::JoinHandle<()> {
        let before = lock(&pool.0).waiting();
        let (own, log) = (pool.clone(), log.clone());
        let task = tokio::spawn(async move {
            let turn = own.turn(source(from)).await;
            log.lock().unwrap().push(name);
            drop(turn);
        });
        while lock(&pool.0).waiting() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn sources_take_turns() {
        let pool = DhPool::new(1);
        let busy = pool.turn(source(1)).await;
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        // A flood of four from one source, then two others with less.
        for (name, from) in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 3), (7, 2)] {
            tasks.push(queue_up(&pool, name, from, &log).await);
        }
        drop(busy);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*log.lock().unwrap(), [1, 5, 6, 2, 7, 3, 4]);
        let turns = lock(&pool.0);
        assert!(turns.free == 1 && turns.waiting.is_empty() && turns.order.is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_takes_nobody_else() {
        let pool = DhPool::new(1);
        let busy = pool.turn(source(1)).await;
        let log = Arc::default();
        let waiting = queue_up(&pool, 1, 1, &log).await;
        let other = pool.compute_unless_full("test", source(2), 1, || 7).await;
        assert_eq!(other, Err(PoolError::Full));
        drop(busy);
        waiting.await.unwrap();
        assert_eq!(pool.compute_unless_full("test", source(2), 1, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn who_gives_up_is_passed_over() {
        let pool = DhPool::new(1);
        let busy = pool.turn(source(1)).await;
        let log = Arc::new(Mutex::new(Vec::new()));
        let first = queue_up(&pool, 1, 1, &log).await;
        let second = queue_up(&pool, 2, 1, &log).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        drop(busy);
        second.await.unwrap();
        assert_eq!(*log.lock().unwrap(), [2]);
        assert_eq!(lock(&pool.0).free, 1);
    }
}
