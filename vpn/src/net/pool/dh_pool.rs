//! A bounded pool for Diffie-Hellman, so that handshakes cannot starve sessions, and a fair one, so
//! that a flood of them cannot starve other clients' handshakes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::queue::{Full, Queue};
use super::spare::SparePairs;
use crate::net::source::Source;
use vpn_proto::sealed::{Kex, KexKeyPair};
use vpn_proto::{DhOutcome, DhTask, Group};

pub(in crate::net) use super::queue::Rank;

/// Runs at most so many computations of handshakes at once, off the network threads.
///
/// Who is next, and who is turned away when too many wait, is the business of `Queue`.
#[derive(Clone, Debug)]
pub struct DhPool {
    turns: Arc<Mutex<Turns>>,
    spares: Option<Arc<SparePairs>>,
}

#[derive(Debug)]
struct Turns {
    free: usize,
    workers: usize,
    tickets: u64,
    queue: Queue<oneshot::Sender<Turn>>,
}

/// The right to compute; passed on when it is dropped.
#[derive(Debug)]
struct Turn {
    turns: Option<Arc<Mutex<Turns>>>,
    /// Who is charged for the time, if anybody is.
    charged: Option<(Source, Rank)>,
    since: Instant,
}

/// A place in the queue; given up when it is dropped.
struct HandshakeContext<'a> {
    pool: &'a DhPool,
    ticket: Ticket,
}

impl Drop for HandshakeContext<'_> {
    fn drop(&mut self) {
        lock(&self.pool.turns).queue.remove(self.ticket.0);
    }
}

/// Names one computation, so that its rank can change while it waits.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Ticket(u64);

/// A computation that wants its turn.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Job {
    pub(in crate::net) source: Source,
    pub(in crate::net) rank: Rank,
    pub(in crate::net) ticket: Ticket,
    /// How many of its profile may wait, this one included.
    pub(in crate::net) most: usize,
}

