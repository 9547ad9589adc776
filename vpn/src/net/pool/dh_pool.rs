//! The pool itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::lane::Full;
use super::priority::Priority;
use super::queue::Queue;
use super::spare::SparePairs;
use crate::net::source::Source;
use vpn_proto::sealed::{Kex, KexKeyPair};
use vpn_proto::{DhOutcome, DhTask, Group};

/// A bounded and fair pool for the computations of key exchanges.
///
/// It is bounded, so that handshakes cannot starve established sessions. It is fair, so that a flood of
/// handshakes cannot starve those of other clients: sources take turns, and when too many computations
/// wait, the source with the most of them loses one (PROTOCOL.md §3.7, §4.7).
///
/// The computations run on the blocking threads of the runtime. Clones share one pool.
#[derive(Clone, Debug)]
pub struct DhPool {
    state: Arc<Mutex<State>>,
    /// `None` in the pool of a client.
    spares: Option<Arc<SparePairs>>,
}

#[derive(Debug)]
struct State {
    /// How many more computations may start now.
    free: usize,
    workers: usize,
    last_id: u64,
    queue: Queue<oneshot::Sender<Permit>>,
}

/// The right to compute. When it is dropped, the next computation gets it.
#[derive(Debug)]
struct Permit {
    /// `None` if nobody got this permit, so that its drop does nothing.
    state: Option<Arc<Mutex<State>>>,
    /// To whose usage the time is added, if to any.
    charged: Option<(Source, Priority)>,
    since: Instant,
}

/// An entry in the queue. It is removed when this is dropped.
struct QueueEntry<'a> {
    pool: &'a DhPool,
    id: JobId,
}

impl Drop for QueueEntry<'_> {
    fn drop(&mut self) {
        lock(&self.pool.state).queue.remove(self.id.0);
    }
}

/// Names one computation, so that its priority can change while it waits.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct JobId(u64);

/// A computation of a handshake, as the queue sees it.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Job {
    pub(in crate::net) source: Source,
    pub(in crate::net) priority: Priority,
    pub(in crate::net) id: JobId,
    /// How many computations of this profile may wait, this one included.
    pub(in crate::net) queue_limit: usize,
}

impl DhPool {
    /// A pool for a client. It runs `workers` computations at once, at least one.
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        let state = State { free: workers, workers, last_id: 0, queue: Queue::default() };
        Self { state: Arc::new(Mutex::new(state)), spares: None }
    }

    /// A pool for a server. While it is idle it makes key pairs in advance, which handshakes use first.
    pub fn for_server(workers: usize) -> Self {
        Self { spares: Some(Arc::default()), ..Self::new(workers) }
    }

    /// Whether this is the pool of a server, which strangers may fill.
    pub(in crate::net) fn is_for_server(&self) -> bool {
        self.spares.is_some()
    }

    /// A new name for a computation.
    pub(in crate::net) fn new_id(&self) -> JobId {
        let mut state = lock(&self.state);
        state.last_id += 1;
        JobId(state.last_id)
    }

    /// Changes the priority of a computation, if it still waits.
    pub(in crate::net) fn set_priority(&self, id: JobId, priority: Priority) {
        lock(&self.state).queue.set_priority(id.0, priority);
    }

    /// Runs a task of a classic handshake when it is its turn.
    ///
    /// Cancel safety: if the future is dropped, a task that waits leaves the queue. A task that has
    /// begun runs to its end.
    ///
    /// # Errors
    ///
    /// [`PoolError`] if the task did not run.
    pub(in crate::net) async fn run_task(
        &self,
        task: DhTask,
        job: Job,
    ) -> Result<DhOutcome, PoolError> {
        if let (DhTask::Generate(seed), Some(spares)) = (&task, &self.spares)
            && let Some(pair) = spares.take_classic(seed.group())
        {
            return Ok(DhOutcome::Generated(pair));
        }
        let outcome = self.run(task.name(), job, move || task.run()).await;
        if let Ok(DhOutcome::Agreed(_)) = outcome {
            // Not earlier: the next task of this handshake would have to wait.
            self.refill();
        }
        outcome
    }

    /// Whether there is a key pair for the server's side of a classic handshake.
    pub(in crate::net) fn has_spare(&self, group: Group) -> bool {
        self.spares.as_ref().is_some_and(|spares| spares.has_classic(group))
    }

    /// Takes a key pair for the server's side of a sealed handshake. `None` if there is none, or if this
    /// is the pool of a client.
    pub fn take_spare(&self, kex: Kex) -> Option<KexKeyPair> {
        self.spares.as_ref()?.take_sealed(kex)
    }

    /// Makes key pairs in the background, one at a time, until none is missing or the pool is not idle
    /// any more. Does nothing in the pool of a client.
    pub fn refill(&self) {
        let Some(spares) = self.spares.clone().filter(|spares| !spares.is_full()) else { return };
        let Some(permit) = self.acquire_if_idle() else { return };
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            spares.make();
            drop(permit);
            pool.refill();
        });
    }

    /// Runs `work` for an established session or for a client when it is its turn, and returns its
    /// result. `name` is for the log. `None` only if the runtime shuts down.
    ///
    /// Cancel safety: if the future is dropped, work that waits leaves the queue. Work that has begun
    /// runs to its end.
    pub async fn compute<T: Send + 'static>(
        &self,
        name: &'static str,
        source: Source,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let id = self.new_id();
        let job = Job { source, priority: Priority::Session, id, queue_limit: usize::MAX };
        self.run(name, job, work).await.ok()
    }

    /// Runs `work` when it is the turn of `job`, and returns its result. `name` is for the log.
    ///
    /// Cancel safety: as for [`DhPool::compute`].
    ///
    /// # Errors
    ///
    /// [`PoolError`] if the work did not run.
    pub(in crate::net) async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        job: Job,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let mut permit = self.acquire(job).await?;
        let work = move || {
            permit.since = Instant::now();
            let outcome = work();
            log::debug!("key exchange: {name} took {:?}", permit.since.elapsed());
            // Held until the computation is complete, even if nobody waits for it any more.
            drop(permit);
            outcome
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| PoolError::Closed)
    }

    async fn acquire(&self, job: Job) -> Result<Permit, PoolError> {
        let Job { source, priority, id, queue_limit } = job;
        let (granted, entry) = {
            let mut state = lock(&self.state);
            if state.free > 0 {
                state.free -= 1;
                return Ok(self.permit(Some((source, priority))));
            }
            let (grant, granted) = oneshot::channel();
            state
                .queue
                .push(id.0, source, priority, queue_limit, grant)
                .map_err(|Full| PoolError::Full)?;
            (granted, QueueEntry { pool: self, id })
        };
        let permit = granted.await;
        drop(entry);
        // An entry is removed without a permit only when the queue is full.
        permit.map_err(|_| PoolError::Full)
    }

    fn permit(&self, charged: Option<(Source, Priority)>) -> Permit {
        Permit { state: Some(self.state.clone()), charged, since: Instant::now() }
    }

    /// A permit, if no computation runs.
    fn acquire_if_idle(&self) -> Option<Permit> {
        let mut state = lock(&self.state);
        let is_idle = state.free == state.workers;
        state.free -= usize::from(is_idle);
        is_idle.then(|| self.permit(None))
    }
}

