//! The server's side of a sealed session: handshake, access, the choice of a service, last words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::access::{Access, Admitted, Clients, may_use};
use super::service::{Ended, Handler, ServerEnd, ServerSession, ServiceResult};
use crate::net::limits::{Limits, MESSAGE_READ, SEALED_MESSAGE};
use crate::net::{
    AcceptContext, Admission, DhPool, HandshakeContext, LoggedSecrets, Offence, ReplayCache,
    SealedConnection, SealedIoError, Shutdown, Source, accept_sealed,
};
use crate::output::log::SESSION;
use crate::term::{Console, KeyLog};
use crate::trust::{Grant, fingerprint};
use vpn_proto::Printable;
use vpn_proto::sealed::{Decision, Event, PeerIdentity, Ready, SealedError, ServerConfig};

/// Statuses of an answer to Open, besides 0 for yes (PROTOCOL.md §4.9).
const NOT_PERMITTED: u8 = 1;
const BUSY: u8 = 2;

/// The service that a server offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its name.
    pub service: String,
    /// The name of the server's end, as `--service` says it.
    pub end_name: String,
    /// The server's end.
    pub end: Arc<dyn ServerEnd>,
    /// The names of all services of this program.
    pub known: Vec<String>,
}

/// Serves sealed sessions.
#[derive(Clone, Debug)]
pub struct SealedServer {
    config: Arc<ServerConfig>,
    access: Access,
    offer: Offer,
    limits: Limits,
    pool: DhPool,
    console: Console,
    shutdown: Shutdown,
    replays: ReplayCache,
    key_log: Option<KeyLog>,
}

/// How the wait for a service ended.
enum Opened {
    /// The client has the service.
    Handler(Box<dyn Handler>),
    /// The session is over, for this reason.
    Over(&'static str),
}

impl SealedServer {
    /// A server with these settings, computing in `pool`, printing to `console` until told to stop.
    ///
    /// `clients` may come in by their keys, and holders of a PSK may do what `psk_grant` says.
    pub fn new(
        config: Arc<ServerConfig>,
        (clients, psk_grant): (Clients, Grant),
        offer: Offer,
        limits: Limits,
        pool: DhPool,
        console: Console,
        shutdown: Shutdown,
    ) -> Self {
        let access = Access::new(clients, psk_grant);
        let (replays, key_log) = (ReplayCache::default(), None);
        Self { config, access, offer, limits, pool, console, shutdown, replays, key_log }
    }

