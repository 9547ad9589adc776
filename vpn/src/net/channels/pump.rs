//! Joins a channel and a local socket.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use zeroize::Zeroizing;

use super::shared::{ChannelEnd, OpenRefused};
use super::socket::LocalSocket;
use super::stream::ChannelStream;
use vpn_proto::sealed::{CloseCode, StreamKind};

/// The first size of a read in bytes. It grows for a socket that keeps sending.
const FIRST_READ: usize = 4 * 1024;

/// Why a forwarded connection did not end normally.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The local socket failed. The channel was reset.
    #[error("the local connection failed: {0}")]
    Local(io::Error),
    /// The peer does not open the channel. The local socket was reset.
    #[error("{0}")]
    Refused(OpenRefused),
    /// The channel was reset, or the session has ended. The local socket was reset.
    #[error("{0}")]
    Channel(io::Error),
}

/// Moves bytes both ways until both directions have ended. Each direction ends by itself. If one side
/// fails, the other one is reset, never closed cleanly.
///
/// # Errors
///
/// [`PumpError`] says which side failed.
pub async fn pump(socket: LocalSocket, channel: ChannelStream) -> Result<(), PumpError> {
    pump_with(socket, channel, Vec::new()).await
}

/// As [`pump`], for a socket from which `early` was read already.
///
/// # Errors
///
/// As [`pump`].
pub async fn pump_with(
    socket: LocalSocket,
    channel: ChannelStream,
    early: Vec<u8>,
) -> Result<(), PumpError> {
    let mut pump = Pump {
        socket,
        channel,
        early,
        at_once: FIRST_READ,
        pending: None,
        has_sent_all: false,
        has_written_all: false,
    };
    match poll_fn(|context| pump.poll(context)).await {
        Ok(()) => {
            pump.socket.close();
            Ok(())
        }
        Err(PumpError::Local(error)) => {
            pump.channel.reset(CloseCode::Reset, "");
            Err(PumpError::Local(error))
        }
        // The socket is dropped, which resets it.
        Err(error) => match pump.channel.refusal() {
            Some(refused) => Err(PumpError::Refused(refused)),
            None => Err(error),
        },
    }
}

struct Pump {
    socket: LocalSocket,
    channel: ChannelStream,
    /// Is sent before anything is read.
    early: Vec<u8>,
    at_once: usize,
    /// Bytes from the channel, and how many of them are written.
    pending: Option<(Zeroizing<Vec<u8>>, usize)>,
    has_sent_all: bool,
    has_written_all: bool,
}

impl Pump {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        while !self.has_sent_all
            && let Poll::Ready(sent) = self.poll_send(context)
        {
            sent?;
        }
        while !self.has_written_all
            && let Poll::Ready(written) = self.poll_write(context)
        {
            written?;
        }
        match self.channel.poll_ended(context) {
            Poll::Ready(ChannelEnd::Normal) => Poll::Ready(Ok(())),
            Poll::Ready(_) if self.has_sent_all && self.has_written_all => {
                let lost = io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the other side did not say that it has everything",
                );
                Poll::Ready(Err(PumpError::Channel(lost)))
            }
            Poll::Ready(_) => {
                // The other methods have the error, and bytes that came before it.
                ready!(self.channel.poll_room(context)).map_err(PumpError::Channel)?;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads from the socket and sends, once.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        let room = ready!(self.channel.poll_room(context)).map_err(PumpError::Channel)?;
        if !self.early.is_empty() {
            let later = self.early.split_off(room.min(self.early.len()));
            let bytes = std::mem::replace(&mut self.early, later);
            let sent = self.channel.send(StreamKind::Data, bytes);
            return Poll::Ready(sent.map_err(PumpError::Channel));
        }
        ready!(self.socket.poll_read_ready(context)).map_err(PumpError::Local)?;
        let size = room.min(self.at_once);
        let mut buffer = if size > FIRST_READ { self.channel.buffer() } else { Vec::new() };
        if buffer.capacity() < size {
            buffer.reserve_exact(size);
        }
        match self.socket.try_read(&mut buffer, size) {
            Ok(0) => {
                self.has_sent_all = true;
                self.channel.finish();
            }
            Ok(count) => {
                if count >= self.at_once {
                    self.at_once = (2 * self.at_once).min(16 * vpn_proto::sealed::MAX_DATA);
                } else if count < self.at_once / 4 {
                    // A socket that sends little needs no large buffers.
                    self.at_once = (self.at_once / 2).max(FIRST_READ);
                }
                self.channel.send(StreamKind::Data, buffer).map_err(PumpError::Channel)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.channel.recycle(Zeroizing::new(buffer));
            }
            Err(error) => return Poll::Ready(Err(PumpError::Local(error))),
        }
        Poll::Ready(Ok(()))
    }

    /// Receives from the channel and writes, once.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        let (bytes, start) = match self.pending.take() {
            Some(pending) => pending,
            None => match ready!(self.channel.poll_receive(context)) {
                Ok(Some((_, bytes))) => (bytes, 0),
                Ok(None) => {
                    self.socket.shutdown().map_err(PumpError::Local)?;
                    self.has_written_all = true;
                    self.channel.deliver();
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(PumpError::Channel(error))),
            },
        };
        match self.socket.try_write(&bytes[start..]) {
            Ok(count) => {
                self.channel.consume(count);
                match start + count < bytes.len() {
                    true => self.pending = Some((bytes, start + count)),
                    false => self.channel.recycle(bytes),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.pending = Some((bytes, start));
                ready!(self.socket.poll_write_ready(context)).map_err(PumpError::Local)?;
            }
            Err(error) => return Poll::Ready(Err(PumpError::Local(error))),
        }
        Poll::Ready(Ok(()))
    }
}
