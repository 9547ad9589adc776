//! The message service over sealed sessions, both ends of it (PROTOCOL.md §4.9).

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::{ClientError, ClientOptions, Output, QUIT, Said, Texts};
use super::console::{Console, ConsoleClosed};
use super::frames::{Frames, LONGEST, TooLong, framed};
use super::keylog::KeyLog;
use super::message::reversed;
use super::pipe::{PIPE, PipeError, join};
use super::streams::{Drain, Feed};
use crate::config::PipeEnd;
use crate::identity::{AuthorizedClients, Grant, fingerprint};
use crate::net::limits::{Limits, REPLY};
use crate::net::{
    Admission, DhPool, Guard, LoggedSecrets, Offence, Place, SealedConnection, SealedIoError,
    SeenGates, Shutdown, Source, Step, accept_sealed, connect, connect_sealed, endpoint,
};
use crate::proto::sealed::{
    Alert, ClientConfig, Decision, Event, PeerIdentity, Ready, SealedError, ServerConfig,
};
use crate::proto::{Printable, SessionError};

/// Whoever thinks longer than this about a server's key may find that it has not waited.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client waits before it comes back to a busy server.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(500);
/// The name of the message service.
const MESSAGE: &str = "message";

/// What a client thinks of the server that it has met.
pub type Verdict = Result<(), Untrusted>;

/// The server is not the one that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Untrusted {
    /// Why, with fingerprints.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// Connects, shakes hands, and sends texts until there are no more.
///
/// # Errors
///
/// [`ClientError`] says what ended the session before its time.
pub async fn run_sealed_client(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    work: SealedWork,
    console: Console,
    mut judge: impl FnMut(PeerIdentity) -> Verdict,
) -> Result<(), ClientError> {
    let key_log = options.observers.key_log.as_ref();
    let out = Output::new(console, options);
    let pool = DhPool::new(limits.dh_workers);
    let started = Instant::now();
    let mut kex = *config.kex.first().ok_or(SealedIoError::Sealed(SealedError::Internal))?;
    let (mut has_retried, mut has_thought, mut has_waited) = (false, false, false);
    let (mut connection, ready) = loop {
        let stream = connect(&options.host, options.port).await?;
        if !has_retried && !has_thought && !has_waited {
            out.note(format!("Connected to {}", endpoint(&options.host, options.port))).await?;
            out.note("Negotiating the cipher").await?;
        }
        let mut chosen = None;
        let mut thought = Duration::ZERO;
        let check = |step| match step {
            Step::Chosen(id) => {
                chosen = Some(id);
                Ok(())
            }
            Step::Server(peer) => {
                let asked = Instant::now();
                let verdict = judge(peer);
                thought = asked.elapsed();
                verdict.map_err(ClientError::Untrusted)
            }
        };
        let deadline = Instant::now() + limits.sealed_handshake;
        let place = Place { pool: &pool, source: Source::SELF, deadline };
        let result = connect_sealed(stream, config.clone(), kex, place, check, &|line| {
            write_keys(key_log, line);
        })
        .await;
        if let Some(id) = chosen.filter(|_| thought <= PATIENCE || result.is_ok()) {
            out.note(format!("We are going to use {id}")).await?;
            out.note("Negotiating the key").await?;
        }
        match result {
            // Another share, once; a second such answer is fatal, so a forged one weakens nothing.
            Err(ClientError::Sealed(SealedIoError::Sealed(SealedError::KexRetry {
                theirs,
                suites,
            }))) if !has_retried => {
                let has = |name: &str| theirs.split(", ").any(|t| t == name);
                let Some(other) = config.kex.iter().copied().find(|k| has(k.name()) && *k != kex)
                else {
                    return Err(
                        SealedIoError::Sealed(SealedError::KexRetry { theirs, suites }).into()
                    );
                };
                kex = other;
                has_retried = true;
            }
            // It may be busy, and may have room in a moment: once more, at another time than others.
            Err(ClientError::Sealed(
                error @ (SealedIoError::NoAnswer | SealedIoError::Sealed(SealedError::Busy)),
            )) if !has_waited => {
                log::info!("{error}: trying once more");
                tokio::time::sleep(rand::rng().random_range(PAUSE)).await;
                has_waited = true;
            }
            // The user thought longer than the server waits; it is known now, so once more.
            Err(ClientError::Sealed(_)) if thought > PATIENCE && !has_thought => {
                has_thought = true;
            }
            // It says what was expected and what came.
            Err(ClientError::Sealed(SealedIoError::Sealed(
                error @ SealedError::ServerKey { got },
            ))) => {
                judge(PeerIdentity::Key(got))?;
                return Err(SealedIoError::Sealed(error).into());
            }
            result => break result?,
        }
    };
    connection.ping_every(ready.keepalive.map(|s| Duration::from_secs(s.max(1).into())));
    out.note("The key has been established").await?;
    log::info!("sealed session established in {:?}", started.elapsed());
    if ready.services.as_deref().is_some_and(|s| !s.split(',').any(|s| s == MESSAGE)) {
        log::warn!("the server permits {}", ready.services.unwrap_or_default());
    }
    let mut texts = match work {
        SealedWork::Messages(texts) => texts,
        SealedWork::Pipe => return run_pipe(connection).await,
    };
    open(&mut connection, MESSAGE).await?;
    let mut frames = Frames::default();
    loop {
        out.flush().await?;
        match ask(&mut texts, &mut connection).await? {
            Said::Text(text) if text == QUIT => break,
            Said::Text(text) => {
                let Ok(message) = framed(text.as_bytes()) else {
                    let error = SessionError::TextTooLong { len: text.len(), limit: LONGEST };
                    out.not_sent(error).await?;
                    continue;
                };
                connection.session().send(&message).map_err(SealedIoError::Sealed)?;
                let reply = reply(&mut connection, &mut frames).await?;
                out.reply(&Printable(&reply)).await?;
            }
            Said::End => break,
            Said::Interrupted => {
                connection.abort(Alert::CloseNotify).await;
                return Err(ClientError::Interrupted);
            }
            Said::Failed(error) => {
                // What was sent was answered; the session ends as it should.
                connection.close().await?;
                return Err(ClientError::Input(error));
            }
        }
    }
    connection.session().send_eof().map_err(SealedIoError::Sealed)?;
    loop {
        match next_event(&mut connection).await? {
            Event::Eof => break,
            Event::Data(_) => return Err(unexpected()),
            _ => {}
        }
    }
    connection.close().await?;
    Ok(())
}

