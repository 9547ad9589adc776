//! The server's side of classic sessions, one connection at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::reversal::reversed;
use crate::net::limits::{CLOSE, Limits, REPLY};
use crate::net::{
    Admission, BUSY, ClassicIoError, DhPool, Driver, Input, Progress, Shutdown, Source,
    lingering_close, read_some, send,
};
use crate::output::Reason;
use crate::output::log::SESSION;
use crate::term::{Console, ConsoleClosed, Observers, SessionObserver};
use vpn_proto::classic::{
    Advice, ClassicParams, MacRule, Role, ServerHandshake, ServerSession, Trouble,
};
use vpn_proto::{Printable, SessionError, SuiteId};

/// Serves classic sessions: prints every message and answers with its text reversed.
#[derive(Clone, Debug)]
pub struct ClassicServer {
    params: ClassicParams,
    limits: Limits,
    pool: DhPool,
    console: Console,
    shutdown: Shutdown,
    established: Option<Arc<Notify>>,
    observers: Observers,
}

impl ClassicServer {
    /// A server with these settings. It computes in `pool`, prints to `console`, and stops when
    /// `shutdown` says so.
    pub fn new(
        params: ClassicParams,
        limits: Limits,
        pool: DhPool,
        console: Console,
        shutdown: Shutdown,
    ) -> Self {
        let observers = Observers::default();
        Self { params, limits, pool, console, shutdown, established: None, observers }
    }

    /// Adds observers, which see what happens in each session.
    #[must_use]
    pub fn observed_by(mut self, observers: Observers) -> Self {
        self.params.telling = observers.telling(Role::Server);
        self.observers = observers;
        self
    }

    /// Adds a notification for each session, sent when its key is established and the line that
    /// says so is printed.
    #[must_use]
    pub fn notifying(mut self, established: Arc<Notify>) -> Self {
        self.established = Some(established);
        self
    }

    /// Serves one connection to its end. Errors are logged here.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, admission: &Admission) {
        match self.session(stream, peer, admission).await {
            Ok(reason) => log::info!(target: SESSION, "{peer}: {reason}"),
            // The client did nothing wrong. The server ends because its output is closed.
            Err(ClassicError::Console(error)) => log::info!(target: SESSION, "{peer}: {error}"),
            Err(error) => log::warn!("{peer}: {error}"),
        }
    }

    async fn session(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
    ) -> Result<&'static str, ClassicError> {
        let console = self.console.for_client(peer);
        console.line(format!("New client: {peer}")).await?;
        console.line("Negotiating the cipher").await?;
        let mut observer =
            self.observers.observe(Role::Server, self.params.plan, peer.to_string()).await;
        let started = Instant::now();
        let mut params = self.params.clone();
        if peer.ip().to_canonical().is_loopback() && acknowledges_at_once(&stream) {
            params.timing = params.timing.without_network();
        }
        let handshake = ServerHandshake::new(params, &mut rand::rng());
        let deadline = started + self.limits.handshake;
        let source = Source::of(peer.ip());
        let mut driver =
            Driver::new(&mut stream, handshake, &self.pool, source, deadline).admitted(admission);
        let shaken = shake_hands(&mut driver, &console, &mut observer).await?;
        drop(driver);
        let session = match shaken {
            Ok(session) => session,
            Err(error) => {
                let advice = observer.fail_handshake(&error).await;
                if matches!(error, ClassicIoError::Full) {
                    admission.excuse();
                    // If this cannot be sent, the client still sees the close.
                    let _ = send(&mut stream, BUSY, CLOSE).await;
                }
                lingering_close(stream).await;
                return Err(ClassicError::Handshake(error).advised(advice));
            }
        };
        admission.await_first_message();
        self.announce(peer, &console, session.suite(), started).await?;
        let client = Client { peer, admission, console: &console };
        let ended = self.exchange(&mut stream, session, &client, &mut observer).await;
        let advice = match &ended {
            Err(ClassicError::Session(error)) => observer.fail_session(error).await,
            Err(ClassicError::Io(error)) => {
                observer.fail(Trouble::Lost, &Reason(error).to_string()).await
            }
            _ => None,
        };
        if let Err(ClassicError::Session(error)) = &ended {
            if let Some(text) = error.refusal() {
                // If this cannot be sent, the client still sees the close.
                let _ = send(&mut stream, text.as_bytes(), CLOSE).await;
            }
            lingering_close(stream).await;
        }
        ended.map_err(|error| error.advised(advice))
    }

    /// Prints and logs that the key is established, and sends the notification.
    async fn announce(
        &self,
        peer: SocketAddr,
        console: &Console,
        suite: SuiteId,
        started: Instant,
    ) -> Result<(), ConsoleClosed> {
        console.line("The key has been established").await?;
        if let Some(established) = &self.established {
            console.flush().await?;
            established.notify_one();
        }
        log::info!("{peer}: {suite} established in {:?}", started.elapsed());
        log::info!(
            target: SESSION,
            "{peer}: classic session with {suite}: the client is not authenticated"
        );
        Ok(())
    }

    async fn exchange(
        &self,
        stream: &mut TcpStream,
        mut session: ServerSession,
        client: &Client<'_>,
        observer: &mut SessionObserver,
    ) -> Result<&'static str, ClassicError> {
        let result = self.converse(stream, &mut session, client, observer).await;
        pass_on_notes(&mut session, observer).await;
        result
    }

    async fn converse(
        &self,
        stream: &mut TcpStream,
        session: &mut ServerSession,
        client: &Client<'_>,
        observer: &mut SessionObserver,
    ) -> Result<&'static str, ClassicError> {
        let mut rule = session.mac_rule();
        let mut idle_since = Instant::now();
        let mut has_ended = false;
        let mut shutdown = self.shutdown.clone();
        loop {
            while let Some(text) = session.next_text(Instant::now())? {
                idle_since = Instant::now();
                // The text had a right HMAC, so the client has the key.
                client.admission.establish();
                let answer = reversed(&text);
                let reply = session.reply(&answer);
                deliver(stream, &text, &reply, client).await?;
                session.replied(&reply, &answer);
                pass_on_notes(session, observer).await;
                if rule.is_none() && session.mac_rule().is_some() {
                    rule = session.mac_rule();
                    let name = match rule {
                        Some(MacRule::Cumulative) => "all ciphertext so far",
                        _ => "each message by itself",
                    };
                    log::info!("{}: the client's HMAC covers {name}", client.peer);
                }
            }
            if has_ended {
                session.handle_eof()?;
                return Ok("the client closed the session");
            }
            let idle = idle_since + self.limits.idle;
            let due = session.poll_timeout().map_or(idle, |t| t.min(idle));
            tokio::select! {
                ready = stream.readable() => {
                    ready?;
                    match read_some(stream)? {
                        Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                        Input::Nothing => {}
                        Input::End => has_ended = true,
                    }
                }
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    session.handle_timeout(now)?;
                    if now >= idle {
                        return Ok("closed, nothing happened for too long");
                    }
                }
                () = shutdown.wait(), if session.is_between_messages() => {
                    return Ok("closed, the server is stopping");
                }
            }
        }
    }
}

