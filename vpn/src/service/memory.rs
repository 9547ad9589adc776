//! Memory for long messages: what all sessions of a server may have together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message up to this length needs no share: what a session may have in any case.
pub(super) const FREE: usize = 16 * 1024;
/// What is accounted at once.
const UNIT: usize = 1024;
/// How many times a message is in memory while it is answered: the text, and the line that shows it,
/// which may be twice as long while it grows; and pieces of its answer.
const COPIES: usize = 4;

/// The memory. Sessions that want a share wait in the order in which they asked, and none of them holds a
/// part of what it needs while it waits.
#[derive(Clone, Debug)]
pub(super) struct MessageMemory {
    units: Arc<Semaphore>,
    most: u32,
}

/// A share of the memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    _units: Option<OwnedSemaphorePermit>,
}

impl MessageMemory {
    /// So many bytes in all.
    pub(super) fn new(bytes: usize) -> Self {
        let most = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        let most = most.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { units: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// A share for a message of this length, once there is one. What is longer than all of the memory
    /// gets all of it.
    pub(super) async fn share(&self, length: usize) -> Share {
        if length <= FREE {
            return Share { _units: None };
        }
        let units = u32::try_from((COPIES * length).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = self.units.clone().acquire_many_owned(units.min(self.most)).await;
        // Nobody closes it; if somebody did, there would be nothing to wait for.
        Share { _units: units.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: usize = 1 << 20;

    #[tokio::test]
    async fn a_share_that_is_not_there_is_waited_for_and_given_back() {
        let memory = MessageMemory::new(COPIES * LONG);
        let first = memory.share(LONG).await;
        assert!(timeout(SOON, memory.share(FREE + 1)).await.is_err());
        // Short ones never wait.
        timeout(SOON, memory.share(FREE)).await.unwrap();
        drop(first);
        timeout(SOON, memory.share(LONG)).await.unwrap();
    }

    #[tokio::test]
    async fn a_long_message_is_not_starved_by_shorter_ones() {
        let memory = MessageMemory::new(COPIES * LONG);
        let holder = memory.share(LONG / 2).await;
        let long = tokio::spawn({
            let memory = memory.clone();
            async move { memory.share(LONG).await }
        });
        tokio::task::yield_now().await;
        // It would fit, but it came later.
        assert!(timeout(SOON, memory.share(LONG / 4)).await.is_err());
        drop(holder);
        timeout(SOON, long).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_message_longer_than_the_memory_gets_all_of_it() {
        let memory = MessageMemory::new(LONG);
        let all = timeout(SOON, memory.share(LONG)).await.unwrap();
        assert!(timeout(SOON, memory.share(FREE + 1)).await.is_err());
        drop(all);
    }
}
