//! Standard input and output for pipes, each on a thread of its own: what blocks there blocks nothing
//! else, and both directions of a pipe are independent of each other.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;

#[cfg(target_os = "linux")]
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use vpn_proto::sealed::wiped;

/// How much is read at once, in bytes, and sealed at once: as many full records as fit side by side.
pub(crate) const CHUNK: usize = 256 * 1024;
/// What a pipe of the system should hold in bytes: two chunks, so that both of its ends can work. A
/// user may have 64 MiB of them in all before every new pipe becomes small.
#[cfg(target_os = "linux")]
const PIPE_ROOM: usize = 2 * CHUNK;
/// How many chunks may be under way between a thread and the session.
const UNDER_WAY: usize = 2;

/// The right to use standard input and output for a pipe. A process has them once, so there is one
/// of it: two pipes would run into each other.
#[derive(Debug)]
pub(crate) struct Stdio(());

impl Stdio {
    /// The right, unless somebody has it or has had it.
    pub(crate) fn take() -> Option<Self> {
        static IS_TAKEN: AtomicBool = AtomicBool::new(false);
        (!IS_TAKEN.swap(true, Ordering::Relaxed)).then_some(Self(()))
    }

    /// Starts reading the one and makes the other ready to be written.
    pub(crate) fn open(self) -> (Feed, Drain) {
        (Feed::stdin(), Drain::stdout())
    }
}

/// Where a pipe's bytes come from.
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
    /// Nothing but zeros.
    Zeros,
}

impl Feed {
    fn stdin() -> Self {
        #[cfg(unix)]
        if let Ok(file) = unbuffered(&io::stdin()) {
            return Self::of(file);
        }
        Self::of(io::stdin())
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

/// Where a pipe's bytes go to.
#[derive(Debug)]
pub(crate) enum Drain {
    /// Nowhere; holds the last chunk until [`Drain::used`] takes it.
    Nothing { last: Option<Zeroizing<Vec<u8>>>, is_at_end: bool },
    /// To a thread that writes, and gives back what it has written.
    Thread {
        /// `None` once there is no more.
        chunks: Option<mpsc::Sender<Zeroizing<Vec<u8>>>>,
        written: blocking::Receiver<Zeroizing<Vec<u8>>>,
        ended: oneshot::Receiver<io::Result<()>>,
    },
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

    fn stdout() -> Self {
        #[cfg(unix)]
        if let Ok(file) = unbuffered(&io::stdout()) {
            return Self::of(file);
        }
        Self::of(io::stdout())
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
            Self::Thread { written, .. } => written.try_recv().ok(),
        }
    }
}

/// A thread of ours went without a word.
fn gone() -> io::Error {
    io::Error::other("its thread has failed")
}

/// The same stream without the standard library's buffer, which would only copy chunks like ours.
#[cfg(unix)]
fn unbuffered(stream: &impl std::os::fd::AsFd) -> io::Result<std::fs::File> {
    let stream = stream.as_fd().try_clone_to_owned()?;
    #[cfg(target_os = "linux")]
    widen(&stream);
    Ok(stream.into())
}

/// Makes a pipe hold more: both ends of one that holds 64 KiB wait for each other four times a chunk.
#[cfg(target_os = "linux")]
fn widen(stream: &std::os::fd::OwnedFd) {
    // What is not a pipe has no such size, and a user who has many wide pipes gets no more of them.
    if fcntl_getpipe_size(stream).is_ok_and(|size| size < PIPE_ROOM)
        && let Err(error) = fcntl_setpipe_size(stream, PIPE_ROOM)
    {
        log::debug!("a pipe stays as small as it is: {error}");
    }
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

    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_become_wide() {
        let (reader, _writer) = io::pipe().unwrap();
        let reader = std::os::fd::OwnedFd::from(reader);
        let before = fcntl_getpipe_size(&reader).unwrap();
        // Whoever has too many wide pipes gets no more of them.
        let (other, _writer) = io::pipe().unwrap();
        let expected = match fcntl_setpipe_size(&other, PIPE_ROOM) {
            Ok(_) => PIPE_ROOM,
            Err(_) => before,
        };
        widen(&reader);
        assert_eq!(fcntl_getpipe_size(&reader).unwrap(), expected);
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

    #[test]
    fn standard_input_and_output_are_handed_out_once() {
        assert!(Stdio::take().is_some());
        // Not even once its owner is gone: what was read and written stays read and written.
        assert!(Stdio::take().is_none());
    }
}
