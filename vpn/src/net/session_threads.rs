//! Threads for sessions whose tasks wake each other often.
//!
//! A server has several threads, and any of them runs what is ready. A session with channels goes from
//! its socket to its targets and back all the time. If each step runs on another thread, the wake-ups take
//! longer than the work. So such a session runs on one thread, with a runtime of its own.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio::task::AbortHandle;

/// A thread, and how many sessions it has.
struct SessionThread {
    runtime: Handle,
    sessions: Arc<AtomicUsize>,
}

/// Runs `work` on the thread that has the fewest sessions, and returns its result. Sockets that it uses
/// must be registered there. If the future is dropped, the work is, too.
///
/// # Errors
///
/// If the system starts no thread, or if the work panics.
pub async fn on_session_thread<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let thread = quietest()?;
    thread.sessions.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(thread.sessions.clone());
    let task = thread.runtime.spawn(async move {
        let _counted = counted;
        work.await
    });
    let _aborting = Aborting(task.abort_handle());
    task.await.map_err(io::Error::other)
}

/// The thread with the fewest sessions. The threads start with the first session.
fn quietest() -> io::Result<Arc<SessionThread>> {
    static THREADS: Mutex<Vec<Arc<SessionThread>>> = Mutex::new(Vec::new());
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    while threads.len() < available_parallelism().map_or(1, usize::from) {
        threads.push(Arc::new(start()?));
    }
    let quietest = threads.iter().min_by_key(|thread| thread.sessions.load(Ordering::Relaxed));
    quietest.cloned().ok_or_else(|| io::Error::other("there is no thread"))
}

fn start() -> io::Result<SessionThread> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("sessions".to_owned());
    // It ends with the program.
    thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(SessionThread { runtime: handle, sessions: Arc::default() })
}

/// Counts as a session until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends a task when it is dropped.
struct Aborting(AbortHandle);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_a_thread_of_its_own_and_ends_with_its_future() {
        let here = std::thread::current().id();
        let there = on_session_thread(async { std::thread::current().id() }).await.unwrap();
        assert_ne!(there, here);
        let (sender, dropped) = tokio::sync::oneshot::channel::<()>();
        let work = on_session_thread(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        // The future is dropped while the work waits.
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), work).await.is_err());
        let gone = tokio::time::timeout(std::time::Duration::from_secs(60), dropped);
        assert!(gone.await.unwrap().is_err());
        let panicked = on_session_thread(async { panic!("a test has it fail") }).await;
        assert!(panicked.is_err_and(|error: io::Error| error.to_string().contains("panic")));
    }
}