impl DhPool {
    /// A pool for this many computations at once, at least one.
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        let turns = Turns { free: workers, workers, tickets: 0, queue: Queue::default() };
        Self { turns: Arc::new(Mutex::new(turns)), spares: None }
    }

    /// As [`DhPool::new`], for a server: it makes key pairs while there is nothing else to do, and
    /// handshakes use those first.
    pub fn keeping_spares(workers: usize) -> Self {
        Self { spares: Some(Arc::default()), ..Self::new(workers) }
    }

    /// Whether this is a server's pool, which strangers may fill.
    pub(in crate::net) fn is_servers(&self) -> bool {
        self.spares.is_some()
    }

    /// A name for a computation.
    pub(in crate::net) fn ticket(&self) -> Ticket {
        let mut turns = lock(&self.turns);
        turns.tickets += 1;
        Ticket(turns.tickets)
    }

    /// Changes the rank of a computation, if it still waits.
    pub(in crate::net) fn rank(&self, ticket: Ticket, rank: Rank) {
        lock(&self.turns).queue.rank(ticket.0, rank);
    }

    /// Runs a task of a classic handshake when its turn comes.
    ///
    /// Dropping the future gives up a place in the queue; what has begun is finished.
    ///
    /// # Errors
    ///
    /// [`PoolError`].
    pub(in crate::net) async fn run(&self, task: DhTask, job: Job) -> Result<DhOutcome, PoolError> {
        if let (DhTask::Generate(seed), Some(spares)) = (&task, &self.spares)
            && let Some(pair) = spares.take_classic(seed.group())
        {
            return Ok(DhOutcome::Generated(pair));
        }
        let outcome = self.compute_in_turn(task.name(), job, move || task.run()).await;
        if let Ok(DhOutcome::Agreed(_)) = outcome {
            // Not before: what the handshake needs next would have to wait.
            self.refill();
        }
        outcome
    }

    /// Whether there is a key pair for a server's side of a classic handshake.
    pub(in crate::net) fn has_spare(&self, group: Group) -> bool {
        self.spares.as_ref().is_some_and(|spares| spares.has_classic(group))
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

    /// Runs a computation of an established session, or of a client, when its turn comes. `None` only
    /// if the runtime is going down.
    ///
    /// Dropping the future gives up a place in the queue; what has begun is finished.
    pub async fn compute<T: Send + 'static>(
        &self,
        name: &'static str,
        source: Source,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let ticket = self.ticket();
        let job = Job { source, rank: Rank::Session, ticket, most: usize::MAX };
        self.compute_in_turn(name, job, work).await.ok()
    }

    /// Runs a computation when its turn comes.
    ///
    /// Dropping the future gives up a place in the queue; what has begun is finished.
    ///
    /// # Errors
    ///
    /// [`PoolError`].
    pub(in crate::net) async fn compute_in_turn<T: Send + 'static>(
        &self,
        name: &'static str,
        job: Job,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let mut turn = self.turn(job).await?;
        let work = move || {
            turn.since = Instant::now();
            let outcome = work();
            log::debug!("key exchange: {name} took {:?}", turn.since.elapsed());
            // Held until the computation is over, also when nobody waits for it any more.
            drop(turn);
            outcome
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| PoolError::Closed)
    }

    async fn turn(&self, job: Job) -> Result<Turn, PoolError> {
        let Job { source, rank, ticket, most } = job;
        let (awaited, place) = {
            let mut turns = lock(&self.turns);
            if turns.free > 0 {
                turns.free -= 1;
                return Ok(self.turn_of(Some((source, rank))));
            }
            let (sender, awaited) = oneshot::channel();
            turns
                .queue
                .push(ticket.0, source, rank, most, sender)
                .map_err(|Full| PoolError::Full)?;
            (awaited, HandshakeContext { pool: self, ticket })
        };
        let turn = awaited.await;
        drop(place);
        // Whoever takes it out of the queue without a turn does so because the queue is full.
        turn.map_err(|_| PoolError::Full)
    }

    fn turn_of(&self, charged: Option<(Source, Rank)>) -> Turn {
        Turn { turns: Some(self.turns.clone()), charged, since: Instant::now() }
    }

    /// Keeps a worker busy until what it returns is dropped.
    #[cfg(test)]
    pub(in crate::net) async fn hold(&self) -> Box<dyn Send> {
        let ticket = self.ticket();
        let job = Job { source: Source::SELF, rank: Rank::Session, ticket, most: usize::MAX };
        Box::new(self.turn(job).await.unwrap())
    }

    /// The ranks of all that waits.
    #[cfg(test)]
    pub(in crate::net) fn ranks(&self) -> Vec<Rank> {
        lock(&self.turns).queue.ranks()
    }

    /// A turn if nobody has one.
    fn idle_turn(&self) -> Option<Turn> {
        let mut turns = lock(&self.turns);
        let is_idle = turns.free == turns.workers;
        turns.free -= usize::from(is_idle);
        is_idle.then(|| self.turn_of(None))
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
    /// Too many wait, and others go first.
    #[error("too many key exchanges wait for their turn")]
    Full,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        let mut charged = self.charged.take();
        let now = Instant::now();
        loop {
            let Some((source, rank, next)) = ({
                let mut turns = lock(&turns);
                if let Some((source, rank)) = charged.take() {
                    let spent = now.saturating_duration_since(self.since);
                    turns.queue.charge(source, rank, spent, now);
                }
                let next = turns.queue.pop(now);
                turns.free += usize::from(next.is_none());
                next
            }) else {
                return;
            };
            let charged = Some((source, rank));
            match next.send(Self { turns: Some(turns.clone()), charged, since: now }) {
                Ok(()) => return,
                // It gave up in this very moment; its turn must not be passed on a second time.
                Err(mut refused) => refused.turns = None,
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

    fn job(pool: &DhPool, from: u8, rank: Rank, most: usize) -> Job {
        Job { source: source(from), rank, ticket: pool.ticket(), most }
    }

    async fn busy(pool: &DhPool) -> Turn {
        pool.turn(job(pool, 1, Rank::Check, 64)).await.unwrap()
    }

    type Log = Arc<Mutex<Vec<u8>>>;

    /// Queues up and says its name when its turn comes.
    async fn queue_up(pool: &DhPool, name: u8, job: Job, log: &Log) -> tokio::task::JoinHandle<()> {
        let before = lock(&pool.turns).queue.len();
        let (own, log) = (pool.clone(), log.clone());
        let task = tokio::spawn(async move {
            let turn = own.turn(job).await;
            log.lock().unwrap().push(name);
            drop(turn);
        });
        while lock(&pool.turns).queue.len() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn a_computation_whose_caller_gave_up_leaves_the_queue_at_once() {
        let pool = DhPool::new(1);
        let busy = busy(&pool).await;
        let log = Log::default();
        let first = queue_up(&pool, 1, job(&pool, 1, Rank::Check, 64), &log).await;
        let second = queue_up(&pool, 2, job(&pool, 1, Rank::Check, 64), &log).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        // It takes nobody's place any more, even before its turn would have come.
        assert_eq!(lock(&pool.turns).queue.len(), 1);
        drop(busy);
        second.await.unwrap();
        assert_eq!(*log.lock().unwrap(), [2]);
        assert_eq!(lock(&pool.turns).free, 1);
    }

    #[tokio::test]
    async fn what_is_taken_out_of_a_full_queue_hears_so() {
        let pool = DhPool::new(1);
        let busy = busy(&pool).await;
        let own = pool.clone();
        let first = job(&pool, 2, Rank::Early, 1);
        let first = tokio::spawn(async move { own.turn(first).await.map(drop) });
        while lock(&pool.turns).queue.len() == 0 {
            tokio::task::yield_now().await;
        }
        // Another one of the same source that is further along.
        let log = Log::default();
        let second = queue_up_in_place(&pool, job(&pool, 2, Rank::Check, 1), &log);
        assert_eq!(first.await.unwrap(), Err(PoolError::Full));
        drop(busy);
        second.await.unwrap();
        assert_eq!(*log.lock().unwrap(), [9]);
    }

    fn queue_up_in_place(pool: &DhPool, job: Job, log: &Log) -> tokio::task::JoinHandle<()> {
        let (own, log) = (pool.clone(), log.clone());
        tokio::spawn(async move {
            let turn = own.turn(job).await;
            log.lock().unwrap().push(9);
            drop(turn);
        })
    }

    #[tokio::test]
    async fn a_computation_that_waits_can_be_moved_forward() {
        let pool = DhPool::new(1);
        let busy = busy(&pool).await;
        let log = Log::default();
        let mut tasks = Vec::new();
        let early = [1, 2].map(|_| job(&pool, 1, Rank::Early, 64));
        for (name, job) in [(1, early[0]), (2, early[1])] {
            tasks.push(queue_up(&pool, name, job, &log).await);
        }
        pool.rank(early[1].ticket, Rank::Pair);
        drop(busy);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*log.lock().unwrap(), [2, 1]);
        // Nothing waits under that name any more.
        pool.rank(early[1].ticket, Rank::Check);
        assert_eq!(lock(&pool.turns).queue.len(), 0);
    }

    fn generate(group: Group) -> DhTask {
        DhTask::Generate(ExponentSeed::draw(group, &mut rand::rng()))
    }

    /// A whole exchange's work on one side.
    async fn exchange(pool: &DhPool, group: Group) {
        let own = pool.run(generate(group), job(pool, 1, Rank::Pair, 64)).await.unwrap();
        let DhOutcome::Generated(own) = own else { panic!("asked for a pair") };
        let peer = own.public_text().parse().unwrap();
        let peer = PublicValue::check(group, peer).unwrap();
        let secret = job(pool, 1, Rank::Secret, 64);
        let agreed = pool.run(DhTask::Agree(own, peer), secret).await;
        assert!(matches!(agreed, Ok(DhOutcome::Agreed(_))));
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
        assert!(!pool.has_spare(group));
        exchange(&pool, group).await;
        timeout(Duration::from_secs(60), until_full(&pool)).await.unwrap();
        // All workers are busy, and still there are pairs, each another one.
        let busy = busy(&pool).await;
        let mut texts = Vec::new();
        for _ in 0..SPARE_PAIRS {
            assert!(pool.has_spare(group));
            match pool.run(generate(group), job(&pool, 1, Rank::Pair, 64)).await {
                Ok(DhOutcome::Generated(pair)) => texts.push(pair.public_text()),
                other => panic!("{other:?}"),
            }
        }
        assert!(!pool.has_spare(group));
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
