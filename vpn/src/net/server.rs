//! Accepts connections, as many as the limits allow, until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::admission::{Admission, Admissions};
use super::limits::{FAREWELL, SHUTDOWN};
use super::pump::{farewell, send};
use super::source::Source;
use super::visitors::{Visit, Visitors};

/// What a client hears when there are too many.
const BUSY: &[u8] = b"Too many sessions, try again later";
/// How many clients are told so at once; beyond that they are closed without a word.
const BUSY_AT_ONCE: usize = 64;
/// How long to pause when the system has no descriptor left for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Tells sessions to come to an end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A signal, and the switch that sets it off.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (switch, signal) = watch::channel(false);
        (switch, Self(signal))
    }

    /// Returns once it is time to stop.
    pub async fn wait(&mut self) {
        // A dropped switch means that whoever could have stopped us is gone: stop.
        let _ = self.0.wait_for(|&stop| stop).await;
    }
}

/// A set of listening sockets and the limit of sessions.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    sessions: usize,
    visitors: Option<Visitors>,
}

impl Server {
    /// Serves on these sockets, at most `sessions` at once.
    pub fn new(listeners: Vec<TcpListener>, sessions: usize) -> Self {
        Self { listeners, sessions, visitors: None }
    }

    /// Also asks these whether a connection is taken; one that is not is closed without a word.
    #[must_use]
    pub fn asking(mut self, visitors: Option<Visitors>) -> Self {
        self.visitors = visitors;
        self
    }

    /// The port that it listens on; 0 if there is none.
    pub fn port(&self) -> u16 {
        self.listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port())
    }

    /// Hands every connection to `serve` until the signal comes; then lets what runs finish, for
    /// a few seconds at most.
    ///
    /// When there is no room, the oldest handshake of the source with the most handshakes makes
    /// some; sessions whose [`Admission`] was told that they are established stay.
    pub async fn run<F, Fut>(self, mut shutdown: Shutdown, serve: F)
    where
        F: Fn(TcpStream, SocketAddr, Admission) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(self.sessions));
        let admissions = Admissions::default();
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
                    // Without it small messages would wait for acknowledgements.
                    if let Err(error) = stream.set_nodelay(true) {
                        log::debug!("{peer}: {error}");
                    }
                    let visit = match self.visitors.as_ref().map(|v| v.enter(peer.ip())) {
                        Some(Err(turned)) => {
                            log::info!("{peer}: closed, {turned}");
                            continue;
                        }
                        Some(Ok(visit)) => visit,
                        None => Visit::uncounted(),
                    };
                    let slot = slots.clone().try_acquire_owned().ok();
                    if slot.is_none() && !admissions.evict_one() {
                        log::warn!("{peer}: refused, {} sessions are the limit", self.sessions);
                        if let Ok(turn) = refusals.clone().try_acquire_owned() {
                            tasks.spawn(async move {
                                refuse(stream).await;
                                drop(turn);
                            });
                        }
                        continue;
                    }
                    let (admission, eviction) = admissions.admit(Source::of(peer.ip()), visit);
                    // Boxed: a task that awaits it would have room for it twice.
                    let served = Box::pin(serve(stream, peer, admission));
                    let slots = slots.clone();
                    tasks.spawn(async move {
                        // Whoever was told to go leaves its slot in a moment.
                        let slot = match slot {
                            Some(slot) => Ok(slot),
                            None => slots.acquire_owned().await,
                        };
                        tokio::select! {
                            () = served => {}
                            Ok(()) = eviction => {
                                log::warn!("{peer}: its handshake had to make room for others");
                            }
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    sleep(EXHAUSTED_PAUSE).await;
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
}

async fn refuse(mut stream: TcpStream) {
    if send(&mut stream, BUSY, FAREWELL).await.is_ok() {
        farewell(stream).await;
    }
}

/// Accepts from whichever listener has a connection first.
async fn accept_any(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        for listener in listeners {
            if let std::task::Poll::Ready(accepted) = listener.poll_accept(context) {
                return std::task::Poll::Ready(accepted);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
