//! The sessions that each key has now. If a key has as many as it may have, those of them that may be
//! dead are asked for a sign of life: a client whose connection was cut comes back before the server
//! has noticed the cut.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long a session has to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);
/// How long a newcomer waits for the end of a dead session.
const WAIT: Duration = Duration::from_secs(4);

type Key = [u8; 32];

/// Counts the sessions of every key.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySessions(Arc<Mutex<HashMap<Key, OfKey>>>);

#[derive(Debug, Default)]
struct OfKey {
    count: usize,
    doubts: Doubts,
    /// Sends when a session ends.
    freed: watch::Sender<()>,
}

/// Tells the sessions of a key that one of them may be dead.
#[derive(Clone, Debug, Default)]
pub struct Doubts(watch::Sender<()>);

/// A session that hears of doubts. Without it, a session is never asked.
#[derive(Debug)]
pub(crate) struct Doubted(watch::Receiver<()>);

impl Doubts {
    pub(crate) fn subscribe(&self) -> Doubted {
        Doubted(self.0.subscribe())
    }

    /// Asks the sessions of the key that can answer. Returns how many there are.
    pub(crate) fn raise(&self) -> usize {
        self.0.send_replace(());
        self.0.receiver_count()
    }
}

impl Doubted {
    /// Waits until the session has to show within [`ANSWER`] that it is alive.
    pub(crate) async fn asked(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

/// Counts as one session of a key until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    sessions: KeySessions,
    key: Key,
    pub(super) doubts: Doubts,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        if let Some(of_key) = sessions.get_mut(&self.key) {
            of_key.count -= 1;
            of_key.freed.send_replace(());
            if of_key.count == 0 {
                sessions.remove(&self.key);
            }
        }
    }
}

impl KeySessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, OfKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more session of a key that may have `most` sessions. If it has them already, those
    /// that can answer are asked, and the end of one is waited for. `None` if none ends.
    pub(super) async fn count(&self, key: Key, most: Option<usize>) -> Option<Counted> {
        let until = Instant::now() + WAIT;
        let mut has_asked = false;
        loop {
            let mut freed = {
                let mut sessions = self.lock();
                let count = sessions.get(&key).map_or(0, |of_key| of_key.count);
                if most.is_none_or(|most| count < most) {
                    let of_key = sessions.entry(key).or_default();
                    of_key.count += 1;
                    let doubts = of_key.doubts.clone();
                    return Some(Counted { sessions: self.clone(), key, doubts });
                }
                let of_key = sessions.get(&key)?;
                if !std::mem::replace(&mut has_asked, true) && of_key.doubts.raise() == 0 {
                    return None;
                }
                of_key.freed.subscribe()
            };
            // An error means that all sessions of the key have ended.
            if timeout_at(until, freed.changed()).await.is_err() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [7; 32];

    #[tokio::test(start_paused = true)]
    async fn a_key_has_as_many_sessions_as_it_may_have() {
        let sessions = KeySessions::default();
        assert!(sessions.count(KEY, Some(0)).await.is_none());
        let first = sessions.count(KEY, Some(2)).await.unwrap();
        let second = sessions.count(KEY, Some(2)).await.unwrap();
        let before = Instant::now();
        // No session can be asked, so nobody waits.
        assert!(sessions.count(KEY, Some(2)).await.is_none());
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert!(sessions.count([8; 32], Some(1)).await.is_some());
        drop(first);
        assert!(sessions.count(KEY, Some(2)).await.is_some());
        drop(second);
        assert_eq!(sessions.lock().len(), 0);
        assert!(sessions.count(KEY, None).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_session_makes_room_for_a_newcomer() {
        let sessions = KeySessions::default();
        let dead = sessions.count(KEY, Some(1)).await.unwrap();
        let mut doubted = dead.doubts.subscribe();
        let ends = async {
            doubted.asked().await;
            tokio::time::sleep(ANSWER).await;
            drop(dead);
        };
        let before = Instant::now();
        let ((), newcomer) = tokio::join!(ends, sessions.count(KEY, Some(1)));
        assert!(newcomer.is_some());
        assert_eq!(before.elapsed(), ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_lives_keeps_its_place() {
        let sessions = KeySessions::default();
        let alive = sessions.count(KEY, Some(1)).await.unwrap();
        let mut doubted = alive.doubts.subscribe();
        let before = Instant::now();
        assert!(sessions.count(KEY, Some(1)).await.is_none());
        assert_eq!(before.elapsed(), WAIT);
        // It was asked once.
        doubted.asked().await;
        let again = tokio::time::timeout(Duration::from_secs(60), doubted.asked()).await;
        assert!(again.is_err());
    }
}
