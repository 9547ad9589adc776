//! A bounded pool for Diffie-Hellman, so that handshakes cannot starve sessions.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::proto::{DhOutcome, DhTask};

/// Runs at most so many [`DhTask`]s at once, off the network threads.
#[derive(Clone, Debug)]
pub struct DhPool {
    workers: Arc<Semaphore>,
}

impl DhPool {
    /// A pool for this many computations at once, at least one.
    pub fn new(workers: usize) -> Self {
        Self { workers: Arc::new(Semaphore::new(workers.max(1))) }
    }

    /// Runs a task when its turn comes. `None` only if the runtime is going down.
    pub async fn run(&self, task: DhTask) -> Option<DhOutcome> {
        let turn = self.workers.clone().acquire_owned().await.ok()?;
        let work = move || {
            // Held until the computation is over, also when nobody waits for it any more.
            let _turn = turn;
            let (name, started) = (task.name(), Instant::now());
            let outcome = task.run();
            log::debug!("key exchange: {name} took {:?}", started.elapsed());
            outcome
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}
