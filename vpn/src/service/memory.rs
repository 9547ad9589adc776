//! The memory for long messages, which all sessions of a server share (PROTOCOL.md §4.7).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message of at most this many bytes needs no share.
pub(super) const FREE: usize = 16 * 1024;
/// The memory is counted in units of this many bytes.
const UNIT: usize = 1024;
/// The memory that a message needs while it is answered, as a multiple of its length: the text, the
/// line that shows it (twice its length while it grows), and pieces of the answer.
const COPIES: usize = 4;

/// The shared memory. Sessions wait for their shares in the order in which they asked. A session
/// that waits holds nothing.
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
    /// A memory of this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let most = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        let most = most.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { units: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Waits for a share for a message of `length` bytes. A message that needs more than the whole
    /// memory gets the whole memory.
    pub(super) async fn share(&self, length: usize) -> Share {
        if length <= FREE {
            return Share { _units: None };
        }
        let units = u32::try_from((COPIES * length).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = self.units.clone().acquire_many_owned(units.min(self.most)).await;
        // The semaphore is never closed, so there is no error.
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
    async fn a_message_waits_until_a_share_is_free() {
        let memory = MessageMemory::new(COPIES * LONG);
        let first = memory.share(LONG).await;
        assert!(timeout(SOON, memory.share(FREE + 1)).await.is_err());
        // Short ones never wait.
        timeout(SOON, memory.share(FREE)).await.unwrap();
        drop(first);
        timeout(SOON, memory.share(LONG)).await.unwrap();
    }

    #[tokio::test]
    async fn shorter_messages_do_not_overtake_a_long_one() {
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
