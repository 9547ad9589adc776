//! The message service over sealed sessions, both ends of it (PROTOCOL.md §4.9).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout, timeout_at};
use zeroize::Zeroizing;

use super::client::{ClientError, ClientOptions, Output, QUIT, Said, Texts};
use super::console::{Console, ConsoleClosed};
use super::frames::{Frames, Incoming, LONGEST, Piece, TooLong, framed};
use super::keylog::KeyLog;
use super::memory::{FREE, MessageMemory};
use super::message::{Reversal, reversed};
use super::pipe::{PIPE, PipeError, PipeOutcome, PipeOwner, PipeTaken, join};
use super::streams::{Drain, Feed, Stdio};
use crate::config::PipeEnd;
use crate::files::plain;
use crate::identity::{AuthorizedClients, ClientList, Grant, fingerprint};
use crate::net::limits::{FAREWELL, Limits, MESSAGE_READ, MESSAGE_TIME, REPLY, SHUTDOWN};
use crate::net::{
    Admission, DhPool, Guard, LoggedSecrets, Offence, Place, SealedConnection, SealedIoError,
    SeenGates, Shutdown, Source, Step, accept_sealed, connect, connect_sealed, endpoint,
};
use crate::term::log::SESSION;
use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Event, PeerIdentity, Ready, SealedError, ServerConfig,
    Undelivered,
};
use vpn_proto::{Printable, SessionError};

/// Whoever thinks longer than this about a server's key may find that it has not waited.
const PATIENCE: Duration = Duration::from_secs(2);
/// Statuses of an answer to Open, besides 0 for yes.
const NOT_PERMITTED: u8 = 1;
const BUSY: u8 = 2;
/// How long a pipe may go on when the server was told to stop; what it says then has to arrive before
/// [`SHUTDOWN`] is over.
const PIPE_GRACE: Duration = SHUTDOWN.checked_div(2).expect("2 is not 0");
/// How much of a long answer is sealed at once.
const ANSWER_PIECE: usize = 64 * 1024;
/// Why a session ends with its server.
const STOPPING: &str = "closed, the server is stopping";
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
    mut config: Arc<ClientConfig>,
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
    let mut has_other_key = false;
    let mut server = None;
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
                server = Some(peer);
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
                sleep(rand::rng().random_range(PAUSE)).await;
                has_waited = true;
            }
            // The user thought longer than the server waits; it is known now, so once more.
            Err(ClientError::Sealed(_)) if thought > PATIENCE && !has_thought => {
                has_thought = true;
            }
            // It says what was expected and what came. A server may be known by several keys.
            Err(ClientError::Sealed(SealedIoError::Sealed(
                error @ SealedError::ServerKey { got },
            ))) => {
                judge(PeerIdentity::Key(got))?;
                if has_other_key {
                    return Err(SealedIoError::Sealed(error).into());
                }
                has_other_key = true;
                config = Arc::new(ClientConfig {
                    server_key: Some(got),
                    ..ClientConfig::clone(&config)
                });
            }
            result => break result?,
        }
    };
    connection.ping_every(ready.keepalive.map(|s| Duration::from_secs(s.max(1).into())));
    out.note("The key has been established").await?;
    log::info!("sealed session established in {:?}", started.elapsed());
    let (suite, kex) = (connection.session().suite(), connection.session().kex().name());
    let server = match server {
        Some(PeerIdentity::Key(key)) => fingerprint(&key),
        Some(PeerIdentity::PskOnly) | None => "the holder of the PSK".to_owned(),
    };
    out.tell(format_args!("sealed session with {server}, {kex}, {suite}"));
    if ready.services.as_deref().is_some_and(|s| !s.split(',').any(|s| s == MESSAGE)) {
        log::info!("the server permits {}", ready.services.unwrap_or_default());
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
                connection.close(REPLY).await?;
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
    connection.close(REPLY).await?;
    Ok(())
}

