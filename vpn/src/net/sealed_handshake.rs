//! The handshake of the sealed profile over a socket (PROTOCOL.md §4.2).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::admission::Admission;
use super::limits::CLOSE;
use super::pool::{DhPool, Job, JobId, PoolError, Priority};
use super::replay::ReplayCache;
use super::sealed_connection::SealedConnection;
use super::sealed_error::SealedIoError;
use super::socket::{Input, PeerState, lingering_close, read_some, watch_peer};
use super::source::Source;
use vpn_proto::SuiteId;
use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Gated, HelloSent, Kex, Part, PeerIdentity, Ready, Reject,
    SealedError, ServerConfig, ServerFlightSent, Session, next_length,
};

/// What [`connect_sealed`] reports before the handshake is complete.
#[derive(Clone, Copy, Debug)]
pub enum HandshakeEvent {
    /// The suite is agreed on.
    Chosen(SuiteId),
    /// The server has proved its identity.
    ServerAuthenticated(PeerIdentity),
}

/// The resources of a handshake.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeContext<'a> {
    /// Where it computes.
    pub pool: &'a DhPool,
    /// Whose usage of the pool it counts as.
    pub source: Source,
    /// When the whole handshake has to be complete.
    pub deadline: Instant,
}

/// What a server checks a handshake against, and where it reports it (PROTOCOL.md §4.7).
#[derive(Clone, Copy, Debug)]
pub struct AcceptContext<'a> {
    /// The gate values that were accepted before.
    pub replays: &'a ReplayCache,
    /// How many computations of sealed handshakes may wait in the pool. A client that finds no place is
    /// told that the server is busy.
    pub queue_limit: usize,
    /// The admission of this connection, if it has one.
    pub admission: Option<&'a Admission>,
}

/// Two secrets of a session for a key log (PROTOCOL.md §4.8), the client's first.
#[derive(Clone, Copy)]
pub struct LoggedSecrets<'a> {
    /// The random value of the ClientHello. It names the session in a capture.
    pub client_random: [u8; 32],
    /// The labels of the secrets in the key log.
    pub labels: [&'static str; 2],
    /// The secrets.
    pub secrets: [&'a [u8; 32]; 2],
}

impl std::fmt::Debug for LoggedSecrets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedSecrets").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// The labels of the handshake secrets (PROTOCOL.md §4.8).
const HANDSHAKE: [&str; 2] = ["SEALED_C_HS", "SEALED_S_HS"];
/// The labels of the first traffic secrets.
const SESSION: [&str; 2] = ["SEALED_C_AP", "SEALED_S_AP"];

/// Performs the handshake as a client, with a key share for `kex`. Returns the connection and the
/// server's Ready message.
///
/// `check` gets each event. If it returns an error, the server is told that access is denied, and the
/// handshake ends with that error. `log_keys` gets the secrets as soon as they are known.
///
/// Cancel safety: none. If the future is dropped, the connection is closed.
///
/// # Errors
///
/// The error of `check`, or a [`SealedIoError`]. After [`SealedError::KexRetry`] the caller may try
/// again on a new connection.
pub async fn connect_sealed<E: From<SealedIoError>>(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
    kex: Kex,
    context: HandshakeContext<'_>,
    mut check: impl FnMut(HandshakeEvent) -> Result<(), E>,
    log_keys: &impl Fn(&LoggedSecrets<'_>),
) -> Result<(SealedConnection, Ready), E> {
    let handshake = async {
        let start = move || HelloSent::start(config, kex, &mut rand::rng());
        let (state, hello) = compute(context, start).await?;
        let mut input = Vec::new();
        let reply = exchange_hellos(&mut stream, &mut input, &hello).await?;
        let state = compute(context, move || state.on_first(&reply)).await?;
        let (client_random, secrets) = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: HANDSHAKE, secrets });
        check(HandshakeEvent::Chosen(state.suite()))?;
        let record = read_part(&mut stream, &mut input, Part::Record).await?;
        let state = state.on_record(&record).map_err(SealedIoError::Sealed)?;
        if let Err(error) = check(HandshakeEvent::ServerAuthenticated(state.server())) {
            if let Ok(alert) = state.refuse(Alert::AccessDenied) {
                // If it does not arrive, the reason is still the same.
                let _ = timeout(CLOSE, write(&mut stream, &alert)).await;
            }
            return Err(error);
        }
        let (state, record) = state.accept().map_err(SealedIoError::Sealed)?;
        let secrets = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: SESSION, secrets });
        write(&mut stream, &record).await?;
        let record = read_part(&mut stream, &mut input, Part::Record).await?;
        let (session, ready) = state.on_record(&record).map_err(SealedIoError::Sealed)?;
        Ok::<_, E>((session, ready, input))
    };
    let result = timeout_at(context.deadline.into(), handshake).await;
    let (session, ready, rest) = result.map_err(|_| SealedIoError::TimedOut)??;
    let HandshakeContext { pool, source, .. } = context;
    Ok((SealedConnection::new(stream, session, &rest, pool, source), ready))
}

