//! The local ends of two byte streams: where their bytes come from and go to.
//!
//! Standard input and output have a thread each: what blocks there blocks nothing else, and the
//! directions do not wait for each other.

use std::io::{self, Read, Write};
use std::sync::mpsc as blocking;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use vpn_proto::sealed::wiped;

/// How much is read at once, in bytes, and sealed at once: as many full records as fit side by side.
pub(crate) const CHUNK: usize = 256 * 1024;
/// How much is read at once of a stream of this program at first.
const FIRST_READ: usize = 4 * 1024;
/// How many chunks may be under way between a thread and the session.
const UNDER_WAY: usize = 2;

/// Where bytes come from.
#[derive(Debug)]
pub(crate) enum Feed {
    /// From nowhere: it is at its end.
    Empty,
    /// From a thread that reads; used buffers go back to it.
    Thread {
        chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
        used: blocking::Sender<Vec<u8>>,
        /// What was read and is not given out yet, from this byte on.
        rest: Option<(Vec<u8>, usize)>,
    },
    /// From a stream of this program.
    Stream(Reader),
    /// Nothing but zeros.
    Zeros,
}

/// A stream that is read, and how much of it at once.
pub(crate) struct Reader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    at_once: usize,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader(..)")
    }
}

impl Reader {
    /// Reads what is there. Nothing is lost if the wait is given up.
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::with_capacity(self.at_once);
        let read = self.stream.read_buf(&mut chunk).await?;
        if read == self.at_once {
            // There is more, and long records are faster.
            self.at_once = (2 * self.at_once).min(CHUNK);
        }
        Ok(chunk)
    }
}

impl Feed {
    /// Reads a stream of this program.
    pub(crate) fn stream(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self::Stream(Reader { stream: Box::new(stream), at_once: FIRST_READ })
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
                // An empty chunk is the end; nobody listens any more when the session is over.
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Self::Thread { chunks, used, rest: None }
    }

    /// What is there, once there is something; empty at the end. Nothing is lost if the wait is
    /// given up.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Empty => Ok(Vec::new()),
            Self::Thread { chunks, rest, .. } => match rest.take() {
                Some((mut chunk, start)) => {
                    chunk.drain(..start);
                    Ok(chunk)
                }
                // A thread says that it is the end; one that only goes has failed.
                None => chunks.recv().await.unwrap_or_else(|| Err(gone())),
            },
            Self::Stream(reader) => reader.next().await,
            Self::Zeros => Ok(vec![0; CHUNK]),
        }
    }

    /// More of what is there without waiting, up to [`CHUNK`] bytes in all.
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
                // The end or an error is found again: the thread is gone, and its channel closed.
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
    pub(crate) fn reuse(&self, chunk: Vec<u8>) {
        if let Self::Thread { used, .. } = self {
            // Without a thread there is nobody who needs it.
            let _ = used.send(chunk);
        }
    }
}

/// Where bytes go to.
#[derive(Debug)]
pub(crate) enum Drain {
    /// Nowhere; holds the last chunk until [`Drain::used`] takes it.
    Nothing { last: Option<Zeroizing<Vec<u8>>>, is_at_end: bool },
    /// To a stream of this program.
    Stream(Writer),
    /// To a thread that writes, and gives back what it has written.
    Thread {
        /// `None` once there is no more.
        chunks: Option<mpsc::Sender<Zeroizing<Vec<u8>>>>,
        written: blocking::Receiver<Zeroizing<Vec<u8>>>,
        ended: oneshot::Receiver<io::Result<()>>,
    },
}

/// A stream that is written.
pub(crate) struct Writer {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    /// How much of the chunk at hand is written.
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
    /// Writes a chunk, or else waits for the end of the stream. Nothing is lost if the wait is given
    /// up.
    async fn give(&mut self, chunk: &mut Option<Zeroizing<Vec<u8>>>) -> io::Result<Given> {
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
            return Ok(Given::Taken);
        }
        if !self.is_at_end {
            std::future::pending::<()>().await;
        }
        self.stream.shutdown().await?;
        Ok(Given::Finished)
    }
}