/// Asks for a service.
async fn open(connection: &mut SealedConnection, service: &str) -> Result<(), ClientError> {
    connection.session().open(service, b"").map_err(SealedIoError::Sealed)?;
    match next_event(connection).await {
        Ok(Event::OpenReply { status: 0, .. }) => Ok(()),
        Ok(Event::OpenReply { status: BUSY, text }) => Err(ClientError::Busy(said(&text))),
        Ok(Event::OpenReply { text, .. }) => Err(ClientError::NotPermitted(said(&text))),
        Err(ClientError::Sealed(SealedIoError::Sealed(SealedError::Alert(Alert::CloseNotify)))) => {
            Err(ClientError::Busy("it closed the session before it opened a service".to_owned()))
        }
        Err(error) => Err(error),
        Ok(_) => Err(unexpected()),
    }
}

/// What the server says, made fit for a terminal.
fn said(text: &str) -> String {
    Printable(text.as_bytes()).to_string()
}

/// Joins standard input and output to the server's end of a pipe.
async fn run_pipe(mut connection: SealedConnection) -> Result<(), ClientError> {
    // First, so that nothing of standard input is read for a server that does not want it.
    open(&mut connection, PIPE).await?;
    let joined = match Stdio::take() {
        Some(stdio) => {
            let (input, output) = stdio.open();
            join(&mut connection, input, output).await
        }
        None => Err(PipeError::Stopped),
    };
    let ended = match joined {
        // We have passed on everything, and the server says when it has.
        Ok(()) => connection.close_when_peer_does().await.map_err(PipeError::from),
        Err(error) => {
            connection.abort(error.alert()).await;
            Err(error)
        }
    };
    Ok(ended.map_err(|error| error.said_by("the server"))?)
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
        log::error!("cannot write to the key log: {}", plain(&error));
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
                event => return Ok::<_, SealedIoError>(event),
            }
        }
    });
    match wait.await {
        Ok(Ok(Event::CloseRequested | Event::Closed)) => Err(ended_by_server(connection).await),
        Ok(event) => Ok(event?),
        Err(_) => Err(ClientError::NoReply(REPLY)),
    }
}

/// Answers a server that has ended the session properly.
async fn ended_by_server(connection: &mut SealedConnection) -> ClientError {
    if connection.session().close(Alert::CloseNotify).is_ok() {
        // It may not wait for the answer.
        let _ = timeout(FAREWELL, connection.flush()).await;
    }
    SessionError::Closed.into()
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
            Ok(Event::CloseRequested | Event::Closed) => return ended_by_server(connection).await,
            Ok(_) => return unexpected(),
            Err(error) => return error.into(),
        }
    }
}

async fn reply(
    connection: &mut SealedConnection,
    frames: &mut Frames,
) -> Result<Zeroizing<Vec<u8>>, ClientError> {
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
    memory: MessageMemory,
}

/// Stands for the PSKs where sessions are counted; no key is all zeros.
const PSKS: [u8; 32] = [0; 32];

/// The clients that are listed now.
#[derive(Debug)]
enum Listed {
    Clients(Arc<ClientList>),
    Nobody,
    Unreadable,
}

impl Listed {
    fn of(clients: Option<Arc<ClientList>>) -> Self {
        clients.map_or(Self::Unreadable, Self::Clients)
    }
}

