//! The client's side of a sealed session: connecting, the handshake with its retries, and opening a
//! service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::error::{ClientError, Untrusted};
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

/// If the user takes longer than this to check a key, the server may have closed the connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client waits before it connects to a busy server again (PROTOCOL.md §4.7).
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(500);
/// The status of OpenReply for a service that is in use (PROTOCOL.md §4.9).
const BUSY: u8 = 2;
/// The status of OpenReply for a target that cannot be reached.
const UNREACHABLE: u8 = 3;
/// The service that most servers permit. Only a list without it is worth a line in the log.
const USUAL: &str = "message";

/// An established session on the client, as a service sees it.
#[derive(Debug)]
pub struct Connected {
    /// Sends data and receives events.
    pub connection: SealedConnection,
    /// The identity that the server has proved.
    pub server: PeerIdentity,
}

/// The attempts to get a session. Each reason to try again is good for one more attempt.
struct Attempts {
    config: Arc<ClientConfig>,
    kex: Kex,
    /// The server asked for another key exchange. A second such answer is fatal, so a forged one
    /// does no harm.
    has_changed_kex: bool,
    /// The server was busy.
    has_waited: bool,
    /// The user checked the key for longer than the server waits.
    has_asked_user: bool,
    /// The server showed another one of its known keys.
    has_other_key: bool,
}

impl Attempts {
    fn new(config: Arc<ClientConfig>, kex: Kex) -> Self {
        Self {
            config,
            kex,
            has_changed_kex: false,
            has_waited: false,
            has_asked_user: false,
            has_other_key: false,
        }
    }

    fn is_first(&self) -> bool {
        !self.has_changed_kex && !self.has_asked_user && !self.has_waited
    }

