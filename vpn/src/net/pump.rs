//! Moves bytes between a socket and a handshake of the core.

use std::io;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::limits::{FAREWELL, READ};
use super::pool::DhPool;
use super::source::Source;
use crate::proto::classic::{Event, Handshake, Note};
use crate::proto::{DhOutcome, HandshakeError, SuiteId};
use crate::term::Reason;

/// How far a handshake has come.
#[derive(Debug)]
pub enum Progress<S> {
    /// The cipher is agreed on; call again.
    Chosen(SuiteId),
    /// The key is established.
    Done(S),
    /// Something to tell; call again.
    Note(Note),
}

/// Drives a handshake over a socket.
#[derive(Debug)]
pub struct Driver<'a, H> {
    stream: &'a mut TcpStream,
    handshake: H,
    pool: &'a DhPool,
    source: Source,
    work: JoinSet<Option<DhOutcome>>,
    deadline: Instant,
    /// Why it is over, once what is to be told before that was told.
    failed: Option<HandshakeError>,
}

impl<'a, H: Handshake> Driver<'a, H> {
    /// `source` is whose turn in the pool it is, `deadline` when the whole handshake has to be over.
    pub fn new(
        stream: &'a mut TcpStream,
        handshake: H,
        pool: &'a DhPool,
        source: Source,
        deadline: Instant,
    ) -> Self {
        Self { stream, handshake, pool, source, work: JoinSet::new(), deadline, failed: None }
    }

    /// Goes on to the next thing worth telling.
    ///
    /// # Errors
    ///
    /// Why the handshake is over. What the peer is to be told has been sent by then; the caller
    /// closes the connection, best with [`farewell`].
    pub async fn next(&mut self) -> Result<Progress<H::Session>, PumpError> {
        loop {
            if self.failed.is_none() {
                self.flush().await?;
            }
            match self.handshake.poll_event() {
                Some(Event::Chosen(id)) => return Ok(Progress::Chosen(id)),
                Some(Event::Note(note)) => return Ok(Progress::Note(note)),
                Some(Event::Compute(task)) => {
                    let (pool, source) = (self.pool.clone(), self.source);
                    self.work.spawn(async move { pool.run(task, source).await });
                    continue;
                }
                None => {}
            }
            if let Some(error) = self.failed.take() {
                return Err(PumpError::Handshake(error));
            }
            if let Some(session) = self.handshake.take_session() {
                return Ok(Progress::Done(session));
            }
            let due = self.handshake.poll_timeout().map_or(self.deadline, |t| t.min(self.deadline));
            let result = tokio::select! {
                Some(done) = self.work.join_next() => match done {
                    Ok(Some(outcome)) => self.handshake.handle_outcome(outcome),
                    _ => return Err(PumpError::Io(io::ErrorKind::Interrupted.into())),
                },
                ready = self.stream.readable(), if self.handshake.wants_input() => {
                    ready?;
                    match read_some(self.stream)? {
                        Input::Bytes(bytes) => {
                            self.handshake.handle_input(&bytes, Instant::now())
                        }
                        Input::Nothing => Ok(()),
                        Input::End => self.handshake.handle_eof(),
                    }
                }
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        return Err(PumpError::TimedOut);
                    }
                    self.handshake.handle_timeout(now)
                }
            };
            if let Err(error) = result {
                // Whether the last words arrive does not change why it is over.
                let _ = timeout(FAREWELL, self.flush()).await;
                self.failed = Some(error);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), PumpError> {
        while let Some(bytes) = self.handshake.poll_transmit() {
            match timeout_at(self.deadline.into(), self.stream.write_all(&bytes)).await {
                Ok(written) => written?,
                Err(_) => return Err(PumpError::TimedOut),
            }
        }
        Ok(())
    }
}

/// What a read brought.
#[derive(Debug)]
pub enum Input {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of the peer's stream.
    End,
    /// Nothing yet.
    Nothing,
}

/// Reads what is there, without a buffer that an idle connection would have to keep.
///
/// # Errors
///
/// What the socket says.
pub fn read_some(stream: &TcpStream) -> io::Result<Input> {
    let mut buffer = [0; READ];
    match stream.try_read(&mut buffer) {
        Ok(0) => Ok(Input::End),
        Ok(n) => Ok(Input::Bytes(buffer[..n].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Input::Nothing),
        Err(error) => Err(error),
    }
}

/// Sends bytes within a time.
///
/// # Errors
///
/// What the socket says, or [`io::ErrorKind::TimedOut`] if the peer does not take them.
pub async fn send(
    stream: &mut TcpStream,
    bytes: &[u8],
    within: std::time::Duration,
) -> io::Result<()> {
    timeout(within, stream.write_all(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Closes a connection so that what was sent last arrives.
///
/// A close with unread input would reset the connection, and the peer might never see why; so
/// read on for a moment, and throw it away.
pub async fn farewell(mut stream: TcpStream) {
    let linger = async {
        stream.shutdown().await?;
        loop {
            stream.readable().await?;
            if matches!(read_some(&stream)?, Input::End) {
                return Ok::<(), io::Error>(());
            }
        }
    };
    // There is nobody left to tell about a failure.
    let _ = timeout(FAREWELL, linger).await;
}

/// Why a handshake over a socket ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PumpError {
    /// The protocol says so.
    #[error(transparent)]
    Handshake(HandshakeError),
    /// The socket failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("the handshake was not over in time")]
    TimedOut,
}
