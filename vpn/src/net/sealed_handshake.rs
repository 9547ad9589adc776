//! The handshake and the records of the sealed profile over a socket.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::admission::Admission;
use super::limits::CLOSE;
use super::pool::{DhPool, Job, PoolError, Priority};
use super::replay::ReplayCache;
use super::sealed_connection::SealedConnection;
use super::socket::{Input, PeerState, read_some, watch_peer};
use super::source::Source;
use vpn_proto::SuiteId;
use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Gated, HelloSent, Kex, Part, PeerIdentity, Ready, Reject,
    SealedError, ServerConfig, next_length,
};

/// What a caller is told on the way.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The suite is agreed on.
    Chosen(SuiteId),
    /// The server has proved who it is.
    Server(PeerIdentity),
}

/// Where and until when a handshake may compute.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeContext<'a> {
    /// The pool.
    pub pool: &'a DhPool,
    /// Whose turn in it it is.
    pub source: Source,
    /// When the whole handshake has to be over.
    pub deadline: Instant,
}

/// What a server looks at before it computes.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// Gate values that were accepted.
    pub seen: &'a ReplayCache,
    /// How many computations may wait in the pool before the server says that it is busy.
    pub queue: usize,
    /// What hears how far the handshake has come, if anything does.
    pub admission: Option<&'a Admission>,
}

