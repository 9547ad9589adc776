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
use crate::term::{Console, ConsoleClosed, Observers, Watch};
use vpn_proto::classic::{
    Advice, ClassicParams, MacRule, Role, ServerHandshake, ServerSession, Trouble,
};
use vpn_proto::{Printable, SessionError};

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
    /// A server with these settings, printing to `console` until told to stop.
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

    /// Also tells these what happens.
    #[must_use]
    pub fn observed_by(mut self, observers: Observers) -> Self {
        self.params.telling = observers.telling(Role::Server);
        self.observers = observers;
        self
    }

    /// Also notifies whenever a key has been established and the line that says so is printed.
    #[must_use]
    pub fn notifying(mut self, established: Arc<Notify>) -> Self {
        self.established = Some(established);
        self
    }

    /// Serves one connection to its end. What goes wrong is logged and stays here.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, admission: &Admission) {
        match self.session(stream, peer, admission).await {
            Ok(reason) => log::info!(target: SESSION, "{peer}: {reason}"),
            // That is no fault of the client's, and the server ends.
            Err(Ended::Console(error)) => log::info!(target: SESSION, "{peer}: {error}"),
            Err(error) => log::warn!("{peer}: {error}"),
        }
    }

    async fn session(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
    ) -> Result<&'static str, Ended> {
        let console = self.console.for_client(peer);
        console.line(format!("New client: {peer}")).await?;
        console.line("Negotiating the cipher").await?;
        let mut watch =
            self.observers.watch(Role::Server, self.params.plan, peer.to_string()).await;
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
        let session = loop {
            match driver.next().await {
                Ok(Progress::Chosen(id)) => {
                    console.line(format!("We are going to use {id}")).await?;
                    console.line("Negotiating the key").await?;
                }
                Ok(Progress::Done(session)) => break session,
                Ok(Progress::Note(note)) => watch.tell(note).await,
                Err(error) => {
                    drop(driver);
                    let advice = watch.fail_handshake(&error).await;
                    if matches!(error, ClassicIoError::Full) {
                        admission.excuse();
                        // If it cannot be told, closing says enough.
                        let _ = send(&mut stream, BUSY, CLOSE).await;
                    }
                    lingering_close(stream).await;
                    return Err(Ended::Handshake(error).advised(advice));
                }
            }
        };
        drop(driver);
        admission.await_first_message();
        console.line("The key has been established").await?;
        if let Some(established) = &self.established {
            console.flush().await?;
            established.notify_one();
        }
        log::info!("{peer}: {} established in {:?}", session.suite(), started.elapsed());
        log::info!(
            target: SESSION,
            "{peer}: classic session with {}: the client is not authenticated",
            session.suite()
        );
        let client = Client { peer, admission, console: &console };
        let ended = self.exchange(&mut stream, session, &client, &mut watch).await;
        let advice = match &ended {
            Err(Ended::Session(error)) => watch.fail_session(error).await,
            Err(Ended::Io(error)) => watch.fail(Trouble::Lost, &Reason(error).to_string()).await,
            _ => None,
        };
        if let Err(Ended::Session(error)) = &ended {
            if let Some(text) = error.refusal() {
                // If it cannot be told, closing says enough.
                let _ = send(&mut stream, text.as_bytes(), CLOSE).await;
            }
            lingering_close(stream).await;
        }
        ended.map_err(|error| error.advised(advice))
    }

    async fn exchange(
        &self,
        stream: &mut TcpStream,
        mut session: ServerSession,
        client: &Client<'_>,
        watch: &mut Watch,
    ) -> Result<&'static str, Ended> {
        let result = self.converse(stream, &mut session, client, watch).await;
        tell_all(&mut session, watch).await;
        result
    }

    async fn converse(
        &self,
        stream: &mut TcpStream,
        session: &mut ServerSession,
        client: &Client<'_>,
        watch: &mut Watch,
    ) -> Result<&'static str, Ended> {
        let mut rule = session.mac_rule();
        let mut idle_since = Instant::now();
        let mut has_ended = false;
        let mut shutdown = self.shutdown.clone();
        loop {
            while let Some(text) = session.next_text(Instant::now())? {
                idle_since = Instant::now();
                // Its HMAC is right.
                client.admission.establish();
                let answer = reversed(&text);
                let reply = session.reply(&answer);
                deliver(stream, &text, &reply, client).await?;
                session.replied(&reply, &answer);
                tell_all(session, watch).await;
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
    /// Its place among the connections whose handshake is not over.
    admission: &'a Admission,
    /// Where the lines of its session go.
    console: &'a Console,
}

/// Prints a text and sends the reply to it.
async fn deliver(
    stream: &mut TcpStream,
    text: &[u8],
    reply: &[u8],
    client: &Client<'_>,
) -> Result<(), Ended> {
    if str::from_utf8(text).is_err() {
        log::warn!("{}: a text that is not UTF-8; it is answered byte by byte", client.peer);
    }
    client.console.line(format!("Received: {}", Printable(text))).await?;
    if reply.is_empty() {
        return Ok(());
    }
    send(stream, reply, REPLY).await.map_err(Ended::Io)
}

/// Has what comes acknowledged without delay, where the system can: a client that writes a line end by
/// itself sends it only once what came before is acknowledged.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn acknowledges_at_once(stream: &TcpStream) -> bool {
    let set = socket2::SockRef::from(stream).set_tcp_quickack(true);
    set.inspect_err(|error| log::debug!("acknowledgements may be late: {error}")).is_ok()
}

/// As above; here the system cannot.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn acknowledges_at_once(_: &TcpStream) -> bool {
    false
}

async fn tell_all(session: &mut ServerSession, watch: &mut Watch) {
    while let Some(note) = session.poll_note() {
        watch.tell(note).await;
    }
}

/// Why a session ended that should not have.
#[derive(Debug, thiserror::Error)]
enum Ended {
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

impl Ended {
    /// The same with what may mend it, if something is known that may.
    fn advised(self, advice: Option<Advice>) -> Self {
        match advice {
            Some(advice) => Self::Advised { error: Box::new(self), advice: Box::new(advice) },
            None => self,
        }
    }
}