/// Why somebody is denied that our own file is at fault for.
const UNREADABLE: &str = "the list of authorized clients cannot be read";

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
            memory: MessageMemory::new(limits.message_memory),
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
            Ok(reason) => log::info!(target: SESSION, "{peer}: {reason}"),
            // That is no fault of the client's, and the server ends.
            Err(Ended::Console(error)) => log::info!(target: SESSION, "{peer}: {error}"),
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
        let console = self.console.for_client(peer);
        console.line(format!("New client: {peer}")).await?;
        console.line("Negotiating the cipher").await?;
        let started = Instant::now();
        let telling = console.clone();
        let chosen = async move |id| {
            // A closed console ends the server by itself.
            let _ = telling.line(format!("We are going to use {id}")).await;
            let _ = telling.line("Negotiating the key").await;
        };
        let (mut admitted, mut is_our_fault) = (None, false);
        let (admits, faults) = (&mut admitted, &mut is_our_fault);
        let decide = async move || {
            let clients = match &self.clients {
                Some(clients) => Listed::of(clients.current().await),
                None => Listed::Nobody,
            };
            move |client| match self.decide(&clients, client, peer) {
                Ok((grant, counted)) => {
                    let services = Some(grant.permit.join(","));
                    *admits = Some((grant, counted));
                    let largest_message = u32::try_from(LONGEST).ok();
                    let keepalive = u32::try_from(self.limits.keepalive.as_secs()).ok();
                    Decision::Admit(Ready { keepalive, largest_message, services })
                }
                Err(reason) => {
                    *faults = reason == UNREADABLE;
                    Decision::Deny(reason)
                }
            }
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
            Some(offence) if !is_our_fault => admission.offend(offence),
            _ => admission.excuse(),
        })?;
        admission.establish();
        let (grant, _counted) = admitted.ok_or(SealedIoError::Sealed(SealedError::Internal))?;
        console.line("The key has been established").await?;
        let name = match client {
            PeerIdentity::Key(key) => format!("{} {}", fingerprint(&key), grant.comment),
            PeerIdentity::PskOnly => "the holder of the PSK".to_owned(),
        };
        let (suite, kex) = (connection.session().suite(), connection.session().kex().name());
        log::info!(
            target: SESSION,
            "{peer}: sealed session with {}, {kex}, {suite}",
            Printable(name.trim_end().as_bytes())
        );
        log::debug!("{peer}: established in {:?}", started.elapsed());
        let ended = match self.exchange(&mut connection, &grant, client, &console).await {
            // Boxed, like the handshake: its room is not kept while a session of messages lasts.
            Ok(Done::Opened(pipe)) => return Box::pin(self.pipe(connection, pipe)).await,
            Ok(Done::Ended(reason)) => Ok(reason),
            Err(error) => Err(error),
        };
        Box::pin(leave(connection, &ended)).await?;
        ended
    }

    /// What a client may do, and a place among the sessions of its key.
    fn decide(
        &self,
        clients: &Listed,
        client: PeerIdentity,
        from: SocketAddr,
    ) -> Result<(Grant, Option<Counted>), &'static str> {
        let key = match client {
            // Whoever has a PSK has that and no more. All of them count as one: nobody can tell them apart.
            PeerIdentity::PskOnly => return self.count(PSKS, Grant::default()),
            PeerIdentity::Key(key) => key,
        };
        let grant = match clients {
            Listed::Clients(clients) => clients.grant(&key, from.ip())?,
            Listed::Nobody => return Err("no key is authorized here"),
            Listed::Unreadable => return Err(UNREADABLE),
        };
        self.count(key, grant)
    }

    /// Takes a place among the sessions of a key.
    fn count(&self, key: [u8; 32], grant: Grant) -> Result<(Grant, Option<Counted>), &'static str> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sessions.entry(key).or_default();
        if grant.max_sessions.is_some_and(|most| *count >= most) {
            return Err("its key has as many sessions as it may have");
        }
        *count += 1;
        Ok((grant, Some(Counted { sessions: self.sessions.clone(), key })))
    }

    /// Answers messages to the end of the session, or until a pipe is opened.
    async fn exchange(
        &self,
        connection: &mut SealedConnection,
        grant: &Grant,
        client: PeerIdentity,
        console: &Console,
    ) -> Result<Done, Ended> {
        let mut incoming = Incoming::default();
        // The share of a long message, and until when it may be held for what is not there yet.
        let mut share = None;
        let mut shutdown = self.shutdown.clone();
        let mut is_open = false;
        connection.expect_pings(Some(self.limits.keepalive));
        connection.read_at_most(MESSAGE_READ);
        loop {
            let idle = Instant::now() + self.limits.idle;
            let until = share.as_ref().map_or(idle, |(_, until)| idle.min(*until));
            let event = tokio::select! {
                event = timeout_at(until.into(), connection.next()) => match event {
                    Ok(event) => event?,
                    Err(_) if share.is_some() || !incoming.is_empty() => return Err(Ended::Slow),
                    Err(_) => return Ok(Done::Ended("closed, nothing happened for too long")),
                },
                () = shutdown.wait(), if incoming.is_empty() => {
                    // Whoever has not begun may go elsewhere or come again.
                    return match is_open {
                        true => Ok(Done::Ended(STOPPING)),
                        false => Err(Ended::Busy("the server is stopping".to_owned())),
                    };
                }
            };
            match event {
                Event::Open { service, .. } => match self.admit(&service, grant, client) {
                    Ok(pipe) => {
                        connection.session().reply_open(0, "").map_err(SealedIoError::Sealed)?;
                        if let Some(pipe) = pipe {
                            // Whoever reads its output may stop it for as long as it likes.
                            connection.expect_pings(None);
                            connection.read_at_most(usize::MAX);
                            return Ok(Done::Opened(pipe));
                        }
                        is_open = true;
                    }
                    Err((status, reason)) => {
                        let refusal = connection.session().reply_open(status, &reason);
                        refusal.map_err(SealedIoError::Sealed)?;
                        connection.flush().await.map_err(SealedIoError::Io)?;
                        let reason = Printable(reason.as_bytes()).to_string();
                        return Err(match status {
                            BUSY => Ended::Busy(reason),
                            _ => Ended::Denied(reason),
                        });
                    }
                },
                Event::Data(data) => {
                    let mut rest = data.as_slice();
                    while let Some(piece) = incoming.take(&mut rest)? {
                        match piece {
                            Piece::Begins(length) if length <= FREE => {}
                            Piece::Begins(length) => {
                                // Nothing more is read of this client meanwhile.
                                let granted = tokio::select! {
                                    granted = self.memory.share(length) => granted,
                                    // Inside a message a close_notify would be a lie.
                                    () = shutdown.wait() => {
                                        return Err(Ended::Busy(STOPPING.to_owned()));
                                    }
                                };
                                share = Some((granted, Instant::now() + MESSAGE_TIME));
                                // While it waited nobody listened to it.
                                connection.expect_pings(Some(self.limits.keepalive));
                            }
                            Piece::Message(text) => {
                                answer(connection, &text, console).await?;
                                drop(text);
                                share = None;
                            }
                        }
                    }
                }
                Event::Eof if incoming.is_empty() => {
                    connection.session().send_eof().map_err(SealedIoError::Sealed)?;
                }
                Event::CloseRequested | Event::Closed if incoming.is_empty() => {
                    return Ok(Done::Ended("the client closed the session"));
                }
                // Inside a message.
                Event::Eof | Event::CloseRequested | Event::Closed => {
                    return Err(SealedIoError::Sealed(SealedError::Cut).into());
                }
                // The connection sees to its exchanges and pings by itself.
                Event::Alert(_)
                | Event::Pong(_)
                | Event::OpenReply { .. }
                | Event::ExchangeWanted(_)
                | Event::ExchangeAnswered(_) => {}
            }
        }
    }

    /// Whether a client gets the service that it asks for, and for a pipe our end of it, which nobody
    /// else gets then; or the status and the words of the answer.
    fn admit(
        &self,
        service: &str,
        grant: &Grant,
        client: PeerIdentity,
    ) -> Result<Option<OpenedPipe>, (u8, String)> {
        let denied = |reason: String| (NOT_PERMITTED, reason);
        if ![MESSAGE, PIPE].contains(&service) {
            return Err(denied(format!("there is no service '{service}'")));
        }
        if !grant.permits(service) {
            let permit = [&grant.permit[..], &[service.to_owned()]].concat().join(",");
            let reason = match client {
                PeerIdentity::Key(_) => format!(
                    "this key may not use the service '{service}': its line in \
                     authorized_clients needs permit=\"{permit}\""
                ),
                PeerIdentity::PskOnly => format!(
                    "a PSK alone does not permit the service '{service}': it takes a key in \
                     authorized_clients with permit=\"{service}\""
                ),
            };
            return Err(denied(reason));
        }
        if (service == PIPE) == (self.pipe == PipeEnd::None) {
            return Err(denied(format!(
                "this server does not offer the service '{service}': it was started with \
                 --service {}",
                self.pipe.name()
            )));
        }
        Ok(match self.pipe {
            PipeEnd::None => None,
            PipeEnd::Discard => Some(OpenedPipe::Discard),
            PipeEnd::Generate => Some(OpenedPipe::Generate),
            PipeEnd::Stdio => {
                let taken = |taken: PipeTaken| (BUSY, taken.to_string());
                Some(OpenedPipe::Stdio(self.outcome.take().map_err(taken)?))
            }
        })
    }

    /// Joins the client's pipe to our end of it.
    async fn pipe(
        &self,
        mut connection: SealedConnection,
        pipe: OpenedPipe,
    ) -> Result<&'static str, Ended> {
        let ends = match &pipe {
            OpenedPipe::Discard => Ok((Feed::Empty, Drain::nothing())),
            OpenedPipe::Generate => Ok((Feed::Zeros, Drain::nothing())),
            OpenedPipe::Stdio(owner) => owner.open(),
        };
        let joined = async {
            let (input, output) = ends?;
            join(&mut connection, input, output).await?;
            // The client says first that it has passed on everything, or it was cut.
            while !connection.session().is_closed() {
                connection.next().await?;
            }
            Ok(())
        };
        let mut shutdown = self.shutdown.clone();
        let stopped = async {
            shutdown.wait().await;
            sleep(PIPE_GRACE).await;
        };
        let joined = tokio::select! {
            joined = joined => joined,
            () = stopped => Err(PipeError::Stopped),
        };
        let ended = match joined {
            Ok(()) => connection.close_when_peer_does().await.map_err(PipeError::from),
            Err(error) => {
                connection.abort(error.alert()).await;
                Err(error)
            }
        };
        let ended = ended.map_err(|error| error.said_by("the client"));
        let result = match &ended {
            Ok(()) => Ok("the client closed the session"),
            Err(error) => Err(Ended::Pipe(error.to_string())),
        };
        if let OpenedPipe::Stdio(owner) = pipe {
            owner.end(ended);
        }
        result
    }
}

