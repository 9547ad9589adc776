//! Accepts connections until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::admission::{Admission, AdmissionControl, Eviction, Refused};
use super::limits::{CLOSE, SHUTDOWN};
use super::socket::{lingering_close, send};
use vpn_proto::Profile;
use vpn_proto::sealed::Reject;

/// What a client of the classic profile is told when there is no room (PROTOCOL.md §3.7).
pub const BUSY: &[u8] = b"Too many sessions, try again later";
/// How many clients are told so at once. Others are closed without a message.
const BUSY_AT_ONCE: usize = 64;
/// How long to wait when the system has no descriptor for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A signal that tells sessions to stop. Clones get the same signal.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A signal, and the sender that triggers it with `true`.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, signal) = watch::channel(false);
        (sender, Self(signal))
    }

    /// Waits for the signal. Returns at once if it was triggered before.
    ///
    /// Cancel safety: nothing is lost if the future is dropped.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, so that nobody could stop us later: stop now.
        let _ = self.0.wait_for(|&stop| stop).await;
    }
}

/// A server: its listening sockets and its limits.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    sessions: usize,
    control: AdmissionControl,
}

impl Server {
    /// A server on these sockets with at most `sessions` sessions at once.
    pub fn new(listeners: Vec<TcpListener>, sessions: usize) -> Self {
        Self { listeners, sessions, control: AdmissionControl::unlimited() }
    }

    /// Sets the admission control of the server. A connection that it refuses because of its source is
    /// closed without a message. `None` changes nothing.
    #[must_use]
    pub fn controlled_by(mut self, control: Option<AdmissionControl>) -> Self {
        self.control = control.unwrap_or(self.control);
        self
    }

    /// The port of the first socket. 0 if there is none.
    pub fn port(&self) -> u16 {
        self.listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port())
    }

    /// Calls `serve` for every connection until the signal comes. Then it waits for the sessions to
    /// end, for [`SHUTDOWN`] at most.
    ///
    /// `serve` gets the socket, the address of the peer, and the admission of the connection. When there
    /// is no room for another connection, one that has not authenticated is evicted: its future is
    /// dropped. [`Admission::establish`] protects a connection from that.
    ///
    /// Cancel safety: if the future is dropped, all sessions are cut off.
    pub async fn run<F, Fut>(self, mut shutdown: Shutdown, serve: F)
    where
        F: Fn(TcpStream, SocketAddr, Admission) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(self.sessions));
        let refusals = Arc::new(Semaphore::new(BUSY_AT_ONCE));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept_any(&self.listeners) => accepted,
                Some(_) = tasks.join_next() => continue,
                () = shutdown.wait() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    // With Nagle's algorithm small messages would wait for acknowledgements.
                    if let Err(error) = stream.set_nodelay(true) {
                        log::debug!("{peer}: {error}");
                    }
                    let slot = slots.clone().try_acquire_owned().ok();
                    match self.control.enter(peer.ip(), slot.is_some()) {
                        Ok((admission, eviction)) => {
                            // Boxed: a task that awaits it unboxed has room for it twice.
                            let session = Box::pin(serve(stream, peer, admission));
                            tasks.spawn(session_task(session, peer, slot, slots.clone(), eviction));
                        }
                        Err(refused) => self.refuse(stream, peer, refused, &refusals, &mut tasks),
                    }
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    // An idle connection must not keep a descriptor from others.
                    self.control.make_room();
                    let _ = timeout(EXHAUSTED_PAUSE, tasks.join_next()).await;
                }
            }
        }
        drop(self.listeners);
        let rest = async { while tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN, rest).await.is_err() {
            log::warn!("{} sessions were cut off", tasks.len());
        }
        tasks.shutdown().await;
    }

    /// Closes a connection that is refused. It gets a message only if the server is full.
    fn refuse(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        refused: Refused,
        refusals: &Arc<Semaphore>,
        tasks: &mut JoinSet<()>,
    ) {
        if refused != Refused::Full {
            log::info!("{peer}: closed, {refused}");
            return;
        }
        log::warn!("{peer}: refused, {} sessions are the limit", self.sessions);
        if let Ok(permit) = refusals.clone().try_acquire_owned() {
            let has_sealed = self.control.is_limited();
            tasks.spawn(async move {
                send_busy(stream, has_sealed).await;
                drop(permit);
            });
        }
    }
}

/// The task of a session, which ends when the session ends or is evicted. It holds a slot, or waits for
/// one that an evicted connection frees in a moment.
#[allow(clippy::manual_async_fn, reason = "the future of an async fn stores its arguments twice")]
fn session_task(
    session: Pin<Box<impl Future<Output = ()> + Send>>,
    peer: SocketAddr,
    slot: Option<OwnedSemaphorePermit>,
    slots: Arc<Semaphore>,
    eviction: Eviction,
) -> impl Future<Output = ()> + Send {
    async move {
        let slot = match slot {
            Some(slot) => Ok(slot),
            None => slots.acquire_owned().await,
        };
        tokio::select! {
            () = session => {}
            Ok(reason) = eviction => {
                log::warn!("{peer}: {reason}");
            }
        }
        drop(slot);
    }
}

/// Tells a client in its own profile that there is no room, and closes the connection.
async fn send_busy(mut stream: TcpStream, has_sealed: bool) {
    let mut first = [0];
    let is_sealed = has_sealed
        && matches!(timeout(CLOSE, stream.peek(&mut first)).await, Ok(Ok(1)))
        && Profile::of_first_byte(first[0]) == Some(Profile::Sealed);
    let sealed = is_sealed.then(|| Reject::Busy.encode());
    if send(&mut stream, sealed.as_deref().unwrap_or(BUSY), CLOSE).await.is_ok() {
        lingering_close(stream).await;
    }
}

/// Accepts a connection from the first listener that has one.
async fn accept_any(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}