/// Asks for a service.
async fn open(connection: &mut SealedConnection, service: &str) -> Result<(), ClientError> {
    connection.session().open(service, b"").map_err(SealedIoError::Sealed)?;
    match next_event(connection).await? {
        Event::OpenReply { status: 0, .. } => Ok(()),
        Event::OpenReply { text, .. } => {
            Err(SessionError::Refused { text: text.into_bytes() }.into())
        }
        _ => Err(unexpected()),
    }
}

/// Joins standard input and output to the server's end of a pipe.
async fn run_pipe(mut connection: SealedConnection) -> Result<(), ClientError> {
    open(&mut connection, PIPE).await?;
    let joined = join(&mut connection, Feed::stdin(), Drain::stdout()).await;
    match joined {
        // The server says that it is the end once it has passed on everything.
        Ok(()) => Ok(connection.close_when_peer_does().await?),
        Err(PipeError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            // Whoever reads has enough.
            connection.abort(Alert::CloseNotify).await;
            Ok(())
        }
        Err(PipeError::Input(error) | PipeError::Output(error)) => {
            connection.abort(Alert::CloseNotify).await;
            Err(ClientError::Input(error))
        }
        Err(PipeError::Sealed(error)) => Err(error.into()),
    }
}

/// What a client does with its session.
#[derive(Debug)]
pub enum SealedWork {
    /// Send texts, print replies.
    Messages(Texts),
    /// Join standard input and output to the server's end.
    Pipe,
}

/// Writes secrets to the key log, if there is one.
fn write_keys(key_log: Option<&KeyLog>, secrets: &LoggedSecrets<'_>) {
    if let Some(Err(error)) = key_log.map(|log| log.record_sealed(secrets)) {
        // The session is worth more than its lines in the log.
        log::error!("cannot write to the key log: {error}");
    }
}

fn unexpected() -> ClientError {
    SealedIoError::Sealed(SealedError::Malformed("an answer that was not asked for")).into()
}

/// The next event that is none of the session's own business.
async fn next_event(connection: &mut SealedConnection) -> Result<Event, ClientError> {
    let wait = timeout(REPLY, async {
        loop {
            match connection.next().await? {
                Event::Alert(alert) => log::warn!("the server says: {alert}"),
                Event::Pong(_) => {}
                Event::Closed => {
                    return Err(SealedIoError::Sealed(SealedError::Alert(Alert::CloseNotify)));
                }
                event => return Ok(event),
            }
        }
    });
    match wait.await {
        Ok(event) => Ok(event?),
        Err(_) => Err(ClientError::NoReply(REPLY)),
    }
}