    /// Prepares the next attempt after a handshake that failed. `asked_for` is how long the user
    /// checked the key.
    ///
    /// # Errors
    ///
    /// The failure, if another attempt would not help.
    async fn prepare_next(
        &mut self,
        error: ClientError,
        asked_for: Duration,
        check_server: &mut (impl FnMut(PeerIdentity) -> Result<(), Untrusted> + Send),
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
            // The server may have room soon. The random pause spreads the clients out.
            error @ (SealedIoError::NoAnswer | SealedIoError::Sealed(SealedError::Busy))
                if !self.has_waited =>
            {
                log::info!("{error}: trying once more");
                sleep(rand::rng().random_range(PAUSE)).await;
                self.has_waited = true;
            }
            // The user has accepted the key, so the next attempt does not ask.
            _ if asked_for > PATIENCE && !self.has_asked_user => self.has_asked_user = true,
            // A server may have several known keys.
            SealedIoError::Sealed(error @ SealedError::ServerKey { got }) => {
                check_server(PeerIdentity::Key(got))?;
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

/// Connects and shakes hands (PROTOCOL.md §4.2), with another attempt where that may help.
/// `check_server` decides whether the server is trusted.
///
/// # Errors
///
/// [`ClientError`] says why there is no session.
pub(crate) async fn connect_sealed_client(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    out: &Output,
    mut check_server: impl FnMut(PeerIdentity) -> Result<(), Untrusted> + Send,
) -> Result<Connected, ClientError> {
    let key_log = options.observers.key_log.as_ref();
    let pool = DhPool::new(limits.dh_workers);
    let started = Instant::now();
    let kex = *config.kex.first().ok_or(SealedIoError::Sealed(SealedError::Internal))?;
    let mut attempts = Attempts::new(config, kex);
    let mut server = PeerIdentity::PskOnly;
    let (mut connection, ready) = loop {
        let stream = connect(&options.host, options.port).await?;
        if attempts.is_first() {
            out.note(format!("Connected to {}", endpoint(&options.host, options.port))).await?;
            out.note("Negotiating the cipher").await?;
        }
        let mut chosen = None;
        let mut asked_for = Duration::ZERO;
        let check = |step| match step {
            HandshakeEvent::Chosen(id) => {
                chosen = Some(id);
                Ok(())
            }
            HandshakeEvent::ServerAuthenticated(peer) => {
                server = peer;
                let asked = Instant::now();
                let trusted = check_server(peer);
                asked_for = asked.elapsed();
                trusted.map_err(ClientError::Untrusted)
            }
        };
        let deadline = Instant::now() + limits.sealed_handshake;
        let place = HandshakeContext { pool: &pool, source: Source::SELF, deadline };
        let log_keys = |secrets: &LoggedSecrets<'_>| KeyLog::write(key_log, secrets);
        let config = attempts.config.clone();
        let result = connect_sealed(stream, config, attempts.kex, place, check, &log_keys).await;
        // Nothing is printed for an untrusted server, or for an attempt that is repeated because
        // the user took too long.
        let is_shown = match &result {
            Ok(_) => true,
            Err(
                ClientError::Untrusted(_)
                | ClientError::Sealed(SealedIoError::Sealed(SealedError::ServerKey { .. })),
            ) => false,
            Err(_) => asked_for <= PATIENCE,
        };
        if let Some(id) = chosen.filter(|_| is_shown) {
            out.note(format!("We are going to use {id}")).await?;
            out.note("Negotiating the key").await?;
        }
        match result {
            Ok(connected) => break connected,
            Err(error) => attempts.prepare_next(error, asked_for, &mut check_server).await?,
        }
    };
    connection.ping_every(ready.keepalive.map(|s| Duration::from_secs(s.max(1).into())));
    out.note("The key has been established").await?;
    log::info!("sealed session established in {:?}", started.elapsed());
    print_summary(&mut connection, server, &ready, out);
    Ok(Connected { connection, server })
}

/// Prints the server's identity and the algorithms of the session.
fn print_summary(
    connection: &mut SealedConnection,
    server: PeerIdentity,
    ready: &Ready,
    out: &Output,
) {
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
    /// Opens a service (PROTOCOL.md §4.9).
    ///
    /// # Errors
    ///
    /// [`ClientError::Busy`] or [`ClientError::NotPermitted`] if the server refuses, or the failure
    /// of the session.
    pub async fn open(&mut self, service: &str, argument: &[u8]) -> Result<(), ClientError> {
        self.connection.session().open(service, argument).map_err(SealedIoError::Sealed)?;
        match self.next_event().await {
            Ok(Event::OpenReply { status: 0, .. }) => Ok(()),
            Ok(Event::OpenReply { status: BUSY, text }) => Err(ClientError::Busy(printable(&text))),
            Ok(Event::OpenReply { status: UNREACHABLE, text }) => {
                Err(ClientError::Unreachable(printable(&text)))
            }
            Ok(Event::OpenReply { text, .. }) => Err(ClientError::NotPermitted(printable(&text))),
            Err(ClientError::Sealed(SealedIoError::Sealed(SealedError::Alert(
                Alert::CloseNotify,
            )))) => Err(ClientError::Busy(
                "it closed the session before it opened a service".to_owned(),
            )),
            Err(error) => Err(error),
            Ok(_) => Err(Self::unexpected()),
        }
    }

    /// Returns the next event for a service. It waits for at most [`REPLY`].
    ///
    /// # Errors
    ///
    /// The failure or end of the session, or [`ClientError::NoReply`].
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

    /// Keeps an idle session alive until it ends. Returns why it ended.
    pub async fn wait_for_end(&mut self) -> ClientError {
        loop {
            match self.connection.next().await {
                Ok(Event::Alert(alert)) => log::warn!("the server says: {alert}"),
                Ok(Event::CloseRequested | Event::Closed) => return self.ended_by_server().await,
                Ok(_) => return Self::unexpected(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Answers the close_notify of a server.
    async fn ended_by_server(&mut self) -> ClientError {
        if self.connection.session().close(Alert::CloseNotify).is_ok() {
            // The server may not wait for the answer.
            let _ = timeout(CLOSE, self.connection.flush()).await;
        }
        SessionError::Closed.into()
    }

    /// The error for an event that the client did not ask for.
    pub(crate) fn unexpected() -> ClientError {
        SealedIoError::Sealed(SealedError::Malformed("an answer that was not asked for")).into()
    }
}

/// A text of the server with its control characters escaped.
fn printable(text: &str) -> String {
    Printable(text.as_bytes()).to_string()
}
