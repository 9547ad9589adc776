//! The server's side of a sealed session: the handshake, access, and the choice of a service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::access::{Access, Admitted, Clients, may_use};
use super::service::{
    Handler, OpenRequest, Refusal, ServerEnd, ServerError, ServerSession, ServiceResult,
};
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

/// The statuses of OpenReply that refuse a service (PROTOCOL.md §4.9).
const NOT_PERMITTED: u8 = 1;
const BUSY: u8 = 2;
const UNREACHABLE: u8 = 3;

/// The service that a server offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its name.
    pub service: String,
    /// The name of the server's end, as in `--service`.
    pub end_name: String,
    /// The server's end.
    pub end: Arc<dyn ServerEnd>,
    /// The services besides, by their names: those for which `permit` alone decides.
    pub always: Vec<(String, Arc<dyn ServerEnd>)>,
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

/// The result of the wait for a client's Open.
enum Opened {
    /// The client has the service, and this serves it.
    Handler(Box<dyn Handler>),
    /// The session ended without a service. This is the line for the log.
    Closed(&'static str),
}

impl SealedServer {
    /// A server with these settings. It computes in `pool`, prints to `console`, and stops when
    /// `shutdown` says so.
    ///
    /// `clients` may come in by their keys. `psk_grant` says what a client with a PSK and no key
    /// may do.
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

    /// Adds a key log, which gets the secrets of every session.
    #[must_use]
    pub fn logging_keys(mut self, key_log: Option<KeyLog>) -> Self {
        self.key_log = key_log;
        self
    }

    /// Serves one connection to its end. Errors are logged here.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, admission: &Admission) {
        match self.session(stream, peer, admission).await {
            Ok(reason) => log::info!(target: SESSION, "{peer}: {reason}"),
            // The client did nothing wrong. The server ends because its output is closed.
            Err(ServerError::Console(error)) => log::info!(target: SESSION, "{peer}: {error}"),
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
        // Boxed, so that the session does not keep the memory of the handshake.
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
            grant: Arc::new(admitted.grant.clone()),
            doubts: admitted.counted.doubts.clone(),
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
        match self.wait_for_open(&mut session, client).await {
            Ok(Opened::Handler(handler)) => handler.serve(session).await,
            Ok(Opened::Closed(reason)) => Box::pin(session.close(Ok(reason))).await,
            Err(ended) => Box::pin(session.close(Err(ended))).await,
        }
    }

    /// Shakes hands and decides about the client. A failure counts for the client's source, unless
    /// it is our fault.
    async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        admission: &Admission,
        console: &Console,
    ) -> Result<(SealedConnection, PeerIdentity, Admitted), SealedIoError> {
        let console = console.clone();
        let chosen = async move |id| {
            // If the console is closed, the server stops anyway.
            let _ = console.line(format!("We are going to use {id}")).await;
            let _ = console.line("Negotiating the key").await;
        };
        let (mut admitted, mut is_our_fault) = (None, false);
        let (admits, faults) = (&mut admitted, &mut is_our_fault);
        let decide = async move |client| {
            let listed = self.access.listed().await;
            match self.access.decide(&listed, client, peer).await {
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

    /// The Ready message for a client with this grant.
    fn ready(&self, grant: &Grant) -> Ready {
        Ready {
            keepalive: u32::try_from(self.limits.keepalive.as_secs()).ok(),
            largest_message: u32::try_from(SEALED_MESSAGE).ok(),
            services: Some(grant.permit.to_string()),
        }
    }

    /// Waits for the client's Open, and answers it.
    async fn wait_for_open(
        &self,
        session: &mut ServerSession,
        client: PeerIdentity,
    ) -> Result<Opened, ServerError> {
        loop {
            let idle = Instant::now() + self.limits.idle;
            let event = tokio::select! {
                event = timeout_at(idle.into(), session.connection.next()) => match event {
                    Ok(event) => event?,
                    Err(_) => return Ok(Opened::Closed("closed, nothing happened for too long")),
                },
                // The client has not begun yet. Busy tells it to come again.
                () = session.shutdown.wait() => {
                    return Err(ServerError::Busy("the server is stopping".to_owned()));
                }
            };
            match event {
                Event::Open { service, argument } => {
                    let grant = session.grant.clone();
                    let request = OpenRequest { argument: &argument, client, grant: &grant };
                    return match self.admit(&service, request).await {
                        Ok(handler) => {
                            session.connection.session().reply_open(0, "")?;
                            Ok(Opened::Handler(handler))
                        }
                        Err(refusal) => Err(refuse(session, refusal).await?),
                    };
                }
                Event::CloseRequested | Event::Closed => {
                    return Ok(Opened::Closed("the client closed the session"));
                }
                // The connection answers pings and key exchanges itself. The core refuses data that
                // comes before OpenReply.
                _ => {}
            }
        }
    }

    /// Returns the handler of the service that a client asks for.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with the text for the client.
    async fn admit(
        &self,
        service: &str,
        request: OpenRequest<'_>,
    ) -> Result<Box<dyn Handler>, Refusal> {
        let offer = &self.offer;
        let denied = |text| Err(Refusal::NotPermitted(text));
        let always = offer.always.iter().find(|(name, _)| name == service);
        let end = always.map_or(&offer.end, |(_, end)| end);
        if always.is_none() && !offer.known.iter().any(|known| known == service) {
            return denied(format!("there is no service '{service}'"));
        }
        may_use(service, end.as_ref(), request.grant, request.client)
            .map_err(Refusal::NotPermitted)?;
        if always.is_none() && service != offer.service {
            return denied(format!(
                "this server does not offer the service '{service}': it was started with \
                 --service {}",
                offer.end_name
            ));
        }
        end.admit(request).await
    }
}

/// Tells the client why it does not get a service. Returns the end of the session.
async fn refuse(session: &mut ServerSession, refusal: Refusal) -> Result<ServerError, ServerError> {
    let (status, text) = match &refusal {
        Refusal::Busy(text) => (BUSY, text),
        Refusal::NotPermitted(text) => (NOT_PERMITTED, text),
        Refusal::Unreachable(text) => (UNREACHABLE, text),
    };
    session.connection.session().reply_open(status, text)?;
    session.connection.flush().await?;
    // The name of the service comes from the client, so the log gets it with escapes.
    let shown = Printable(text.as_bytes()).to_string();
    Ok(match refusal {
        Refusal::Busy(_) => ServerError::Busy(shown),
        Refusal::NotPermitted(_) => ServerError::Denied(shown),
        Refusal::Unreachable(_) => ServerError::Unreachable(shown),
    })
}

/// What a failed handshake counts as for its source; `None` if the source did nothing wrong.
fn offence(error: &SealedIoError) -> Option<Offence> {
    Some(match error {
        SealedIoError::Sealed(error) => match error {
            SealedError::Authentication(_) => Offence::AuthFailed,
            SealedError::BadRecord
            | SealedError::Kex(_)
            | SealedError::Malformed(_)
            | SealedError::Replayed
            | SealedError::Unexpected { .. } => Offence::Protocol,
            // The client will connect again with the key exchange that we asked for.
            SealedError::KexRetry { .. } => return None,
            _ => Offence::NoAuth,
        },
        // We have no room; the client did nothing wrong.
        SealedIoError::Full => return None,
        _ => Offence::NoAuth,
    })
}
