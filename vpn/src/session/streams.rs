//! The local ends of two byte streams: a [`Feed`] is read, a [`Drain`] is written.
//!
//! Standard input and output have a thread each. So a stream that blocks does not block the other
//! one or the session.

use std::io::{self, Read, Write};
use std::sync::mpsc as blocking;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use vpn_proto::sealed::wiped;

/// The most bytes that are read and sealed at once: sixteen full records.
pub(crate) const CHUNK: usize = 256 * 1024;
/// The first size of a read from a stream of this program, in bytes.
const FIRST_READ: usize = 4 * 1024;
/// How many chunks may wait between a thread and the session.
const UNDER_WAY: usize = 2;

/// A source of bytes.
#[derive(Debug)]
pub(crate) enum Feed {
    /// No bytes.
    Empty,
    /// A thread that reads. Used buffers go back to it.
    Thread {
        chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
        used: blocking::Sender<Vec<u8>>,
        /// A chunk that was read, and the index of its first byte that was not returned yet.
        rest: Option<(Vec<u8>, usize)>,
    },
    /// A stream of this program.
    Stream(Reader),
    /// Zeros without end.
    Zeros,
}

/// A stream to read, and the size of the next read.
pub(crate) struct Reader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    at_once: usize,
    /// Empty between two reads.
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader(..)")
    }
}

impl Reader {
    /// Reads the bytes that are there. The future may be dropped without losing bytes.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        // The buffer is kept if the future is dropped, so that a wait costs no allocation.
        if self.buffer.capacity() < self.at_once {
            self.buffer.reserve_exact(self.at_once);
        }
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if read >= self.at_once {
            // There may be more, and long records are faster.
            self.at_once = (2 * self.at_once).min(CHUNK);
        }
        Ok(std::mem::take(&mut self.buffer))
    }
}

impl Feed {
    /// Reads a stream of this program.
    pub(crate) fn stream(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let stream = Box::new(stream);
        Self::Stream(Reader { stream, at_once: FIRST_READ, buffer: Vec::new() })
    }

    /// Reads a stream on a thread.
    pub(crate) fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = mpsc::channel(UNDER_WAY);
        let (used, returned) = blocking::channel::<Vec<u8>>();
        std::thread::spawn(move || {
            loop {
                let mut chunk = returned.try_recv().unwrap_or_default();
                chunk.resize(CHUNK, 0);
                let read = loop {
                    match stream.read(&mut chunk) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read,
                    }
                };
                let (read, is_last) = match read {
                    Ok(count) => {
                        chunk.truncate(count);
                        (Ok(chunk), count == 0)
                    }
                    Err(error) => (Err(error), true),
                };
                // An empty chunk is the end. If the receiver is gone, the session is over.
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Self::Thread { chunks, used, rest: None }
    }

    /// Waits for bytes and returns them; an empty chunk is the end. The future may be dropped
    /// without losing bytes.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Empty => Ok(Vec::new()),
            Self::Thread { chunks, rest, .. } => match rest.take() {
                Some((mut chunk, start)) => {
                    chunk.drain(..start);
                    Ok(chunk)
                }
                // A thread reports the end. Without that report it has failed.
                None => chunks.recv().await.unwrap_or_else(|| Err(thread_failed())),
            },
            Self::Stream(reader) => reader.next().await,
            Self::Zeros => Ok(vec![0; CHUNK]),
        }
    }

    /// Appends the bytes that are there already, without waiting, up to [`CHUNK`] bytes in all.
    pub(crate) fn gather(&mut self, gathered: &mut Vec<u8>) {
        let Self::Thread { chunks, used, rest } = self else { return };
        while gathered.len() < CHUNK
            && rest.is_none()
            && let Ok(chunk) = chunks.try_recv()
        {
            match chunk {
                Ok(chunk) if !chunk.is_empty() => {
                    let count = chunk.len().min(CHUNK - gathered.len());
                    gathered.extend_from_slice(&chunk[..count]);
                    if count == chunk.len() {
                        let _ = used.send(chunk);
                    } else {
                        *rest = Some((chunk, count));
                    }
                }
                // Keep the end or the error for the next call: the thread sends it only once.
                last => {
                    let (sender, again) = mpsc::channel(1);
                    let _ = sender.try_send(last);
                    *chunks = again;
                    return;
                }
            }
        }
    }

    /// Gives a buffer back.
    pub(crate) fn reuse(&mut self, chunk: Vec<u8>) {
        match self {
            // The thread may have ended.
            Self::Thread { used, .. } => drop(used.send(chunk)),
            Self::Stream(reader) => reader.buffer = wiped(Zeroizing::new(chunk)),
            Self::Empty | Self::Zeros => {}
        }
    }
}