/// What came of [`Drain::give`].
#[derive(Debug)]
pub(crate) enum Given {
    /// The chunk was taken.
    Taken,
    /// Everything was written, the end included.
    Finished,
}

impl Drain {
    /// Nowhere.
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
                    // Nobody takes it when the session is over.
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
            // Nobody waits for it when the session has failed.
            let _ = end.send(result);
        });
        Self::Thread { chunks: Some(chunks), written, ended }
    }

    /// Says that there is no more.
    pub(crate) fn end(&mut self) {
        match self {
            Self::Nothing { is_at_end, .. } => *is_at_end = true,
            Self::Stream(writer) => writer.is_at_end = true,
            Self::Thread { chunks, .. } => *chunks = None,
        }
    }

    /// Hands over a chunk, if there is one, when there is room for it; or else waits for the thread to
    /// finish what it has. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    ///
    /// Why not everything was written. It is not to be asked again then.
    pub(crate) async fn give(
        &mut self,
        chunk: &mut Option<Zeroizing<Vec<u8>>>,
    ) -> io::Result<Given> {
        match self {
            Self::Nothing { last, .. } if chunk.is_some() => {
                *last = chunk.take();
                Ok(Given::Taken)
            }
            Self::Nothing { is_at_end: true, .. } => Ok(Given::Finished),
            Self::Nothing { .. } => std::future::pending().await,
            Self::Stream(writer) => writer.give(chunk).await,
            Self::Thread { chunks, ended, .. } => {
                if let Some(chunks) = chunks
                    && chunk.is_some()
                    && let Ok(room) = chunks.reserve().await
                {
                    if let Some(chunk) = chunk.take() {
                        room.send(chunk);
                    }
                    return Ok(Given::Taken);
                }
                // While there may be more to come, a thread ends only because it has failed.
                ended.await.unwrap_or_else(|_| Err(gone()))?;
                Ok(Given::Finished)
            }
        }
    }

    /// A buffer that is needed no more.
    pub(crate) fn used(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Nothing { last, .. } => last.take(),
            Self::Stream(writer) => writer.used.take(),
            Self::Thread { written, .. } => written.try_recv().ok(),
        }
    }
}

/// A thread of ours went without a word.
fn gone() -> io::Error {
    io::Error::other("its thread has failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives its pieces one by one.
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
    async fn what_is_there_is_gathered_and_the_end_comes_last() {
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
    async fn what_is_written_comes_back() {
        let mut drain = Drain::of(io::sink());
        let mut chunk = Some(Zeroizing::new(vec![7; 10]));
        assert!(matches!(drain.give(&mut chunk).await, Ok(Given::Taken)));
        let Drain::Thread { written, .. } = &drain else { panic!("{drain:?}") };
        let used = written.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        assert!(used.is_empty() && used.capacity() >= 10);
        drain.end();
        assert!(matches!(drain.give(&mut None).await, Ok(Given::Finished)));
        let mut nothing = Drain::nothing();
        let mut chunk = Some(Zeroizing::new(vec![8; 10]));
        assert!(matches!(nothing.give(&mut chunk).await, Ok(Given::Taken)));
        assert_eq!(**nothing.used().unwrap(), [8; 10]);
        assert!(nothing.used().is_none());
        nothing.end();
        assert!(matches!(nothing.give(&mut None).await, Ok(Given::Finished)));
    }

    #[tokio::test]
    async fn a_drain_that_fails_says_why() {
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
        assert!(matches!(drain.give(&mut chunk).await, Ok(Given::Taken)));
        // Nobody has to bring more to learn of it.
        let failed = drain.give(&mut None).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_drain_that_fails_at_its_flush_has_failed() {
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
        let failed = drain.give(&mut None).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_reading_thread_that_fails_is_not_taken_for_the_end() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("a test has it fail")
            }
        }
        assert!(Feed::of(Panics).next().await.is_err());
    }
}