/// Sends the ClientHello and reads the server's first message.
async fn exchange_hellos(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    hello: &[u8],
) -> Result<Vec<u8>, SealedIoError> {
    let reply = async {
        write(stream, hello).await?;
        read_part(stream, input, Part::Hello).await
    };
    match reply.await {
        Err(error) if input.is_empty() && is_silent_end(&error) => Err(SealedIoError::NoAnswer),
        reply => reply,
    }
}

/// Whether the server closed the connection without a reply. It may have read our hello or not.
fn is_silent_end(error: &SealedIoError) -> bool {
    match error {
        SealedIoError::Sealed(SealedError::Cut) => true,
        SealedIoError::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
        ),
        _ => false,
    }
}

/// Performs the handshake as a server. Returns the connection and the client's identity.
///
/// `chosen` gets the suite when it is agreed on. `decide` admits or denies a client that has
/// proved its identity. `log_keys` gets the secrets as
/// soon as they are known.
///
/// Cancel safety: none. If the future is dropped, the connection is closed.
///
/// # Errors
///
/// [`SealedIoError`]. The message for the client is sent by then, and the connection is closed.
pub async fn accept_sealed(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    context: HandshakeContext<'_>,
    accept: AcceptContext<'_>,
    mut chosen: impl AsyncFnMut(SuiteId),
    decide: impl AsyncFnOnce(PeerIdentity) -> Decision,
    log_keys: &impl Fn(&LoggedSecrets<'_>),
) -> Result<(SealedConnection, PeerIdentity), SealedIoError> {
    let handshake = async {
        let mut server =
            ServerHandshake { stream: &mut stream, input: Vec::new(), context, accept };
        let gated = server.read_hello(config).await?;
        chosen(gated.suite()).await;
        let state = server.answer_hello(gated, log_keys).await?;
        let (session, client) = server.finish(state, decide, log_keys).await?;
        Ok((session, client, server.input))
    };
    match timeout_at(context.deadline.into(), handshake).await {
        Ok(Ok((session, client, rest))) => {
            let HandshakeContext { pool, source, .. } = context;
            Ok((SealedConnection::new(stream, session, &rest, pool, source), client))
        }
        Ok(Err(error)) => {
            lingering_close(stream).await;
            Err(error)
        }
        Err(_) => Err(SealedIoError::TimedOut),
    }
}

/// The server's side of a handshake, one message of the client after the other.
struct ServerHandshake<'a> {
    stream: &'a mut TcpStream,
    /// What was read and belongs to a later message.
    input: Vec<u8>,
    context: HandshakeContext<'a>,
    accept: AcceptContext<'a>,
}

