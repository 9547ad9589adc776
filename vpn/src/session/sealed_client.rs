//! The client's side of a sealed session: dialling, the handshake with its retries, asking for a
//! service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::error::{ClientError, Verdict};
use super::output::{ClientOptions, Output};
use crate::net::limits::{CLOSE, Limits, REPLY};
use crate::net::{
    DhPool, HandshakeContext, HandshakeEvent, LoggedSecrets, SealedConnection, SealedIoError,
    Source, connect, connect_sealed, endpoint,
};
use crate::term::KeyLog;
use crate::trust::fingerprint;
use vpn_proto::sealed::{Alert, ClientConfig, Event, Kex, PeerIdentity, Ready, SealedError};
use vpn_proto::{Printable, SessionError};

/// A server may give up a handshake while its user thinks about its key for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client waits before it comes back to a busy server.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(500);
/// The status of an answer to Open for a service that is taken (PROTOCOL.md §4.9).
const BUSY: u8 = 2;
/// The service that every server had before it could say which ones it has.
const USUAL: &str = "message";

/// An established session on the client, as a service sees it.
#[derive(Debug)]
pub struct Connected {
    /// Moves data and events.
    pub connection: SealedConnection,
    /// Who the server is.
    pub server: PeerIdentity,
}

/// One client's way to a session: each reason to try again counts once.
struct Attempts {
    config: Arc<ClientConfig>,
    kex: Kex,
    /// Another key exchange was asked for. A second such answer is fatal, so a forged one is harmless.
    has_changed_kex: bool,
    /// The server was busy.
    has_waited: bool,
    /// The user thought for longer than the server waits.
    has_thought: bool,
    /// The server has shown another of its known keys.
    has_other_key: bool,
}

impl Attempts {
    fn is_first(&self) -> bool {
        !self.has_changed_kex && !self.has_thought && !self.has_waited
    }

    /// What to do about a handshake that failed: nothing for another attempt, or why it is over.
    async fn after(
        &mut self,
        error: ClientError,
        thought: Duration,
        judge: &mut (impl FnMut(PeerIdentity) -> Verdict + Send),
    ) -> Result<(), ClientError> {
        let ClientError::Sealed(sealed) = error else { return Err(error) };
        match sealed {
            SealedIoError::Sealed(SealedError::KexRetry { theirs, suites })
                if !self.has_changed_kex =>
            {
                let has = |name: &str| theirs.split(", ").any(|t| t == name);
                let other =
                    self.config.kex.iter().copied().find(|k| has(k.name()) && *k != self.kex);
                let Some(other) = other else {
                    return Err(
                        SealedIoError::Sealed(SealedError::KexRetry { theirs, suites }).into()
                    );
                };
                self.kex = other;
                self.has_changed_kex = true;
            }
            // It may have room in a moment. Each client waits for another time.
            error @ (SealedIoError::NoAnswer | SealedIoError::Sealed(SealedError::Busy))
                if !self.has_waited =>
            {
                log::info!("{error}: trying once more");
                sleep(rand::rng().random_range(PAUSE)).await;
                self.has_waited = true;
            }
            // The key is known now, so the next attempt does not ask.
            _ if thought > PATIENCE && !self.has_thought => self.has_thought = true,
            // A server may be known by several keys.
            SealedIoError::Sealed(error @ SealedError::ServerKey { got }) => {
                judge(PeerIdentity::Key(got))?;
                if self.has_other_key {
                    return Err(SealedIoError::Sealed(error).into());
                }
                self.has_other_key = true;
                let config = ClientConfig::clone(&self.config);
                self.config = Arc::new(ClientConfig { server_key: Some(got), ..config });
            }
            error => return Err(error.into()),
        }
        Ok(())
    }
}