/// Waits for a text, and on the side for a server that ends the session in the meantime.
async fn ask(texts: &mut Texts, connection: &mut SealedConnection) -> Result<Said, ClientError> {
    let is_watched = texts.is_interruptible();
    connection.flush().await?;
    let mut said = texts.request().await;
    let ended = tokio::select! {
        said = &mut said => return Ok(said.unwrap_or(Said::End)),
        ended = watch(connection) => ended,
    };
    if !is_watched {
        // A line editor has to leave the terminal as it found it: the user is told afterwards.
        let _ = said.await;
    }
    Err(ended)
}

/// Keeps a session alive in which nothing is due, until it ends.
async fn watch(connection: &mut SealedConnection) -> ClientError {
    loop {
        match connection.next().await {
            Ok(Event::Alert(alert)) => log::warn!("the server says: {alert}"),
            Ok(Event::Closed) => {
                return SealedIoError::Sealed(SealedError::Alert(Alert::CloseNotify)).into();
            }
            Ok(_) => return unexpected(),
            Err(error) => return error.into(),
        }
    }
}

async fn reply(
    connection: &mut SealedConnection,
    frames: &mut Frames,
) -> Result<zeroize::Zeroizing<Vec<u8>>, ClientError> {
    loop {
        let message = frames.next().map_err(|_| SealedError::Malformed("length of a reply"));
        if let Some(message) = message.map_err(SealedIoError::Sealed)? {
            return Ok(message);
        }
        match next_event(connection).await? {
            Event::Data(data) => frames.push(&data),
            _ => return Err(unexpected()),
        }
    }
}

/// Serves sealed sessions: prints every message and answers with its text reversed.
#[derive(Clone, Debug)]
pub struct SealedServer {
    config: Arc<ServerConfig>,
    clients: Option<AuthorizedClients>,
    limits: Limits,
    pool: DhPool,
    console: Console,
    shutdown: Shutdown,
    sessions: Arc<Mutex<HashMap<[u8; 32], usize>>>,
    seen: SeenGates,
    pipe: PipeEnd,
    outcome: PipeOutcome,
}

/// How the one session of a server with a pipe ended: the words of an error, or nothing; and who
/// waits for it.
#[derive(Clone, Debug, Default)]
pub struct PipeOutcome(Arc<PipeEnded>);

#[derive(Debug, Default)]
struct PipeEnded {
    result: Mutex<Option<Result<(), String>>>,
    notify: Notify,
}

impl PipeOutcome {
    /// From here on everything but a proper end is a failure.
    fn begin(&self) {
        let cut = Err("the pipe was cut off".to_owned());
        *self.0.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    fn set(&self, result: Result<(), String>) {
        *self.0.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.0.notify.notify_one();
    }

    /// Returns once the session has ended.
    pub async fn wait(&self) {
        self.0.notify.notified().await;
    }

    /// How it ended, if there was one.
    pub fn get(&self) -> Option<Result<(), String>> {
        self.0.result.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts a session of a key as long as it lives.
#[derive(Debug)]
struct Counted {
    sessions: Arc<Mutex<HashMap<[u8; 32], usize>>>,
    key: [u8; 32],
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sessions.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.key);
            }
        }
    }
}

