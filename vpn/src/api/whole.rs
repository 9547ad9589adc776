//! A stream of bytes that is a session of its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{fmt, io};

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
    duplex, split,
};
use tokio::sync::Notify;

use super::error::Error;
use crate::net::SealedConnection;
use crate::session::{Blame, Drain, Feed, TransferError, transfer};
use crate::term::Progress;
use vpn_proto::classic::Role;

/// Bytes that may wait in each direction between the program and the session.
const BUFFER: usize = 256 * 1024;

/// A stream that is a session of its own. See [`Channel`](super::Channel).
pub(super) struct Whole {
    stream: DuplexStream,
    shared: Arc<Shared>,
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Whole(..)")
    }
}

/// The state that the stream shares with the task that moves its bytes.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The program has dropped the channel before its end.
    is_abandoned: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The program has ended its direction.
    is_shut_down: bool,
    /// The peer has ended its direction.
    peer_has_ended: bool,
    /// The program has read everything, up to the peer's end.
    has_read_all: bool,
    /// Waits for the program to read the end.
    reading: Option<Waker>,
    /// The result of the session. The error is returned once.
    outcome: Option<Result<(), Option<TransferError>>>,
    /// The tasks that wait for the result: one may read and another one write.
    waiting: Vec<Waker>,
}

impl Shared {
    /// The program has read everything.
    fn read_to_end(&self) {
        let mut state = self.state();
        state.has_read_all = true;
        if let Some(waker) = state.reading.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, outcome: Result<(), TransferError>) {
        let mut state = self.state();
        state.outcome.get_or_insert_with(|| outcome.map_err(Some));
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Returns the result of the session when it has ended.
    fn poll_outcome(&self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.state();
        match &mut state.outcome {
            None => {
                if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
            Some(Ok(())) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(match error.take() {
                Some(error) => error.into(),
                None => Error::new(Blame::Peer, "the channel has failed before"),
            })),
        }
    }
}

/// Sets the result of the session, also if its task is dropped.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err(TransferError::Stopped));
    }
}

/// The work of a channel: it moves bytes until both directions have ended. The error is its text.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Whole {
    /// Makes a channel on an open session, and its work. The caller has to run the work; it fails
    /// when `stopped` resolves.
    pub(super) fn new(
        connection: SealedConnection,
        role: Role,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, Work) {
        let (stream, inner) = duplex(BUFFER);
        let (reader, writer) = split(inner);
        let shared = Arc::<Shared>::default();
        let input = Feed::stream(Outgoing { reader, shared: shared.clone() });
        let output = Drain::stream(Incoming { writer, shared: shared.clone() });
        let ending = Ending(shared.clone());
        let abandoned = shared.clone();
        let stopped = async move {
            tokio::select! {
                () = stopped => {}
                () = abandoned.is_abandoned.notified() => {}
            }
        };
        let work = Box::pin(async move {
            let outcome =
                transfer(connection, Ok((input, output)), role, Progress::none(), stopped).await;
            let for_log = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            ending.0.end(outcome);
            for_log
        });
        (Self { stream, shared }, work)
    }

    /// See [`Channel::finish`](super::Channel::finish).
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.shutdown().await.map_err(Error::of_channel)?;
        let mut rest = [0];
        if self.read(&mut rest).await.map_err(Error::of_channel)? > 0 {
            return Err(Error::new(Blame::Usage, "the peer has sent bytes that were not read"));
        }
        let shared = self.shared.clone();
        std::future::poll_fn(|context| shared.poll_outcome(context)).await
    }

    /// Explains the end of the stream: the peer has ended its direction, or the session has failed.
    fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.state().peer_has_ended {
            self.shared.read_to_end();
            return Poll::Ready(Ok(()));
        }
        self.shared.poll_outcome(context).map_err(io::Error::from)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let state = self.shared.state();
        let is_at_its_end = state.is_shut_down && state.has_read_all;
        drop(state);
        if !is_at_its_end {
            self.shared.is_abandoned.notify_one();
        }
    }
}

impl AsyncRead for Whole {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        match read {
            Poll::Ready(Ok(())) if is_end => self.poll_end(context),
            read => read,
        }
    }
}

impl AsyncWrite for Whole {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            // The session is over, and its result says more.
            Poll::Ready(Err(error)) => self.shared.poll_outcome(context).map(|outcome| {
                outcome?;
                Err(error)
            }),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.state().is_shut_down = true;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The bytes from the program to the peer.
struct Outgoing {
    reader: ReadHalf<DuplexStream>,
    shared: Arc<Shared>,
}

impl AsyncRead for Outgoing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.reader).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before {
            // A channel that is dropped looks the same as one that is shut down. The session is
            // stopped for that reason.
            if !self.shared.state().is_shut_down {
                return Poll::Pending;
            }
        }
        read
    }
}

/// The bytes from the peer to the program.
struct Incoming {
    writer: WriteHalf<DuplexStream>,
    shared: Arc<Shared>,
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.writer).poll_write(context, bytes) {
            // The channel is dropped. The session is stopped for that reason.
            Poll::Ready(Err(_)) => Poll::Pending,
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    /// Ends when the program has read the end: until then the peer is not told that we have everything.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.state().peer_has_ended = true;
        std::task::ready!(Pin::new(&mut self.writer).poll_shutdown(context))?;
        let mut state = self.shared.state();
        if state.has_read_all {
            return Poll::Ready(Ok(()));
        }
        state.reading = Some(context.waker().clone());
        Poll::Pending
    }
}
