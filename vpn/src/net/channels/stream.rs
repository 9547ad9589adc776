//! One channel, for the task that uses it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroizing;

use super::shared::{ChannelEnd, OpenRefused, Shared, State};
use vpn_proto::sealed::{ChannelError, ChannelExit, CloseCode, OpenStatus, StreamKind};

/// Bytes of the peer, and the stream that they belong to.
pub(super) type Received = (StreamKind, Zeroizing<Vec<u8>>);

/// One channel of a session. It is reset if it is dropped before both directions have ended.
pub struct ChannelStream {
    shared: Arc<Shared>,
    id: u32,
    /// What [`AsyncRead`] has received and not returned yet.
    rest: Option<(Zeroizing<Vec<u8>>, usize)>,
    has_delivered: bool,
}

impl fmt::Debug for ChannelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelStream({})", self.id)
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.shared.state().release(self.id);
        self.shared.has_output.notify_one();
    }
}

fn store(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(context.waker()),
        None => *waker = Some(context.waker().clone()),
    }
}

fn closed(_: ChannelError) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl ChannelStream {
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id, rest: None, has_delivered: false }
    }

    /// Accepts the channel that the peer has requested.
    ///
    /// # Errors
    ///
    /// If the peer has closed it.
    pub fn accept(&self) -> io::Result<()> {
        self.act(|state| state.core.accept(self.id)).map_err(closed)
    }

    /// Refuses the channel that the peer has requested. The text is for the peer's user.
    pub fn refuse(self, status: OpenStatus, text: &str) {
        self.act(|state| state.core.refuse(self.id, status, text));
    }

    /// Resets the channel, and tells the peer why.
    pub fn reset(self, code: CloseCode, text: &str) {
        self.act(|state| state.core.reset(self.id, code, text));
    }

    /// Does something that gives the task of the session work.
    fn act<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let (done, has_output) = {
            let mut state = self.shared.state();
            let done = action(&mut state);
            (done, state.core.has_output())
        };
        if has_output {
            self.shared.has_output.notify_one();
        }
        done
    }

    /// Waits until the peer has accepted the channel.
    ///
    /// # Errors
    ///
    /// [`OpenRefused`] if it refuses it, or if the session ends.
    pub async fn opened(&self) -> Result<(), OpenRefused> {
        poll_fn(|context| {
            let mut state = self.shared.state();
            let Some(slot) = state.slot(self.id) else { return Poll::Ready(Ok(())) };
            if slot.is_accepted {
                return Poll::Ready(Ok(()));
            }
            match &slot.end {
                Some(ChannelEnd::Refused(refused)) => Poll::Ready(Err(refused.clone())),
                Some(end) => {
                    let text = end.error().to_string();
                    Poll::Ready(Err(OpenRefused { status: OpenStatus::Unreachable, text }))
                }
                None => {
                    store(&mut slot.waiting, context);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Receives bytes of the peer; `None` is the end of its direction. Call
    /// [`ChannelStream::consume`] when the bytes are handed over.
    pub(crate) fn poll_receive(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Received>>> {
        let mut state = self.shared.state();
        if let Some(received) = state.core.receive(self.id) {
            return Poll::Ready(Ok(Some(received)));
        }
        if state.core.is_at_end(self.id) {
            return Poll::Ready(Ok(None));
        }
        let Some(slot) = state.slot(self.id) else { return Poll::Ready(Ok(None)) };
        match &slot.end {
            // Everything was received before.
            Some(ChannelEnd::Normal) => return Poll::Ready(Ok(None)),
            Some(end) => return Poll::Ready(Err(end.error())),
            None => {}
        }
        store(&mut slot.reading, context);
        Poll::Pending
    }

    /// As [`ChannelStream::poll_receive`].
    ///
    /// # Errors
    ///
    /// If the channel was reset, or if the session has ended.
    pub(crate) async fn receive(&self) -> io::Result<Option<Received>> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// Counts received bytes as handed over.
    pub(crate) fn consume(&self, bytes: usize) {
        self.act(|state| state.consume(self.id, bytes));
    }

    /// Wipes a received buffer, and keeps its memory.
    pub(crate) fn recycle(&self, buffer: Zeroizing<Vec<u8>>) {
        self.shared.state().core.recycle(buffer);
    }

    /// The bytes that may be sent now, at least 1, and a buffer for them.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.shared.state();
        let Some(slot) = state.slot(self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        // The core may have room still if the session has ended.
        if let Some(end) = &slot.end {
            return Poll::Ready(Err(end.error()));
        }
        match state.core.room(self.id) {
            0 => {}
            room => return Poll::Ready(Ok(room)),
        }
        if let Some(slot) = state.slot(self.id) {
            store(&mut slot.writing, context);
        }
        Poll::Pending
    }

    /// As [`ChannelStream::poll_room`].
    pub(crate) async fn room(&self) -> io::Result<usize> {
        poll_fn(|context| self.poll_room(context)).await
    }

    /// An empty buffer, often one with memory.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.shared.state().core.take_buffer()
    }

    /// Sends bytes, at most as many as there is room for.
    ///
    /// # Errors
    ///
    /// If the channel is over.
    pub(crate) fn send(&self, side: StreamKind, bytes: Vec<u8>) -> io::Result<()> {
        self.act(|state| state.core.send(self.id, side, bytes)).map_err(closed)
    }

    /// Tells the peer how the command has ended.
    pub(crate) fn send_exit(&self, exit: ChannelExit) {
        // If the channel is over, nobody asks for it.
        let _ = self.act(|state| state.core.send_exit(self.id, exit));
    }

    /// Ends our direction.
    pub(crate) fn finish(&self) {
        // If the channel is over, so is our direction.
        let _ = self.act(|state| state.core.finish(self.id));
    }

    /// Tells that everything received is handed over.
    pub(crate) fn deliver(&self) {
        self.act(|state| state.core.deliver(self.id));
    }

    /// Waits for the end of the channel.
    pub async fn ended(&self) -> ChannelEnd {
        poll_fn(|context| self.poll_ended(context)).await
    }

    /// Whether the channel is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.state().slot(self.id).is_none_or(|slot| slot.end.is_some())
    }

    pub(crate) fn poll_ended(&self, context: &Context<'_>) -> Poll<ChannelEnd> {
        let mut state = self.shared.state();
        let Some(slot) = state.slot(self.id) else {
            return Poll::Ready(ChannelEnd::SessionEnded);
        };
        match &slot.end {
            Some(end) => Poll::Ready(end.clone()),
            None => {
                store(&mut slot.waiting, context);
                Poll::Pending
            }
        }
    }

    /// Why the peer has refused the channel, if it has.
    pub(crate) fn refusal(&self) -> Option<OpenRefused> {
        match &self.shared.state().slot(self.id)?.end {
            Some(ChannelEnd::Refused(refused)) => Some(refused.clone()),
            _ => None,
        }
    }

    /// How the command at the other end has ended, if it has.
    pub(crate) fn exit(&self) -> Option<ChannelExit> {
        self.shared.state().slot(self.id)?.exit
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (bytes, start) = match self.rest.take() {
            Some(rest) => rest,
            None => match ready!(self.poll_receive(context))? {
                Some((_, bytes)) => (bytes, 0),
                None => {
                    if !self.has_delivered {
                        self.has_delivered = true;
                        self.deliver();
                    }
                    return Poll::Ready(Ok(()));
                }
            },
        };
        let count = buffer.remaining().min(bytes.len() - start);
        buffer.put_slice(&bytes[start..start + count]);
        self.consume(count);
        match start + count < bytes.len() {
            true => self.rest = Some((bytes, start + count)),
            false => self.recycle(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(self.poll_room(context))?.min(bytes.len());
        self.send(StreamKind::Data, bytes[..count].to_vec())?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