impl SealedServer {
    /// A server with these settings, computing in `pool`, printing to `console` until told to stop.
    pub fn new(
        config: Arc<ServerConfig>,
        clients: Option<AuthorizedClients>,
        limits: Limits,
        pool: DhPool,
        console: Console,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            config,
            clients,
            limits,
            pool,
            console,
            shutdown,
            sessions: Arc::default(),
            seen: SeenGates::default(),
            pipe: PipeEnd::None,
            outcome: PipeOutcome::default(),
        }
    }

    /// Serves pipes instead of messages.
    #[must_use]
    pub fn piping(mut self, pipe: PipeEnd, outcome: PipeOutcome) -> Self {
        self.pipe = pipe;
        self.outcome = outcome;
        self
    }

    /// Serves one connection to its end, and also writes its keys to the log. Whatever goes wrong is
    /// logged and stays here.
    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
        key_log: Option<&KeyLog>,
    ) {
        match self.session(stream, peer, admission, key_log).await {
            Ok(reason) => log::info!("{peer}: {reason}"),
            Err(error) => log::warn!("{peer}: {error}"),
        }
    }

    async fn session(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
        key_log: Option<&KeyLog>,
    ) -> Result<&'static str, Ended> {
        self.console.line(format!("New client: {peer}")).await?;
        self.console.line("Negotiating the cipher").await?;
        let started = Instant::now();
        let console = self.console.clone();
        let chosen = async move |id| {
            // A closed console ends the server by itself.
            let _ = console.line(format!("We are going to use {id}")).await;
            let _ = console.line("Negotiating the key").await;
        };
        let mut admitted = None;
        let decide = |client| match self.decide(client, peer) {
            Ok((grant, counted)) => {
                let services = Some(grant.permit.join(","));
                admitted = Some((grant, counted));
                let largest_message = u32::try_from(LONGEST).ok();
                let keepalive = u32::try_from(self.limits.keepalive.as_secs()).ok();
                Decision::Admit(Ready { keepalive, largest_message, services })
            }
            Err(reason) => Decision::Deny(reason),
        };
        let (source, deadline) = (Source::of(peer.ip()), started + self.limits.sealed_handshake);
        let place = Place { pool: &self.pool, source, deadline };
        let (seen, queue) = (&self.seen, self.limits.queue);
        let guard = Guard { seen, queue, admission: Some(admission) };
        let config = self.config.clone();
        let log_keys = |s: &LoggedSecrets<'_>| write_keys(key_log, s);
        // What a handshake needs is not kept while the session lasts.
        let accepted =
            Box::pin(accept_sealed(stream, config, place, guard, chosen, decide, &log_keys)).await;
        let (mut connection, client) = accepted.inspect_err(|error| match blame(error) {
            Some(offence) => admission.offend(offence),
            None => admission.excuse(),
        })?;
        admission.establish();
        let (grant, _counted) = admitted.ok_or(SealedIoError::Sealed(SealedError::Internal))?;
        self.console.line("The key has been established").await?;
        let name = match client {
            PeerIdentity::Key(key) => format!("{} {}", fingerprint(&key), grant.comment),
            PeerIdentity::PskOnly => "the holder of the PSK".to_owned(),
        };
        log::info!("{peer}: {} established in {:?}", name.trim_end(), started.elapsed());
        let ended = self.exchange(&mut connection, &grant).await;
        // Boxed, like the handshake: its room is not kept while the session lasts.
        Box::pin(leave(connection, &ended)).await?;
        ended
    }

    /// What a client may do, and a place among the sessions of its key.
    fn decide(
        &self,
        client: PeerIdentity,
        from: SocketAddr,
    ) -> Result<(Grant, Option<Counted>), &'static str> {
        let key = match client {
            // Whoever has the PSK has that and no more.
            PeerIdentity::PskOnly => return Ok((Grant::default(), None)),
            PeerIdentity::Key(key) => key,
        };
        let clients = self.clients.as_ref().ok_or("no key is authorized here")?;
        let grant = clients.grant(&key, from.ip())?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(key).or_default();
        if grant.max_sessions.is_some_and(|most| *count >= most) {
            return Err("its key has as many sessions as it may have");
        }
        *count += 1;
        Ok((grant, Some(Counted { sessions: self.sessions.clone(), key })))
    }

    async fn exchange(
        &self,
        connection: &mut SealedConnection,
        grant: &Grant,
    ) -> Result<&'static str, Ended> {
        let mut frames = Frames::default();
        let mut shutdown = self.shutdown.clone();
        connection.expect_pings(Some(self.limits.keepalive));
        loop {
            let idle = self.limits.idle;
            let event = tokio::select! {
                event = timeout(idle, connection.next()) => match event {
                    Ok(event) => event?,
                    Err(_) => return Ok("closed, nothing happened for too long"),
                },
                () = shutdown.wait(), if frames.is_empty() => {
                    return Ok("closed, the server is stopping");
                }
            };
            match event {
                Event::Open { service, .. }
                    if service == PIPE && grant.permits(PIPE) && self.pipe != PipeEnd::None =>
                {
                    connection.session().reply_open(0, "").map_err(SealedIoError::Sealed)?;
                    // Whoever reads its output may stop it for as long as it likes.
                    connection.expect_pings(None);
                    return self.pipe(connection).await;
                }
                Event::Open { service, .. }
                    if service == MESSAGE
                        && grant.permits(MESSAGE)
                        && self.pipe == PipeEnd::None =>
                {
                    connection.session().reply_open(0, "").map_err(SealedIoError::Sealed)?;
                }
                Event::Open { service, .. } => {
                    let text = "this service is not permitted";
                    connection.session().reply_open(1, text).map_err(SealedIoError::Sealed)?;
                    connection.flush().await.map_err(SealedIoError::Io)?;
                    return Err(Ended::Denied(Printable(service.as_bytes()).to_string()));
                }
                Event::Data(data) => {
                    frames.push(&data);
                    while let Some(text) = frames.next()? {
                        let answer = framed(&reversed(&text))?;
                        connection.session().send(&answer).map_err(SealedIoError::Sealed)?;
                        // First: waking the printer takes longer than all of the rest.
                        connection.flush().await.map_err(SealedIoError::Io)?;
                        self.console.line(format!("Received: {}", Printable(&text))).await?;
                    }
                }
                Event::Eof if frames.is_empty() => {
                    connection.session().send_eof().map_err(SealedIoError::Sealed)?;
                }
                Event::Eof => return Err(SealedIoError::Sealed(SealedError::Cut).into()),
                Event::Closed => return Ok("the client closed the session"),
                // The connection sees to its exchanges and pings by itself.
                Event::Alert(_)
                | Event::Pong(_)
                | Event::OpenReply { .. }
                | Event::ExchangeWanted(_)
                | Event::ExchangeAnswered(_) => {}
            }
        }
    }
}