/// Secrets of a session for a key log, the client's first.
#[derive(Clone, Copy)]
pub struct LoggedSecrets<'a> {
    /// What a capture knows the session by.
    pub client_random: [u8; 32],
    /// Which secrets these are.
    pub labels: [&'static str; 2],
    /// The secrets.
    pub secrets: [&'a [u8; 32]; 2],
}

impl std::fmt::Debug for LoggedSecrets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedSecrets").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// The labels of the secrets of a handshake, and of those of a session (PROTOCOL.md §4.8).
const HANDSHAKE: [&str; 2] = ["SEALED_C_HS", "SEALED_S_HS"];
const SESSION: [&str; 2] = ["SEALED_C_AP", "SEALED_S_AP"];

/// Shakes hands as a client.
///
/// `check` hears of each step; if it does not want the server that it is told of, the handshake ends
/// with that error.
///
/// # Errors
///
/// Why there is no session. [`SealedError::KexRetry`] may be tried again on a new connection.
pub async fn connect_sealed<E: From<SealedIoError>>(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
    kex: Kex,
    place: HandshakeContext<'_>,
    mut check: impl FnMut(Step) -> Result<(), E>,
    log_keys: &impl Fn(&LoggedSecrets<'_>),
) -> Result<(SealedConnection, Ready), E> {
    let handshake = async {
        let start = move || HelloSent::start(config, kex, &mut rand::rng());
        let (state, hello) = compute(place, start).await?;
        let mut input = Vec::new();
        let first = async {
            write(&mut stream, &hello).await?;
            read_part(&mut stream, &mut input, Part::Hello).await
        };
        let first = match first.await {
            Err(error) if input.is_empty() && is_silent_end(&error) => {
                return Err(SealedIoError::NoAnswer.into());
            }
            first => first?,
        };
        let state = compute(place, move || state.on_first(&first)).await?;
        let (client_random, secrets) = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: HANDSHAKE, secrets });
        check(Step::Chosen(state.suite()))?;
        let record = read_part(&mut stream, &mut input, Part::Record).await?;
        let state = state.on_record(&record).map_err(SealedIoError::Sealed)?;
        if let Err(error) = check(Step::Server(state.server())) {
            if let Ok(alert) = state.refuse(Alert::AccessDenied) {
                // Whether it arrives does not change why it is over.
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
    let result = timeout_at(place.deadline.into(), handshake).await;
    let (session, ready, behind) = result.map_err(|_| SealedIoError::TimedOut)??;
    Ok((SealedConnection::new(stream, session, &behind, place), ready))
}

/// Whether the server closed without a word; whether it read our words before does not matter.
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

/// Shakes hands as a server.
///
/// # Errors
///
/// Why there is no session; what the client is to be told has been sent.
pub async fn accept_sealed<D: FnOnce(PeerIdentity) -> Decision>(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    place: HandshakeContext<'_>,
    guard: Guard<'_>,
    mut chosen: impl AsyncFnMut(SuiteId),
    decide: impl AsyncFnOnce() -> D,
    log_keys: &impl Fn(&LoggedSecrets<'_>),
) -> Result<(SealedConnection, PeerIdentity), SealedIoError> {
    let handshake = async {
        let mut input = Vec::new();
        let hello = read_part(&mut stream, &mut input, Part::Hello).await?;
        let is_fresh = |gate: &[u8; 32]| guard.seen.is_first(gate);
        let gated = match Gated::on_fresh_hello(config, &hello, is_fresh) {
            Ok(gated) => gated,
            Err(refusal) => {
                if let Some(answer) = refusal.answer {
                    write(&mut stream, &answer).await?;
                }
                return Err(refusal.error.into());
            }
        };
        drop(hello);
        let is_known = gated.knows_us();
        if let Some(admission) = guard.admission {
            admission.advance(is_known);
        }
        chosen(gated.suite()).await;
        // Made in advance, and not for everybody.
        let spare = is_known.then(|| place.pool.take_spare(gated.kex())).flatten();
        let work = move || gated.respond_with_pair(spare, &mut rand::rng());
        let job = Job {
            source: place.source,
            priority: if is_known { Priority::SealedKnown } else { Priority::SealedUnknown },
            id: place.pool.new_id(),
            queue_limit: guard.queue,
        };
        let answered = place.pool.run("sealed", job, work);
        tokio::pin!(answered);
        let mut peer = PeerState::Waiting;
        let answered = loop {
            tokio::select! {
                biased;
                noticed = watch_peer(&stream, peer) => {
                    peer = noticed?;
                    if peer == PeerState::Closed {
                        // It will hardly go on; it is answered if there is nothing else to do.
                        place.pool.set_priority(job.id, Priority::SealedClosed);
                        if let Some(admission) = guard.admission {
                            admission.peer_closed();
                        }
                    }
                }
                answered = &mut answered => break answered,
            }
        };
        let (state, flight) = match answered {
            Ok(answered) => answered?,
            Err(PoolError::Full) => {
                write(&mut stream, &Reject::Busy.encode()).await?;
                return Err(SealedIoError::Full);
            }
            Err(PoolError::Closed) => return Err(SealedIoError::TimedOut),
        };
        place.pool.refill();
        let (client_random, secrets) = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: HANDSHAKE, secrets });
        write(&mut stream, &flight).await?;
        if let Some(admission) = guard.admission.filter(|_| peer == PeerState::Waiting) {
            admission.await_peer();
        }
        // A client may take its time now; what is not needed any more does not wait with it.
        drop(flight);
        let record = read_part(&mut stream, &mut input, Part::Record).await?;
        // What is known of clients is looked up as late as possible, and may take its time.
        let decide = decide().await;
        match state.on_record(&record, decide) {
            Ok((session, client, ready)) => {
                let secrets = session.traffic_secrets();
                log_keys(&LoggedSecrets { client_random, labels: SESSION, secrets });
                write(&mut stream, &ready).await?;
                Ok((session, client, input))
            }
            Err(refusal) => {
                if let Some(answer) = refusal.answer {
                    write(&mut stream, &answer).await?;
                }
                Err(refusal.error.into())
            }
        }
    };
    match timeout_at(place.deadline.into(), handshake).await {
        Ok(Ok((session, client, behind))) => {
            Ok((SealedConnection::new(stream, session, &behind, place), client))
        }
        Ok(Err(error)) => {
            super::lingering_close(stream).await;
            Err(error)
        }
        Err(_) => Err(SealedIoError::TimedOut),
    }
}

/// Runs a computation when its turn comes.
async fn compute<T: Send + 'static>(
    place: HandshakeContext<'_>,
    work: impl FnOnce() -> Result<T, SealedError> + Send + 'static,
) -> Result<T, SealedIoError> {
    Ok(place.pool.compute("sealed", place.source, work).await.ok_or(SealedIoError::TimedOut)??)
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), SealedIoError> {
    Ok(stream.write_all(bytes).await?)
}

/// Reads one message; what comes behind it stays in the buffer.
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

/// Why a sealed session over a socket ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedIoError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server has no room for the handshake, and said so.
    #[error("turned away: too many key exchanges wait for their turn")]
    Full,
    /// The server closed without a word.
    #[error("closed without an answer: the server's key or PSK is another one, or it is busy")]
    NoAnswer,
    /// The peer was not heard of for too long.
    #[error("the peer has fallen silent")]
    Silent,
    /// The protocol says so.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// It took too long.
    #[error("the handshake was not over in time")]
    TimedOut,
}
