//! Accepts connections, as many as the limits allow, until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::admission::Admission;
use super::admission::{AdmissionControl, Refused};
use super::limits::{CLOSE, SHUTDOWN};
use super::socket::{lingering_close, send};
use vpn_proto::Profile;
use vpn_proto::sealed::Reject;

/// What a client of the classic profile hears when there are too many.
pub const BUSY: &[u8] = b"Too many sessions, try again later";
/// How many clients are told so at once; beyond that they are closed without a word.
const BUSY_AT_ONCE: usize = 64;
/// How long to wait for a descriptor when the system has none left for a connection.
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
    control: AdmissionControl,
}

impl Server {
    /// Serves on these sockets, at most `sessions` at once.
    pub fn new(listeners: Vec<TcpListener>, sessions: usize) -> Self {
        Self { listeners, sessions, control: AdmissionControl::unlimited() }
    }

    /// Also asks these whether a connection is taken; one that is not is closed without a word.
    #[must_use]
    pub fn controlled_by(mut self, control: Option<AdmissionControl>) -> Self {
        self.control = control.unwrap_or(self.control);
        self
    }

    /// The port that it listens on; 0 if there is none.
    pub fn port(&self) -> u16 {
        self.listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port())
    }

    /// Hands every connection to `serve` until the signal comes; then lets what runs finish, for
    /// a few seconds at most.
    ///
    /// When there is no room, a connection that has not proved itself makes some, of the source with
    /// the most of them; those whose [`Admission`] was told that they are established stay.
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
                    // Without it small messages would wait for acknowledgements.
                    if let Err(error) = stream.set_nodelay(true) {
                        log::debug!("{peer}: {error}");
                    }
                    let slot = slots.clone().try_acquire_owned().ok();
                    let (admission, eviction) = match self.control.enter(peer.ip(), slot.is_some())
                    {
                        Ok(entered) => entered,
                        Err(Refused::Full) => {
                            log::warn!("{peer}: refused, {} sessions are the limit", self.sessions);
                            if let Ok(turn) = refusals.clone().try_acquire_owned() {
                                let has_sealed = self.control.is_limited();
                                tasks.spawn(async move {
                                    refuse(stream, has_sealed).await;
                                    drop(turn);
                                });
                            }
                            continue;
                        }
                        Err(refused) => {
                            log::info!("{peer}: closed, {refused}");
                            continue;
                        }
                    };
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
                            Ok(why) = eviction => {
                                log::warn!("{peer}: {why}");
                            }
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    // Connections that do nothing must not keep descriptors from all others.
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
}

/// Says that there is no room, in the words of the client's profile.
async fn refuse(mut stream: TcpStream, has_sealed: bool) {
    let mut first = [0];
    let is_sealed = has_sealed
        && matches!(timeout(CLOSE, stream.peek(&mut first)).await, Ok(Ok(1)))
        && Profile::of_first_byte(first[0]) == Some(Profile::Sealed);
    let sealed = is_sealed.then(|| Reject::Busy.encode());
    if send(&mut stream, sealed.as_deref().unwrap_or(BUSY), CLOSE).await.is_ok() {
        lingering_close(stream).await;
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