/// Connects and shakes hands. `judge` decides about the server that was met.
///
/// # Errors
///
/// [`ClientError`] says why there is no session.
pub(crate) async fn connect_sealed_client(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    out: &Output,
    mut judge: impl FnMut(PeerIdentity) -> Verdict + Send,
) -> Result<Connected, ClientError> {
    let key_log = options.observers.key_log.as_ref();
    let pool = DhPool::new(limits.dh_workers);
    let started = Instant::now();
    let kex = *config.kex.first().ok_or(SealedIoError::Sealed(SealedError::Internal))?;
    let mut attempts = Attempts {
        config,
        kex,
        has_changed_kex: false,
        has_waited: false,
        has_thought: false,
        has_other_key: false,
    };
    let mut server = PeerIdentity::PskOnly;
    let (mut connection, ready) = loop {
        let stream = connect(&options.host, options.port).await?;
        if attempts.is_first() {
            out.note(format!("Connected to {}", endpoint(&options.host, options.port))).await?;
            out.note("Negotiating the cipher").await?;
        }
        let mut chosen = None;
        let mut thought = Duration::ZERO;
        let check = |step| match step {
            HandshakeEvent::Chosen(id) => {
                chosen = Some(id);
                Ok(())
            }
            HandshakeEvent::ServerAuthenticated(peer) => {
                server = peer;
                let asked = Instant::now();
                let verdict = judge(peer);
                thought = asked.elapsed();
                verdict.map_err(ClientError::Untrusted)
            }
        };
        let deadline = Instant::now() + limits.sealed_handshake;
        let place = HandshakeContext { pool: &pool, source: Source::SELF, deadline };
        let log_keys = |secrets: &LoggedSecrets<'_>| KeyLog::write(key_log, secrets);
        let config = attempts.config.clone();
        let result = connect_sealed(stream, config, attempts.kex, place, check, &log_keys).await;
        // A server that is not trusted is not used, and one that was not waited for comes again.
        let is_used = match &result {
            Ok(_) => true,
            Err(error) => thought <= PATIENCE && !matches!(error, ClientError::Untrusted(_)),
        };
        if let Some(id) = chosen.filter(|_| is_used) {
            out.note(format!("We are going to use {id}")).await?;
            out.note("Negotiating the key").await?;
        }
        match result {
            Ok(connected) => break connected,
            Err(error) => attempts.after(error, thought, &mut judge).await?,
        }
    };
    connection.ping_every(ready.keepalive.map(|s| Duration::from_secs(s.max(1).into())));
    out.note("The key has been established").await?;
    log::info!("sealed session established in {:?}", started.elapsed());
    describe(&mut connection, server, &ready, out);
    Ok(Connected { connection, server })
}

/// Says what kind of session it is.
fn describe(connection: &mut SealedConnection, server: PeerIdentity, ready: &Ready, out: &Output) {
    let (suite, kex) = (connection.session().suite(), connection.session().kex().name());
    let server = match server {
        PeerIdentity::Key(key) => fingerprint(&key),
        PeerIdentity::PskOnly => "the holder of the PSK".to_owned(),
    };
    out.tell(format_args!("sealed session with {server}, {kex}, {suite}"));
    if let Some(services) = &ready.services
        && !services.split(',').any(|service| service == USUAL)
    {
        log::info!("the server permits {services}");
    }
}

impl Connected {
    /// Asks for a service.
    ///
    /// # Errors
    ///
    /// [`ClientError::Busy`] and [`ClientError::NotPermitted`] if the server says no; or how the
    /// session ended.
    pub async fn open(&mut self, service: &str) -> Result<(), ClientError> {
        self.connection.session().open(service, b"").map_err(SealedIoError::Sealed)?;
        match self.next_event().await {
            Ok(Event::OpenReply { status: 0, .. }) => Ok(()),
            Ok(Event::OpenReply { status: BUSY, text }) => Err(ClientError::Busy(said(&text))),
            Ok(Event::OpenReply { text, .. }) => Err(ClientError::NotPermitted(said(&text))),
            Err(ClientError::Sealed(SealedIoError::Sealed(SealedError::Alert(
                Alert::CloseNotify,
            )))) => Err(ClientError::Busy(
                "it closed the session before it opened a service".to_owned(),
            )),
            Err(error) => Err(error),
            Ok(_) => Err(Self::unexpected()),
        }
    }

    /// The next event that a service has to know of, within the time for a reply.
    ///
    /// # Errors
    ///
    /// How the session ended, or that no event came in time.
    pub async fn next_event(&mut self) -> Result<Event, ClientError> {
        let wait = timeout(REPLY, async {
            loop {
                match self.connection.next().await? {
                    Event::Alert(alert) => log::warn!("the server says: {alert}"),
                    Event::Pong(_) => {}
                    event => return Ok::<_, SealedIoError>(event),
                }
            }
        });
        match wait.await {
            Ok(Ok(Event::CloseRequested | Event::Closed)) => Err(self.ended_by_server().await),
            Ok(event) => Ok(event?),
            Err(_) => Err(ClientError::NoReply(REPLY)),
        }
    }

    /// Keeps a session alive in which nothing is due, until it ends.
    pub async fn watch(&mut self) -> ClientError {
        loop {
            match self.connection.next().await {
                Ok(Event::Alert(alert)) => log::warn!("the server says: {alert}"),
                Ok(Event::CloseRequested | Event::Closed) => return self.ended_by_server().await,
                Ok(_) => return Self::unexpected(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Answers a server that has ended the session properly.
    async fn ended_by_server(&mut self) -> ClientError {
        if self.connection.session().close(Alert::CloseNotify).is_ok() {
            // It may not wait for the answer.
            let _ = timeout(CLOSE, self.connection.flush()).await;
        }
        SessionError::Closed.into()
    }

    /// An answer that nobody asked for.
    pub(crate) fn unexpected() -> ClientError {
        SealedIoError::Sealed(SealedError::Malformed("an answer that was not asked for")).into()
    }
}

/// What the server says, made fit for a terminal.
fn said(text: &str) -> String {
    Printable(text.as_bytes()).to_string()
}