    /// Also writes the keys of every session to a log.
    #[must_use]
    pub fn logging_keys(mut self, key_log: Option<KeyLog>) -> Self {
        self.key_log = key_log;
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
        stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
    ) -> ServiceResult {
        let console = self.console.for_client(peer);
        console.line(format!("New client: {peer}")).await?;
        console.line("Negotiating the cipher").await?;
        let started = Instant::now();
        // What a handshake needs is not kept while the session lasts.
        let handshake = Box::pin(self.handshake(stream, peer, admission, &console));
        let (connection, client, admitted) = handshake.await?;
        admission.establish();
        console.line("The key has been established").await?;
        let name = match client {
            PeerIdentity::Key(key) => format!("{} {}", fingerprint(&key), admitted.grant.comment),
            PeerIdentity::PskOnly => "the holder of the PSK".to_owned(),
        };
        let mut session = ServerSession {
            connection,
            client,
            console,
            shutdown: self.shutdown.clone(),
            idle: self.limits.idle,
            keepalive: self.limits.keepalive,
        };
        let core = session.connection.session();
        let (suite, kex) = (core.suite(), core.kex().name());
        log::info!(
            target: SESSION,
            "{peer}: sealed session with {}, {kex}, {suite}",
            Printable(name.trim_end().as_bytes())
        );
        log::debug!("{peer}: established in {:?}", started.elapsed());
        session.connection.expect_pings(Some(self.limits.keepalive));
        session.connection.read_at_most(MESSAGE_READ);
        match self.opened(&mut session, &admitted.grant, client).await {
            Ok(Opened::Handler(handler)) => handler.serve(session).await,
            Ok(Opened::Over(reason)) => Box::pin(session.leave(Ok(reason))).await,
            Err(ended) => Box::pin(session.leave(Err(ended))).await,
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
        console: &Console,
    ) -> Result<(SealedConnection, PeerIdentity, Admitted), SealedIoError> {
        let console = console.clone();
        let chosen = async move |id| {
            // A closed console ends the server by itself.
            let _ = console.line(format!("We are going to use {id}")).await;
            let _ = console.line("Negotiating the key").await;
        };
        let (mut admitted, mut is_our_fault) = (None, false);
        let (admits, faults) = (&mut admitted, &mut is_our_fault);
        let decide = async move || {
            let listed = self.access.listed().await;
            move |client| match self.access.decide(&listed, client, peer) {
                Ok(client) => {
                    let ready = self.ready(&client.grant);
                    *admits = Some(client);
                    Decision::Admit(ready)
                }
                Err(denied) => {
                    if let PeerIdentity::Key(key) = client {
                        log::info!(target: SESSION, "{peer}: the client's key is {}", fingerprint(&key));
                    }
                    *faults = denied.is_our_fault;
                    Decision::Deny(denied.reason)
                }
            }
        };
        let source = Source::of(peer.ip());
        let deadline = Instant::now() + self.limits.sealed_handshake;
        let context = HandshakeContext { pool: &self.pool, source, deadline };
        let accept = AcceptContext {
            replays: &self.replays,
            queue_limit: self.limits.queue,
            admission: Some(admission),
        };
        let log_keys = |secrets: &LoggedSecrets<'_>| KeyLog::write(self.key_log.as_ref(), secrets);
        let config = self.config.clone();
        let accepted =
            accept_sealed(stream, config, context, accept, chosen, decide, &log_keys).await;
        let (connection, client) = accepted.inspect_err(|error| match offence(error) {
            Some(offence) if !is_our_fault => admission.penalise(offence),
            _ => admission.excuse(),
        })?;
        let admitted = admitted.ok_or(SealedError::Internal)?;
        Ok((connection, client, admitted))
    }

    /// What a client is told when it may come in.
    fn ready(&self, grant: &Grant) -> Ready {
        Ready {
            keepalive: u32::try_from(self.limits.keepalive.as_secs()).ok(),
            largest_message: u32::try_from(SEALED_MESSAGE).ok(),
            services: Some(grant.permit.join(",")),
        }
    }

    /// Waits until the client opens a service, and answers.
    async fn opened(
        &self,
        session: &mut ServerSession,
        grant: &Grant,
        client: PeerIdentity,
    ) -> Result<Opened, Ended> {
        loop {
            let idle = Instant::now() + self.limits.idle;
            let event = tokio::select! {
                event = timeout_at(idle.into(), session.connection.next()) => match event {
                    Ok(event) => event?,
                    Err(_) => return Ok(Opened::Over("closed, nothing happened for too long")),
                },
                // A client that has not begun may go elsewhere or come again.
                () = session.shutdown.wait() => {
                    return Err(Ended::Busy("the server is stopping".to_owned()));
                }
            };
            match event {
                Event::Open { service, .. } => {
                    return match self.admit(&service, grant, client) {
                        Ok(handler) => {
                            session.connection.session().reply_open(0, "")?;
                            Ok(Opened::Handler(handler))
                        }
                        Err(refused) => {
                            let (status, reason) = match &refused {
                                Ended::Busy(reason) => (BUSY, reason),
                                Ended::Denied(reason) => (NOT_PERMITTED, reason),
                                _ => return Err(refused),
                            };
                            session.connection.session().reply_open(status, reason)?;
                            session.connection.flush().await?;
                            Err(printable(refused))
                        }
                    };
                }
                Event::CloseRequested | Event::Closed => {
                    return Ok(Opened::Over("the client closed the session"));
                }
                // The connection looks after its exchanges and pings itself. Data cannot come yet.
                _ => {}
            }
        }
    }

    /// The handler of the service that a client asks for, or the refusal.
    fn admit(
        &self,
        service: &str,
        grant: &Grant,
        client: PeerIdentity,
    ) -> Result<Box<dyn Handler>, Ended> {
        if !self.offer.known.iter().any(|known| known == service) {
            return Err(Ended::Denied(format!("there is no service '{service}'")));
        }
        may_use(service, grant, client).map_err(Ended::Denied)?;
        if service != self.offer.service {
            return Err(Ended::Denied(format!(
                "this server does not offer the service '{service}': it was started with \
                 --service {}",
                self.offer.end_name
            )));
        }
        self.offer.end.admit().map_err(Ended::Busy)
    }
}

/// The same for the log: a service's name is the client's text.
fn printable(refused: Ended) -> Ended {
    let shown = |reason: String| Printable(reason.as_bytes()).to_string();
    match refused {
        Ended::Busy(reason) => Ended::Busy(shown(reason)),
        Ended::Denied(reason) => Ended::Denied(shown(reason)),
        ended => ended,
    }
}

/// What the source of a failed handshake is to blame for, if it is to blame.
fn offence(error: &SealedIoError) -> Option<Offence> {
    Some(match error {
        SealedIoError::Sealed(error) => match error {
            SealedError::Authentication(_) => Offence::AuthFailed,
            SealedError::BadRecord
            | SealedError::Kex(_)
            | SealedError::Malformed(_)
            | SealedError::Replayed
            | SealedError::Unexpected { .. } => Offence::Protocol,
            // The client is about to come again with what we want.
            SealedError::KexRetry { .. } => return None,
            _ => Offence::NoAuth,
        },
        // That is our lack of room.
        SealedIoError::Full => return None,
        _ => Offence::NoAuth,
    })
}
