//! An open stream of bytes to the peer, encrypted and authenticated both ways.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::error::Error;
use super::held::Held;
use super::whole::{Whole, Work};
use crate::net::{ChannelEnd, ChannelStream, SealedConnection};
use crate::session::Blame;
use crate::trust::PublicKey;
use vpn_proto::classic::Role;
use vpn_proto::sealed::PeerIdentity;

/// The identity of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The holder of this key.
    Key(PublicKey),
    /// One of the holders of the PSK. It is unknown which one.
    Psk,
}

impl Peer {
    pub(super) fn new(peer: PeerIdentity) -> Self {
        match peer {
            PeerIdentity::Key(bytes) => Self::Key(PublicKey { bytes, comment: String::new() }),
            PeerIdentity::PskOnly => Self::Psk,
        }
    }
}

/// An encrypted and authenticated stream of bytes to the peer, and another one from it.
///
/// Each direction ends by itself: [`shutdown`](AsyncWriteExt::shutdown) ends ours, and a read of 0
/// bytes is the end of the peer's. If the connection is cut, a read returns an error.
///
/// A successful write does not mean that the peer has the bytes. [`Channel::finish`] says whether the
/// program at the other end has read them. If a channel is dropped before both directions have
/// ended, it is cut, and the peer gets an error.
///
/// A channel of [`Client::open`](crate::Client::open) has a session of its own. The channels of a
/// [`Session`](crate::Session) share one.
#[derive(Debug)]
pub struct Channel {
    stream: Stream,
    peer: Peer,
}

#[derive(Debug)]
enum Stream {
    Whole(Whole),
    /// A channel of a session, which lives as long as one of its channels.
    Part(ChannelStream, Option<Arc<Held>>),
}

impl Channel {
    /// Makes a channel that is a whole session, and its work. The caller has to run the work; it
    /// fails when `stopped` resolves.
    pub(super) fn whole(
        connection: SealedConnection,
        peer: PeerIdentity,
        role: Role,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, Work) {
        let (stream, work) = Whole::new(connection, role, stopped);
        (Self { stream: Stream::Whole(stream), peer: Peer::new(peer) }, work)
    }

    /// Makes a channel that shares a session. It holds `session` as long as it lives.
    pub(super) fn part(stream: ChannelStream, peer: Peer, session: Option<Arc<Held>>) -> Self {
        Self { stream: Stream::Part(stream, session), peer }
    }

    /// The identity that the peer has proved.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Ends our direction, waits for the end of the peer's direction, and closes the channel. After
    /// success the peer has every byte. Read all bytes from the peer before.
    ///
    /// # Errors
    ///
    /// If the peer does not have every byte, or if it has sent bytes that were not read.
    pub async fn finish(self) -> Result<(), Error> {
        let (mut stream, _session) = match self.stream {
            Stream::Whole(stream) => return stream.finish().await,
            Stream::Part(stream, session) => (stream, session),
        };
        stream.shutdown().await.map_err(Error::of_channel)?;
        let mut rest = [0];
        if stream.read(&mut rest).await.map_err(Error::of_channel)? > 0 {
            return Err(Error::new(Blame::Usage, "the peer has sent bytes that were not read"));
        }
        match stream.ended().await {
            ChannelEnd::Normal => Ok(()),
            end => Err(Error::new(Blame::Peer, end.to_string())),
        }
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Whole(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Part(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Whole(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Part(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Whole(stream) => Pin::new(stream).poll_flush(context),
            Stream::Part(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Whole(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Part(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