/// A destination of bytes.
#[derive(Debug)]
pub(crate) enum Drain {
    /// Drops the bytes. It keeps the last chunk until [`Drain::used`] takes it.
    Nothing { last: Option<Zeroizing<Vec<u8>>>, is_at_end: bool },
    /// A stream of this program.
    Stream(Writer),
    /// A thread that writes, and gives used buffers back.
    Thread {
        /// `None` once there is no more.
        chunks: Option<mpsc::Sender<Zeroizing<Vec<u8>>>>,
        written: blocking::Receiver<Zeroizing<Vec<u8>>>,
        ended: oneshot::Receiver<io::Result<()>>,
    },
}

/// A stream to write.
pub(crate) struct Writer {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    /// How many bytes of the current chunk are written.
    written: usize,
    used: Option<Zeroizing<Vec<u8>>>,
    is_at_end: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("is_at_end", &self.is_at_end).finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes a chunk if there is one, else waits until the end is written. The future may be
    /// dropped without losing bytes.
    async fn write(&mut self, chunk: &mut Option<Zeroizing<Vec<u8>>>) -> io::Result<Written> {
        if let Some(bytes) = chunk {
            while let Some(rest) = bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
                match self.stream.write(rest).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => self.written += count,
                }
            }
            self.stream.flush().await?;
            self.written = 0;
            self.used = chunk.take();
            return Ok(Written::Chunk);
        }
        if !self.is_at_end {
            std::future::pending::<()>().await;
        }
        self.stream.shutdown().await?;
        Ok(Written::All)
    }
}

/// The result of [`Drain::write`].
#[derive(Debug)]
pub(crate) enum Written {
    /// The chunk was taken.
    Chunk,
    /// Everything is written and flushed, and the end is reached.
    All,
}

impl Drain {
    /// Drops the bytes.
    pub(crate) fn nothing() -> Self {
        Self::Nothing { last: None, is_at_end: false }
    }

    /// Writes to a stream of this program, and shuts it down at the end.
    pub(crate) fn stream(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        let stream = Box::new(stream);
        Self::Stream(Writer { stream, written: 0, used: None, is_at_end: false })
    }

    /// Writes to a stream on a thread.
    pub(crate) fn of(mut stream: impl Write + Send + 'static) -> Self {
        let (chunks, mut queue) = mpsc::channel::<Zeroizing<Vec<u8>>>(UNDER_WAY);
        let (give_back, written) = blocking::channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let mut write = || {
                while let Some(chunk) = queue.blocking_recv() {
                    let written = stream.write_all(&chunk);
                    // If the receiver is gone, the session is over.
                    let _ = give_back.send(Zeroizing::new(wiped(chunk)));
                    written?;
                    if queue.is_empty() {
                        stream.flush()?;
                    }
                }
                stream.flush()
            };
            let result = write();
            drop(queue);
            // If the receiver is gone, the session has failed.
            let _ = end.send(result);
        });
        Self::Thread { chunks: Some(chunks), written, ended }
    }

    /// Ends the stream: there are no more chunks.
    pub(crate) fn end(&mut self) {
        match self {
            Self::Nothing { is_at_end, .. } => *is_at_end = true,
            Self::Stream(writer) => writer.is_at_end = true,
            Self::Thread { chunks, .. } => *chunks = None,
        }
    }

    /// Takes a chunk if there is one and there is room for it. Without a chunk it waits until
    /// everything is written. The future may be dropped without losing bytes.
    ///
    /// # Errors
    ///
    /// Why not everything was written. After an error it must not be called again.
    pub(crate) async fn write(
        &mut self,
        chunk: &mut Option<Zeroizing<Vec<u8>>>,
    ) -> io::Result<Written> {
        match self {
            Self::Nothing { last, .. } if chunk.is_some() => {
                *last = chunk.take();
                Ok(Written::Chunk)
            }
            Self::Nothing { is_at_end: true, .. } => Ok(Written::All),
            Self::Nothing { .. } => std::future::pending().await,
            Self::Stream(writer) => writer.write(chunk).await,
            Self::Thread { chunks, ended, .. } => {
                if let Some(chunks) = chunks
                    && chunk.is_some()
                    && let Ok(room) = chunks.reserve().await
                {
                    if let Some(chunk) = chunk.take() {
                        room.send(chunk);
                    }
                    return Ok(Written::Chunk);
                }
                // Before the end of the stream, the thread ends only if it has failed.
                ended.await.unwrap_or_else(|_| Err(thread_failed()))?;
                Ok(Written::All)
            }
        }
    }

    /// Returns a buffer that is no longer needed.
    pub(crate) fn used(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Nothing { last, .. } => last.take(),
            Self::Stream(writer) => writer.used.take(),
            Self::Thread { written, .. } => written.try_recv().ok(),
        }
    }
}

