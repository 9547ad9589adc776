//! The handshake and the records of the sealed profile over a socket.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::limits::{FAREWELL, REPLY};
use super::pool::DhPool;
use super::pump::{Input, read_some};
use super::source::Source;
use crate::proto::SuiteId;
use crate::proto::sealed::{
    Alert, ClientConfig, Decision, Event, Gated, HelloSent, Kex, Part, PeerIdentity, Ready,
    SealedError, ServerConfig, Session, next_length,
};

/// How much may wait to be sent before nothing more is read: a few times what a pipe has under way.
const MOST_UNSENT: usize = 256 * 1024;

/// A session and its socket.
#[derive(Debug)]
pub struct SealedConnection {
    stream: TcpStream,
    session: Session,
    events: VecDeque<Event>,
    /// What is sealed and not yet sent, and how much of it is.
    output: Vec<u8>,
    sent: usize,
}

/// What came of [`SealedConnection::advance`].
#[derive(Debug)]
pub enum Moved {
    /// The peer said something.
    Event(Event),
    /// Everything sealed so far is on its way.
    Sent,
}

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
pub struct Place<'a> {
    /// The pool.
    pub pool: &'a DhPool,
    /// Whose turn in it it is.
    pub source: Source,
    /// When the whole handshake has to be over.
    pub deadline: Instant,
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
    place: Place<'_>,
    mut check: impl FnMut(Step) -> Result<(), E>,
    log_keys: &impl Fn(&LoggedSecrets<'_>),
) -> Result<(SealedConnection, Ready), E> {
    let handshake = async {
        let start = move || HelloSent::start(config, kex, &mut rand::rng());
        let (state, hello) = compute(place, start).await?;
        write(&mut stream, &hello).await?;
        let mut input = Vec::new();
        let first = match read_part(&mut stream, &mut input, Part::Hello).await {
            Err(SealedIoError::Sealed(SealedError::Cut)) => {
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
                let _ = timeout(FAREWELL, write(&mut stream, &alert)).await;
            }
            return Err(error);
        }
        let (state, record) = state.accept().map_err(SealedIoError::Sealed)?;
        let secrets = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: SESSION, secrets });
        write(&mut stream, &record).await?;
        let record = read_part(&mut stream, &mut input, Part::Record).await?;
        let (mut session, ready) = state.on_record(&record).map_err(SealedIoError::Sealed)?;
        session.handle_input(&input).map_err(SealedIoError::Sealed)?;
        Ok((session, ready))
    };
    let result = timeout_at(place.deadline.into(), handshake).await;
    let (session, ready): (Session, Ready) = result.map_err(|_| SealedIoError::TimedOut)??;
    Ok((SealedConnection::new(stream, session), ready))
}

/// Shakes hands as a server.
///
/// # Errors
///
/// Why there is no session; what the client is to be told has been sent.
pub async fn accept_sealed(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    place: Place<'_>,
    mut chosen: impl AsyncFnMut(SuiteId),
    decide: impl FnOnce(PeerIdentity) -> Decision,
    log_keys: &impl Fn(&LoggedSecrets<'_>),
) -> Result<(SealedConnection, PeerIdentity), SealedIoError> {
    let handshake = async {
        let mut input = Vec::new();
        let hello = read_part(&mut stream, &mut input, Part::Hello).await?;
        let gated = match Gated::on_hello(config, &hello) {
            Ok(gated) => gated,
            Err(refusal) => {
                if let Some(answer) = refusal.answer {
                    write(&mut stream, &answer).await?;
                }
                return Err(refusal.error.into());
            }
        };
        chosen(gated.suite()).await;
        let (state, flight) = compute(place, move || gated.respond(&mut rand::rng())).await?;
        let (client_random, secrets) = state.key_log();
        log_keys(&LoggedSecrets { client_random, labels: HANDSHAKE, secrets });
        write(&mut stream, &flight).await?;
        let record = read_part(&mut stream, &mut input, Part::Record).await?;
        match state.on_record(&record, decide) {
            Ok((mut session, client, ready)) => {
                let secrets = session.traffic_secrets();
                log_keys(&LoggedSecrets { client_random, labels: SESSION, secrets });
                write(&mut stream, &ready).await?;
                session.handle_input(&input)?;
                Ok((session, client))
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
        Ok(Ok((session, client))) => Ok((SealedConnection::new(stream, session), client)),
        Ok(Err(error)) => {
            super::farewell(stream).await;
            Err(error)
        }
        Err(_) => Err(SealedIoError::TimedOut),
    }
}

/// Runs a computation when its turn comes.
async fn compute<T: Send + 'static>(
    place: Place<'_>,
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
            return Ok(input.drain(..length).collect());
        }
        stream.readable().await?;
        match read_some(stream)? {
            Input::Bytes(bytes) => input.extend(bytes),
            Input::Nothing => {}
            Input::End => return Err(SealedError::Cut.into()),
        }
    }
}