/// The client of a session.
struct Client<'a> {
    peer: SocketAddr,
    /// Its place among the half-open connections.
    admission: &'a Admission,
    /// Where the lines of its session go.
    console: &'a Console,
}

/// Drives a handshake to its end, prints its progress, and passes its notes on. The outer error is
/// that of the console.
async fn shake_hands(
    driver: &mut Driver<'_, ServerHandshake>,
    console: &Console,
    observer: &mut SessionObserver,
) -> Result<Result<ServerSession, ClassicIoError>, ConsoleClosed> {
    loop {
        match driver.next().await {
            Ok(Progress::Chosen(id)) => {
                console.line(format!("We are going to use {id}")).await?;
                console.line("Negotiating the key").await?;
            }
            Ok(Progress::Done(session)) => return Ok(Ok(session)),
            Ok(Progress::Note(note)) => observer.note(note).await,
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Prints a text and sends the reply to it.
async fn deliver(
    stream: &mut TcpStream,
    text: &[u8],
    reply: &[u8],
    client: &Client<'_>,
) -> Result<(), ClassicError> {
    if str::from_utf8(text).is_err() {
        log::warn!("{}: a text that is not UTF-8; it is answered byte by byte", client.peer);
    }
    client.console.line(format!("Received: {}", Printable(text))).await?;
    if reply.is_empty() {
        return Ok(());
    }
    send(stream, reply, REPLY).await.map_err(ClassicError::Io)
}

/// Asks the system to acknowledge received bytes without delay; returns whether it does. A client
/// that writes its line end separately sends it only after the bytes before it are acknowledged.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn acknowledges_at_once(stream: &TcpStream) -> bool {
    let set = socket2::SockRef::from(stream).set_tcp_quickack(true);
    set.inspect_err(|error| log::debug!("acknowledgements may be late: {error}")).is_ok()
}

/// The same for systems without this option.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn acknowledges_at_once(_: &TcpStream) -> bool {
    false
}

async fn pass_on_notes(session: &mut ServerSession, observer: &mut SessionObserver) {
    while let Some(note) = session.poll_note() {
        observer.note(note).await;
    }
}

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
enum ClassicError {
    #[error("{error}; {advice}")]
    Advised { error: Box<Self>, advice: Box<Advice> },
    #[error("{0}")]
    Console(#[from] ConsoleClosed),
    #[error("{0}")]
    Handshake(ClassicIoError),
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Session(#[from] SessionError),
}

impl ClassicError {
    /// Adds the setting that may help, if there is one.
    fn advised(self, advice: Option<Advice>) -> Self {
        match advice {
            Some(advice) => Self::Advised { error: Box::new(self), advice: Box::new(advice) },
            None => self,
        }
    }
}