/// The error of a thread that ended without a result.
fn thread_failed() -> io::Error {
    io::Error::other("its thread has failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that returns its pieces one by one.
    struct Pieces(Vec<io::Result<Vec<u8>>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0)?;
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    #[tokio::test]
    async fn all_bytes_are_gathered_and_the_end_comes_last() {
        for last in [None, Some(io::ErrorKind::Other)] {
            let mut pieces: Vec<_> = (0..20u8).map(|n| Ok(vec![n; 1000])).collect();
            pieces.extend(last.map(|kind| Err(kind.into())));
            let mut feed = Feed::of(Pieces(pieces));
            let mut all = Vec::new();
            let end = loop {
                match feed.next().await {
                    Ok(mut chunk) if !chunk.is_empty() => {
                        feed.gather(&mut chunk);
                        all.extend_from_slice(&chunk);
                        feed.reuse(chunk);
                    }
                    end => break end,
                }
            };
            assert_eq!(all, (0..20u8).flat_map(|n| vec![n; 1000]).collect::<Vec<_>>());
            assert_eq!(end.map_err(|e| e.kind()).err(), last);
        }
    }

    #[tokio::test]
    async fn chunks_are_as_long_as_they_may_be() {
        let (sender, chunks) = mpsc::channel(4);
        let (used, returned) = blocking::channel();
        for n in 0..3 {
            sender.try_send(Ok(vec![n; CHUNK - 1000])).unwrap();
        }
        sender.try_send(Ok(Vec::new())).unwrap();
        let mut feed = Feed::Thread { chunks, used, rest: None };
        let mut all = Vec::new();
        for expected in [CHUNK, CHUNK, CHUNK - 3000, 0] {
            let mut chunk = feed.next().await.unwrap();
            feed.gather(&mut chunk);
            assert_eq!(chunk.len(), expected);
            all.extend_from_slice(&chunk);
            feed.reuse(chunk);
        }
        assert_eq!(all, (0..3).flat_map(|n| vec![n; CHUNK - 1000]).collect::<Vec<_>>());
        assert!(returned.try_recv().is_ok());
    }

    #[tokio::test]
    async fn written_buffers_come_back() {
        let mut drain = Drain::of(io::sink());
        let mut chunk = Some(Zeroizing::new(vec![7; 10]));
        assert!(matches!(drain.write(&mut chunk).await, Ok(Written::Chunk)));
        let Drain::Thread { written, .. } = &drain else { panic!("{drain:?}") };
        let used = written.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert!(used.is_empty() && used.capacity() >= 10);
        drain.end();
        assert!(matches!(drain.write(&mut None).await, Ok(Written::All)));
        let mut nothing = Drain::nothing();
        let mut chunk = Some(Zeroizing::new(vec![8; 10]));
        assert!(matches!(nothing.write(&mut chunk).await, Ok(Written::Chunk)));
        assert_eq!(**nothing.used().unwrap(), [8; 10]);
        assert!(nothing.used().is_none());
        nothing.end();
        assert!(matches!(nothing.write(&mut None).await, Ok(Written::All)));
    }

    #[tokio::test]
    async fn a_failed_write_is_reported() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut drain = Drain::of(Full);
        let mut chunk = Some(Zeroizing::new(vec![0; 10]));
        assert!(matches!(drain.write(&mut chunk).await, Ok(Written::Chunk)));
        // The error comes without another chunk.
        let failed = drain.write(&mut None).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_failed_flush_is_reported() {
        struct Late;
        impl Write for Late {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let mut drain = Drain::of(Late);
        drain.end();
        let failed = drain.write(&mut None).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_failed_thread_is_not_the_end_of_the_stream() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("a test has it fail")
            }
        }
        assert!(Feed::of(Panics).next().await.is_err());
    }
}