#[cfg(test)]
impl DhPool {
    /// Keeps a worker busy until the returned value is dropped.
    pub(in crate::net) async fn hold(&self) -> Box<dyn Send> {
        let (source, id) = (Source::SELF, self.new_id());
        let job = Job { source, priority: Priority::Session, id, queue_limit: usize::MAX };
        Box::new(self.acquire(job).await.unwrap())
    }

    /// The priorities of all computations that wait.
    pub(in crate::net) fn priorities(&self) -> Vec<Priority> {
        lock(&self.state).queue.priorities()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics while it holds this lock.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a computation did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The runtime shuts down.
    #[error("the program is ending")]
    Closed,
    /// The queue is full.
    #[error("too many key exchanges wait for their turn")]
    Full,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else { return };
        let mut charged = self.charged.take();
        let now = Instant::now();
        loop {
            let Some((source, priority, grant)) = ({
                let mut state = lock(&state);
                if let Some((source, priority)) = charged.take() {
                    let spent = now.saturating_duration_since(self.since);
                    state.queue.charge(source, priority, spent, now);
                }
                let next = state.queue.pop(now);
                state.free += usize::from(next.is_none());
                next
            }) else {
                return;
            };
            let charged = Some((source, priority));
            match grant.send(Self { state: Some(state.clone()), charged, since: now }) {
                Ok(()) => return,
                // Its caller has just given up. This loop passes the permit on, so its own drop must
                // not.
                Err(mut unused) => unused.state = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::net::limits::SPARE_PAIRS;
    use vpn_proto::{ExponentSeed, PublicValue};

    fn source(last: u8) -> Source {
        Source::of([127, 0, 0, last].into())
    }

    fn job(pool: &DhPool, from: u8, priority: Priority, queue_limit: usize) -> Job {
        Job { source: source(from), priority, id: pool.new_id(), queue_limit }
    }

    async fn busy(pool: &DhPool) -> Permit {
        pool.acquire(job(pool, 1, Priority::ClassicCheck, 64)).await.unwrap()
    }

    type Log = Arc<Mutex<Vec<u8>>>;

    /// Waits in the queue, and logs its name when it is its turn.
    async fn queue_up(pool: &DhPool, name: u8, job: Job, log: &Log) -> tokio::task::JoinHandle<()> {
        let before = lock(&pool.state).queue.len();
        let (own, log) = (pool.clone(), log.clone());
        let task = tokio::spawn(async move {
            let permit = own.acquire(job).await;
            log.lock().unwrap().push(name);
            drop(permit);
        });
        while lock(&pool.state).queue.len() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn a_computation_whose_caller_gave_up_leaves_the_queue_at_once() {
        let pool = DhPool::new(1);
        let busy = busy(&pool).await;
        let log = Log::default();
        let first = queue_up(&pool, 1, job(&pool, 1, Priority::ClassicCheck, 64), &log).await;
        let second = queue_up(&pool, 2, job(&pool, 1, Priority::ClassicCheck, 64), &log).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        // It has left the queue, although its turn had not come.
        assert_eq!(lock(&pool.state).queue.len(), 1);
        drop(busy);
        second.await.unwrap();
        assert_eq!(*log.lock().unwrap(), [2]);
        assert_eq!(lock(&pool.state).free, 1);
    }

    #[tokio::test]
    async fn a_computation_that_a_full_queue_drops_gets_an_error() {
        let pool = DhPool::new(1);
        let busy = busy(&pool).await;
        let own = pool.clone();
        let first = job(&pool, 2, Priority::ClassicEarly, 1);
        let first = tokio::spawn(async move { own.acquire(first).await.map(drop) });
        while lock(&pool.state).queue.len() == 0 {
            tokio::task::yield_now().await;
        }
        // One of the same source with a higher priority.
        let log = Log::default();
        let second = queue_up_in_place(&pool, job(&pool, 2, Priority::ClassicCheck, 1), &log);
        assert_eq!(first.await.unwrap(), Err(PoolError::Full));
        drop(busy);
        second.await.unwrap();
        assert_eq!(*log.lock().unwrap(), [9]);
    }

    fn queue_up_in_place(pool: &DhPool, job: Job, log: &Log) -> tokio::task::JoinHandle<()> {
        let (own, log) = (pool.clone(), log.clone());
        tokio::spawn(async move {
            let permit = own.acquire(job).await;
            log.lock().unwrap().push(9);
            drop(permit);
        })
    }

    #[tokio::test]
    async fn a_computation_that_waits_can_get_a_higher_priority() {
        let pool = DhPool::new(1);
        let busy = busy(&pool).await;
        let log = Log::default();
        let mut tasks = Vec::new();
        let early = [1, 2].map(|_| job(&pool, 1, Priority::ClassicEarly, 64));
        for (name, job) in [(1, early[0]), (2, early[1])] {
            tasks.push(queue_up(&pool, name, job, &log).await);
        }
        pool.set_priority(early[1].id, Priority::ClassicPair);
        drop(busy);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*log.lock().unwrap(), [2, 1]);
        // A computation that does not wait any more is left alone.
        pool.set_priority(early[1].id, Priority::ClassicCheck);
        assert_eq!(lock(&pool.state).queue.len(), 0);
    }

    fn generate(group: Group) -> DhTask {
        DhTask::Generate(ExponentSeed::draw(group, &mut rand::rng()))
    }

    /// The computations of one side of a key exchange.
    async fn exchange(pool: &DhPool, group: Group) {
        let own =
            pool.run_task(generate(group), job(pool, 1, Priority::ClassicPair, 64)).await.unwrap();
        let DhOutcome::Generated(own) = own else { panic!("asked for a pair") };
        let peer = own.public_text().parse().unwrap();
        let peer = PublicValue::check(group, peer).unwrap();
        let secret = job(pool, 1, Priority::ClassicSecret, 64);
        let agreed = pool.run_task(DhTask::Agree(own, peer), secret).await;
        assert!(matches!(agreed, Ok(DhOutcome::Agreed(_))));
    }

    async fn until_full(pool: &DhPool) {
        let spares = pool.spares.clone().unwrap();
        while !spares.is_full() || lock(&pool.state).free == 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_idle_pool_makes_pairs_for_the_groups_in_use() {
        let (pool, group) = (DhPool::for_server(1), Group::Modp2048);
        assert!(!pool.has_spare(group));
        exchange(&pool, group).await;
        timeout(Duration::from_secs(60), until_full(&pool)).await.unwrap();
        // There are pairs although all workers are busy, and each is different.
        let busy = busy(&pool).await;
        let mut texts = Vec::new();
        for _ in 0..SPARE_PAIRS {
            assert!(pool.has_spare(group));
            match pool.run_task(generate(group), job(&pool, 1, Priority::ClassicPair, 64)).await {
                Ok(DhOutcome::Generated(pair)) => texts.push(pair.public_text()),
                other => panic!("{other:?}"),
            }
        }
        assert!(!pool.has_spare(group));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), SPARE_PAIRS);
        // No more are made while a worker is busy.
        pool.refill();
        assert!(!pool.spares.as_ref().unwrap().is_full());
        assert_eq!(lock(&pool.state).free, 0);
        drop(busy);
    }

    #[tokio::test]
    async fn the_pool_of_a_client_makes_no_spare_pairs() {
        let pool = DhPool::new(1);
        exchange(&pool, Group::Modp2048).await;
        pool.refill();
        assert_eq!(lock(&pool.state).free, 1);
        assert!(pool.take_spare(Kex::Ffdhe3072).is_none());
    }
}