/// What a server prints of a text.
struct Received<'a>(&'a [u8]);

impl std::fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received: {}", Printable(self.0))
    }
}

/// How far a session came.
enum Done {
    /// It has ended, for this reason.
    Ended(&'static str),
    /// A pipe is open.
    Opened(OpenedPipe),
}

/// A server's end of a pipe.
enum OpenedPipe {
    Discard,
    Generate,
    Stdio(PipeOwner),
}

/// Answers a text with its reverse, and prints it.
async fn answer(
    connection: &mut SealedConnection,
    text: &[u8],
    console: &Console,
) -> Result<(), Ended> {
    if text.len() <= FREE {
        let answer = framed(&reversed(text))?;
        connection.session().send(&answer).map_err(SealedIoError::Sealed)?;
        // First: waking the printer takes longer than all of the rest.
        connection.flush().await.map_err(SealedIoError::Io)?;
        return Ok(console.line(Received(text)).await?);
    }
    let mut piece = Zeroizing::new(Vec::with_capacity(ANSWER_PIECE));
    let length = u32::try_from(text.len()).map_err(|_| TooLong::of(text))?;
    piece.extend_from_slice(&length.to_be_bytes());
    let mut reversal = Reversal::of(text);
    while reversal.fill(&mut piece, ANSWER_PIECE) {
        connection.session().send(&piece).map_err(SealedIoError::Sealed)?;
        connection.flush().await.map_err(SealedIoError::Io)?;
        piece.clear();
    }
    console.line(Received(text)).await?;
    // A line that waits to be printed takes memory, too: the share is held until it is gone.
    Ok(console.flush().await?)
}

/// Says last words, according to how a session ended.
async fn leave(
    connection: SealedConnection,
    ended: &Result<&'static str, Ended>,
) -> Result<(), SealedIoError> {
    let alert = match ended {
        Ok(_) => return connection.close(FAREWELL).await,
        Err(Ended::Console(_)) => Alert::Undelivered(Undelivered::Output),
        // A session that has failed by itself has said its last words already.
        Err(Ended::Sealed(_) | Ended::Pipe(_)) => Alert::ProtocolError,
        Err(Ended::Busy(_)) => Alert::Busy,
        Err(Ended::Slow) => Alert::Timeout,
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
    #[error("a message was not there in time")]
    Slow,
    #[error("turned away: {0}")]
    Busy(String),
    #[error("turned away: {0}")]
    Denied(String),
    #[error("{0}")]
    Pipe(String),
    #[error("{0}")]
    Sealed(#[from] SealedIoError),
    #[error("{0}")]
    TooLong(#[from] TooLong),
}
