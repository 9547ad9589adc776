//! A bounded pool for Diffie-Hellman, so that handshakes cannot starve sessions, and a fair one, so
//! that a flood of them cannot starve other clients' handshakes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::source::Source;
use super::spare::SparePairs;
use crate::proto::sealed::{Kex, KexKeyPair};
use crate::proto::{DhOutcome, DhTask};

/// Runs at most so many [`DhTask`]s at once, off the network threads.
///
/// Tasks wait in one queue for each source, and sources take turns: whoever floods the server waits
/// behind its own flood.
#[derive(Clone, Debug)]
pub struct DhPool {
    turns: Arc<Mutex<Turns>>,
    spares: Option<Arc<SparePairs>>,
}

#[derive(Debug)]
struct Turns {
    free: usize,
    workers: usize,
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
        let workers = workers.max(1);
        let (free, order, waiting) = (workers, VecDeque::new(), HashMap::new());
        let turns = Turns { free, workers, order, waiting };
        Self { turns: Arc::new(Mutex::new(turns)), spares: None }
    }

    /// As [`DhPool::new`], for a server: it makes key pairs while there is nothing else to do, and
    /// handshakes use those first.
    pub fn keeping_spares(workers: usize) -> Self {
        Self { spares: Some(Arc::default()), ..Self::new(workers) }
    }

    /// Runs a task when its turn comes. `None` only if the runtime is going down.
    ///
    /// Dropping the future gives up a place in the queue; what has begun is finished.
    pub async fn run(&self, task: DhTask, source: Source) -> Option<DhOutcome> {
        if let (DhTask::Generate(seed), Some(spares)) = (&task, &self.spares)
            && let Some(pair) = spares.take_classic(seed.group())
        {
            return Some(DhOutcome::Generated(pair));
        }
        let outcome = self.compute(task.name(), source, move || task.run()).await;
        if let Some(DhOutcome::Agreed(_)) = outcome {
            // Not before: what the handshake needs next would have to wait.
            self.refill();
        }
        outcome
    }

    /// A key pair for a server's side of a sealed handshake, if there is one.
    pub fn take_spare(&self, kex: Kex) -> Option<KexKeyPair> {
        self.spares.as_ref()?.take_sealed(kex)
    }

    /// Makes key pairs, one at a time, until there are enough of them or somebody else has work.
    pub fn refill(&self) {
        let Some(spares) = self.spares.clone().filter(|spares| !spares.is_full()) else { return };
        let Some(turn) = self.idle_turn() else { return };
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            spares.make();
            drop(turn);
            pool.refill();
        });
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
        if lock(&self.turns).waiting() >= most {
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
            let mut turns = lock(&self.turns);
            if turns.free > 0 {
                turns.free -= 1;
                return Some(Turn(Some(self.turns.clone())));
            }
            let (sender, awaited) = oneshot::channel();
            turns.enqueue(source, sender);
            awaited
        };
        awaited.await.ok()
    }

    /// A turn if nobody has one.
    fn idle_turn(&self) -> Option<Turn> {
        let mut turns = lock(&self.turns);
        let is_idle = turns.free == turns.workers;
        turns.free -= usize::from(is_idle);
        is_idle.then(|| Turn(Some(self.turns.clone())))
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
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::limits::SPARE_PAIRS;
    use super::*;
    use crate::proto::{ExponentSeed, Group, PublicValue};

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
        let before = lock(&pool.turns).waiting();
        let (own, log) = (pool.clone(), log.clone());
        let task = tokio::spawn(async move {
            let turn = own.turn(source(from)).await;
            log.lock().unwrap().push(name);
            drop(turn);
        });
        while lock(&pool.turns).waiting() == before {
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
        let turns = lock(&pool.turns);
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
        assert_eq!(lock(&pool.turns).free, 1);
    }

    fn generate(group: Group) -> DhTask {
        DhTask::Generate(ExponentSeed::draw(group, &mut rand::rng()))
    }

    /// A whole exchange's work on one side.
    async fn exchange(pool: &DhPool, group: Group) {
        let own = pool.run(generate(group), source(1)).await.unwrap();
        let DhOutcome::Generated(own) = own else { panic!("asked for a pair") };
        let peer = own.public_text().parse().unwrap();
        let peer = PublicValue::check(group, peer).unwrap();
        let agreed = pool.run(DhTask::Agree(own, peer), source(1)).await;
        assert!(matches!(agreed, Some(DhOutcome::Agreed(_))));
    }

    async fn until_full(pool: &DhPool) {
        let spares = pool.spares.clone().unwrap();
        while !spares.is_full() || lock(&pool.turns).free == 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_idle_pool_makes_pairs_of_the_groups_in_use() {
        let (pool, group) = (DhPool::keeping_spares(1), Group::Modp2048);
        exchange(&pool, group).await;
        timeout(Duration::from_secs(60), until_full(&pool)).await.unwrap();
        // All workers are busy, and still there are pairs, each another one.
        let busy = pool.turn(source(1)).await;
        let mut texts = Vec::new();
        for _ in 0..SPARE_PAIRS {
            match pool.run(generate(group), source(1)).await {
                Some(DhOutcome::Generated(pair)) => texts.push(pair.public_text()),
                other => panic!("{other:?}"),
            }
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), SPARE_PAIRS);
        // No more are made while somebody computes.
        pool.refill();
        assert!(!pool.spares.as_ref().unwrap().is_full());
        assert_eq!(lock(&pool.turns).free, 0);
        drop(busy);
    }

    #[tokio::test]
    async fn a_pool_of_a_client_makes_no_spare_pairs() {
        let pool = DhPool::new(1);
        exchange(&pool, Group::Modp2048).await;
        pool.refill();
        assert_eq!(lock(&pool.turns).free, 1);
        assert!(pool.take_spare(Kex::Ffdhe3072).is_none());
    }
}