impl SealedConnection {
    fn new(stream: TcpStream, session: Session) -> Self {
        Self { stream, session, events: VecDeque::new(), output: Vec::new(), sent: 0 }
    }

    /// Takes what the session has to send, so that [`SealedConnection::is_flushed`] counts it.
    pub fn stage(&mut self) {
        while let Some(bytes) = self.session.poll_transmit() {
            self.output.extend(bytes);
        }
    }

    /// Whether everything sealed so far was handed to the socket.
    pub fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// Sends and receives at once, until there is an event or everything sealed is on its way.
    /// Nothing is lost if the wait is given up.
    ///
    /// # Errors
    ///
    /// As [`SealedConnection::next`].
    pub async fn advance(&mut self) -> Result<Moved, SealedIoError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Moved::Event(event));
            }
            self.stage();
            if self.is_flushed() {
                self.output = Vec::new();
                self.sent = 0;
                self.stream.readable().await?;
            } else {
                // A peer that asks and does not read the answers is not read any further.
                let interest = match self.output.len() - self.sent {
                    ..=MOST_UNSENT => Interest::READABLE | Interest::WRITABLE,
                    _ => Interest::WRITABLE,
                };
                let ready = self.stream.ready(interest).await?;
                if ready.is_writable() {
                    match self.stream.try_write(&self.output[self.sent..]) {
                        Ok(written) => self.sent += written,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error.into()),
                    }
                    if self.is_flushed() {
                        return Ok(Moved::Sent);
                    }
                }
                if !ready.is_readable() {
                    continue;
                }
            }
            self.receive()?;
        }
    }

    /// Reads what is there.
    fn receive(&mut self) -> Result<(), SealedIoError> {
        let result = match read_some(&self.stream)? {
            Input::Bytes(bytes) => self.session.handle_input(&bytes),
            Input::Nothing => Ok(()),
            Input::End => self.session.handle_eof(),
        };
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
        match result {
            // What came before the error comes first; the session repeats the error then.
            Err(error) if self.events.is_empty() => Err(error.into()),
            Ok(()) if self.events.is_empty() && self.session.is_closed() => {
                self.events.push_back(Event::Closed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The session, to seal things with; then call [`SealedConnection::flush`].
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Sends what the session has to send.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stage();
        let output = std::mem::take(&mut self.output);
        let sent = std::mem::take(&mut self.sent);
        timeout(REPLY, self.stream.write_all(&output[sent..]))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Waits for the next event. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    ///
    /// Why the session is over; what the peer is to be told has been sent.
    pub async fn next(&mut self) -> Result<Event, SealedIoError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.flush().await?;
            self.stream.readable().await?;
            if let Err(error) = self.receive() {
                // Last words need not arrive.
                let _ = timeout(FAREWELL, self.flush()).await;
                return Err(error);
            }
        }
    }

    /// Ends the session properly, and waits a moment for the peer to say the same.
    ///
    /// # Errors
    ///
    /// If the peer did not.
    pub async fn close(mut self) -> Result<(), SealedIoError> {
        self.session.close(Alert::CloseNotify)?;
        let answered = async {
            while !self.session.is_closed() {
                self.next().await?;
            }
            self.flush().await?;
            Ok(())
        };
        let result = timeout(FAREWELL, answered).await;
        super::farewell(self.stream).await;
        result.map_err(|_| SealedIoError::TimedOut)?
    }

    /// Ends the session for a reason.
    pub async fn abort(mut self, alert: Alert) {
        if self.session.close(alert).is_ok() {
            // The peer may be gone already.
            let _ = timeout(FAREWELL, self.flush()).await;
        }
        super::farewell(self.stream).await;
    }
}

/// Why a sealed session over a socket ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedIoError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed without a word.
    #[error("the server closed the connection without an answer")]
    NoAnswer,
    /// The protocol says so.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// It took too long.
    #[error("the handshake was not over in time")]
    TimedOut,
}
