//! An open stream of bytes to the peer, encrypted and authenticated both ways.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{fmt, io};

use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
    duplex, split,
};

use super::error::Error;
use crate::net::SealedConnection;
use crate::session::{Blame, Drain, Feed, TransferError, transfer};
use crate::trust::PublicKey;
use vpn_proto::classic::Role;
use vpn_proto::sealed::PeerIdentity;

/// Bytes that may wait in each direction between the program and the session.
const BUFFER: usize = 256 * 1024;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The holder of this key.
    Key(PublicKey),
    /// A holder of the PSK, and nobody can tell which one.
    Psk,
}

impl Peer {
    fn new(peer: PeerIdentity) -> Self {
        match peer {
            PeerIdentity::Key(bytes) => Self::Key(PublicKey { bytes, comment: String::new() }),
            PeerIdentity::PskOnly => Self::Psk,
        }
    }
}

/// A stream of bytes to the peer and one from it, encrypted and authenticated.
///
/// Each direction has an end of its own: [`shutdown`](AsyncWriteExt::shutdown) ends ours, and a read of
/// 0 bytes is the peer's. A connection that was cut is an error, and never such an end.
///
/// Bytes that were written are on their way, no more. [`Channel::finish`] says whether the program at
/// the other end has read them. A channel that is dropped without it is cut, and the peer gets an error.
pub struct Channel {
    stream: DuplexStream,
    shared: Arc<Shared>,
    peer: Peer,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What the channel and the task that moves its bytes know of each other.
#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The program has ended its direction.
    is_shut_down: bool,
    /// The peer has ended its direction.
    peer_has_ended: bool,
    /// The program has read everything, up to the peer's end.
    has_read_all: bool,
    /// The program has dropped the channel.
    is_dropped: bool,
    /// Waits for the program to read or to drop the channel.
    reading: Option<Waker>,
    /// How the session ended; the error is given out once.
    outcome: Option<Result<(), Option<TransferError>>>,
    waker: Option<Waker>,
}

impl Shared {
    /// The program has done something that the session waits for.
    fn note(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        if let Some(waker) = state.reading.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, outcome: Result<(), TransferError>) {
        let mut state = self.state();
        state.outcome.get_or_insert(outcome.map_err(Some));
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// How the session ended, once it has.
    fn poll_outcome(&self, context: &Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.state();
        match &mut state.outcome {
            None => {
                state.waker = Some(context.waker().clone());
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

/// Says how the session ended, also when its task is dropped.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err(TransferError::Stopped));
    }
}

/// The work of a channel: moves bytes until both directions are at their ends.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Channel {
    /// A channel on an open session, and the work that somebody has to do for it.
    pub(super) fn new(
        connection: SealedConnection,
        peer: PeerIdentity,
        role: Role,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, Work) {
        let (stream, inner) = duplex(BUFFER);
        let (reader, writer) = split(inner);
        let shared = Arc::<Shared>::default();
        let input = Feed::stream(Outgoing { reader, shared: shared.clone() });
        let output = Drain::stream(Incoming { writer, shared: shared.clone() });
        let ending = Ending(shared.clone());
        let work = Box::pin(async move {
            let outcome = transfer(connection, Ok((input, output)), role, stopped).await;
            let told = outcome.as_ref().map(|()| ()).map_err(ToString::to_string);
            ending.0.end(outcome);
            told
        });
        (Self { stream, shared, peer: Peer::new(peer) }, work)
    }

    /// Who is at the other end. It has proved that.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Ends our direction, waits for the end of the peer's, and for the peer's word that it has
    /// everything. Everything that the peer sent must have been read.
    ///
    /// # Errors
    ///
    /// If the peer does not have everything, or has sent bytes that were not read.
    pub async fn finish(mut self) -> Result<(), Error> {
        // How it ended is told below.
        let ended = self.shutdown().await;
        let mut rest = [0];
        if let Ok(1..) = self.read(&mut rest).await {
            return Err(Error::new(Blame::Usage, "the peer has sent bytes that were not read"));
        }
        let shared = self.shared.clone();
        std::future::poll_fn(|context| shared.poll_outcome(context)).await?;
        ended.map_err(|error| Error::new(Blame::Peer, error.to_string()))
    }

    /// What a stream that is at its end means: the peer's end, or a failure.
    fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.state().peer_has_ended {
            self.shared.note(|state| state.has_read_all = true);
            return Poll::Ready(Ok(()));
        }
        self.shared.poll_outcome(context).map_err(io::Error::from)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.note(|state| state.is_dropped = true);
    }
}

impl AsyncRead for Channel {
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

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            // The session is over, and its outcome says more.
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

/// What the program writes, on its way to the peer.
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
            // A channel that is dropped looks the same as one that is shut down.
            if !self.shared.state().is_shut_down {
                return Poll::Ready(Err(io::Error::other("the channel was dropped")));
            }
        }
        read
    }
}

/// What the peer sends, on its way to the program.
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
        Pin::new(&mut self.writer).poll_write(context, bytes)
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
        if state.is_dropped {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        state.reading = Some(context.waker().clone());
        Poll::Pending
    }
}