impl SealedServer {
    /// Joins the client's pipe to our end of it.
    async fn pipe(&self, connection: &mut SealedConnection) -> Result<&'static str, Ended> {
        if self.pipe == PipeEnd::Stdio {
            self.outcome.begin();
        }
        let joined = match self.pipe {
            PipeEnd::Discard => join(connection, Feed::Empty, Drain::nothing()).await,
            PipeEnd::Generate => join(connection, Feed::Zeros, Drain::nothing()).await,
            PipeEnd::Stdio => join(connection, Feed::stdin(), Drain::stdout()).await,
            PipeEnd::None => Ok(()),
        };
        // The client says that it was the end, too, or it was cut.
        let ended = async {
            joined?;
            while !connection.session().is_closed() {
                connection.next().await?;
            }
            Ok::<(), PipeError>(())
        };
        let ended = ended.await;
        if self.pipe == PipeEnd::Stdio {
            self.outcome.set(ended.as_ref().map(|_| ()).map_err(ToString::to_string));
        }
        match ended {
            Ok(()) => Ok("the client closed the session"),
            Err(PipeError::Sealed(error)) => Err(error.into()),
            Err(PipeError::Input(error) | PipeError::Output(error)) => {
                Err(SealedIoError::Io(error).into())
            }
        }
    }
}

/// Says last words, according to how a session ended.
async fn leave(
    connection: SealedConnection,
    ended: &Result<&'static str, Ended>,
) -> Result<(), SealedIoError> {
    let alert = match ended {
        Ok(_) => return connection.close().await,
        Err(Ended::Console(_)) => Alert::CloseNotify,
        // A session that has failed by itself has said its last words already.
        Err(Ended::Sealed(_)) => Alert::ProtocolError,
        Err(Ended::Denied(_)) => Alert::AccessDenied,
        Err(Ended::TooLong(_)) => Alert::Policy,
    };
    connection.abort(alert).await;
    Ok(())
}

/// What the source of a handshake that failed has to answer for, if anything.
fn blame(error: &SealedIoError) -> Option<Offence> {
    Some(match error {
        SealedIoError::Sealed(error) => match error {
            SealedError::Authentication(_) => Offence::Authentication,
            SealedError::BadRecord
            | SealedError::Kex(_)
            | SealedError::Malformed(_)
            | SealedError::Replayed
            | SealedError::Unexpected { .. } => Offence::Protocol,
            // It is about to come again with what we want.
            SealedError::KexRetry { .. } => return None,
            _ => Offence::None,
        },
        // That is not its fault.
        SealedIoError::Full => return None,
        _ => Offence::None,
    })
}

/// Why a session ended that should not have.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Console(#[from] ConsoleClosed),
    #[error("it wanted the service '{0}', which its key does not permit")]
    Denied(String),
    #[error("{0}")]
    Sealed(#[from] SealedIoError),
    #[error("{0}")]
    TooLong(#[from] TooLong),
}