impl ServerHandshake<'_> {
    /// Reads the ClientHello and checks its gate.
    async fn read_hello(&mut self, config: Arc<ServerConfig>) -> Result<Gated, SealedIoError> {
        let hello = read_part(self.stream, &mut self.input, Part::Hello).await?;
        let is_fresh = |gate: &[u8; 32]| self.accept.replays.is_first(gate);
        let gated = match Gated::on_fresh_hello(config, &hello, is_fresh) {
            Ok(gated) => gated,
            Err(refusal) => {
                if let Some(answer) = refusal.answer {
                    write(self.stream, &answer).await?;
                }
                return Err(refusal.error.into());
            }
        };
        if let Some(admission) = self.accept.admission {
            admission.advance(gated.knows_us());
        }
        Ok(gated)
    }

    /// Computes the key exchange and sends the server's flight.
    async fn answer_hello(
        &mut self,
        gated: Gated,
        log_keys: &impl Fn(&LoggedSecrets<'_>),
    ) -> Result<ServerFlightSent, SealedIoError> {
        let pool = self.context.pool;
        let is_known = gated.knows_us();
        // Pairs that were made in advance are only for clients whose gate matches.
        let spare = is_known.then(|| pool.take_spare(gated.kex())).flatten();
        let work = move || gated.respond_with_pair(spare, &mut rand::rng());
        let job = Job {
            source: self.context.source,
            priority: if is_known { Priority::SealedKnown } else { Priority::SealedUnknown },
            id: pool.new_id(),
            queue_limit: self.accept.queue_limit,
        };
        let computed = pool.run("sealed", job, work);
        tokio::pin!(computed);
        let (computed, peer) = self.watch_while(job.id, computed).await?;
        let (state, flight) = match computed {
            Ok(computed) => computed?,
            Err(PoolError::Full) => {
                write(self.stream, &Reject::Busy.encode()).await?;
                return Err(SealedIoError::Full);
            }
            Err(PoolError::Closed) => return Err(SealedIoError::TimedOut),
        };
        pool.refill();
        let (client_random, secrets) = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: HANDSHAKE, secrets });
        write(self.stream, &flight).await?;
        if let Some(admission) = self.accept.admission.filter(|_| peer == PeerState::Waiting) {
            admission.await_peer();
        }
        Ok(state)
    }

    /// Waits for a computation and watches the client meanwhile. Returns the result and the state of
    /// the client.
    async fn watch_while<T>(
        &self,
        id: JobId,
        mut computed: Pin<&mut impl Future<Output = T>>,
    ) -> Result<(T, PeerState), SealedIoError> {
        let mut peer = PeerState::Waiting;
        loop {
            tokio::select! {
                biased;
                changed = watch_peer(self.stream, peer) => {
                    peer = changed?;
                    if peer == PeerState::Closed {
                        // It will hardly continue. It gets its answer when there is nothing else to
                        // compute.
                        self.context.pool.set_priority(id, Priority::SealedClosed);
                        if let Some(admission) = self.accept.admission {
                            admission.peer_closed();
                        }
                    }
                }
                computed = &mut computed => return Ok((computed, peer)),
            }
        }
    }

    /// Reads the client's proof, decides about the client, and sends Ready or the refusal.
    async fn finish(
        &mut self,
        state: ServerFlightSent,
        decide: impl AsyncFnOnce(PeerIdentity) -> Decision,
        log_keys: &impl Fn(&LoggedSecrets<'_>),
    ) -> Result<(Session, PeerIdentity), SealedIoError> {
        let (client_random, _) = state.key_log();
        let record = read_part(self.stream, &mut self.input, Part::Record).await?;
        let answer = match state.verify(&record) {
            Ok(proof) => {
                let decision = match proof.client() {
                    // The list of clients is read as late as possible, and that may take time.
                    Some(client) => decide(client).await,
                    None => Decision::Deny("it has proved nothing"),
                };
                proof.answer(decision)
            }
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok((session, client, ready)) => {
                let secrets = session.traffic_secrets();
                log_keys(&LoggedSecrets { client_random, labels: SESSION, secrets });
                write(self.stream, &ready).await?;
                Ok((session, client))
            }
            Err(refusal) => {
                if let Some(answer) = refusal.answer {
                    write(self.stream, &answer).await?;
                }
                Err(refusal.error.into())
            }
        }
    }
}

/// Runs a client's computation in the pool.
async fn compute<T: Send + 'static>(
    context: HandshakeContext<'_>,
    work: impl FnOnce() -> Result<T, SealedError> + Send + 'static,
) -> Result<T, SealedIoError> {
    let HandshakeContext { pool, source, .. } = context;
    Ok(pool.compute("sealed", source, work).await.ok_or(SealedIoError::TimedOut)??)
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), SealedIoError> {
    Ok(stream.write_all(bytes).await?)
}

/// Reads one message. What was read behind it stays in `input`.
async fn read_part(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    part: Part,
) -> Result<Vec<u8>, SealedIoError> {
    loop {
        if let Some(length) = next_length(part, input)? {
            let message = input.drain(..length).collect();
            if input.is_empty() {
                *input = Vec::new();
            }
            return Ok(message);
        }
        stream.readable().await?;
        match read_some(stream)? {
            Input::Bytes(bytes) => input.extend(bytes),
            Input::Nothing => {}
            Input::End => return Err(SealedError::Cut.into()),
        }
    }
}
