//! Lines on a standard stream. Many tasks send them, and one thread prints them.
//!
//! The bytes of the lines that wait are limited. If nobody reads the lines, a client waits, because
//! its replies are its purpose. A server goes on and counts the lines that it left out, because it
//! must not depend on the reader.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::output::{Stream, StreamError};

/// How many bytes of lines may wait to be printed.
const ROOM: usize = 4 * 1024 * 1024;
/// The memory of a line besides its bytes.
const LINE: usize = 64;
/// How long a server waits for room before it leaves a line out.
const PATIENCE: Duration = Duration::from_secs(1);

/// The sender of lines. Each task may have a clone.
#[derive(Clone, Debug)]
pub struct Console {
    /// `None` for a console that prints nothing.
    queue: Option<mpsc::UnboundedSender<Item>>,
    room: Arc<Semaphore>,
    unread: Unread,
    state: Arc<State>,
    label: Label,
    client: Option<Arc<Client>>,
}

/// What happens to lines that nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// After a second they are left out, and counted.
    LeftOut,
    /// The tasks wait until the lines are printed.
    Waited,
}

/// The state that the tasks and the printing thread share.
#[derive(Debug, Default)]
struct State {
    /// The number of lines left out since the last line that was queued.
    left_out: AtomicU64,
    /// A line was left out, and nothing was printed since.
    is_stuck: AtomicBool,
    /// The number of clients with a console.
    clients: AtomicUsize,
}

/// One of the clients of a server. It is counted until it is dropped.
#[derive(Debug)]
struct Client {
    peer: SocketAddr,
    state: Arc<State>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.state.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The prefix of each line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The text, empty for none.
    pub text: &'static str,
    /// The ANSI colour code of the text, empty for none.
    pub colour: &'static str,
}

impl Label {
    /// No label.
    pub const NONE: Self = Self { text: "", colour: "" };

    /// The text with its colour, as printed.
    pub fn rendered(self) -> String {
        if self.colour.is_empty() {
            return self.text.to_owned();
        }
        format!("\x1b[{}m{}\x1b[0m", self.colour, self.text)
    }
}

#[derive(Debug)]
enum Item {
    /// A line, and the room that it takes.
    Line(String, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
}

/// The stream no longer takes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program's output is closed")]
pub struct ConsoleClosed;

/// The thread that prints.
#[derive(Debug)]
pub struct Printer {
    stream: Stream,
    state: Arc<State>,
    ended: blocking::Receiver<io::Result<()>>,
}

impl Console {
    /// Starts a thread that prints to a standard stream.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub fn start(stream: Stream, label: Label, unread: Unread) -> io::Result<(Self, Printer)> {
        Self::start_with(stream.writer(), stream, label, unread)
    }

    fn start_with(
        mut out: impl Write + Send + 'static,
        stream: Stream,
        label: Label,
        unread: Unread,
    ) -> io::Result<(Self, Printer)> {
        let (queue, mut items) = mpsc::unbounded_channel::<Item>();
        let state = Arc::new(State::default());
        let (end, ended) = blocking::channel();
        let printing = state.clone();
        let mut print = move || {
            while let Some(item) = items.blocking_recv() {
                match item {
                    Item::Line(line, _room) => {
                        let written = out.write_all(line.as_bytes());
                        printing.is_stuck.store(false, Ordering::Relaxed);
                        // Lines on standard error may be lost; the program goes on.
                        if stream == Stream::Out {
                            written?;
                        }
                    }
                    // The task that asked may have ended meanwhile.
                    Item::Flush(done) => drop(done.send(())),
                }
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("printer".to_owned());
        thread.spawn(move || {
            // The program may have ended without waiting.
            let _ = end.send(print());
        })?;
        let room = Arc::new(Semaphore::new(ROOM));
        let console =
            Self { queue: Some(queue), room, unread, state: state.clone(), label, client: None };
        Ok((console, Printer { stream, state, ended }))
    }

    /// A console that prints nothing.
    pub fn nowhere() -> Self {
        Self {
            queue: None,
            room: Arc::new(Semaphore::new(ROOM)),
            unread: Unread::Waited,
            state: Arc::default(),
            label: Label::NONE,
            client: None,
        }
    }

    /// The same console with another label.
    #[must_use]
    pub fn labelled(&self, label: Label) -> Self {
        Self { label, ..self.clone() }
    }

    /// The same console for the session of one client. While there are several clients, each line
    /// begins with the client's address.
    #[must_use]
    pub fn for_client(&self, peer: SocketAddr) -> Self {
        self.state.clients.fetch_add(1, Ordering::Relaxed);
        let client = Client { peer, state: self.state.clone() };
        Self { client: Some(Arc::new(client)), ..self.clone() }
    }

    /// The label of this console.
    pub fn label(&self) -> Label {
        self.label
    }

    /// Prints a line.
    ///
    /// # Errors
    ///
    /// [`ConsoleClosed`] if the stream is closed; [`Printer::finish`] says why.
    pub async fn line(&self, text: impl std::fmt::Display + Send) -> Result<(), ConsoleClosed> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let label = self.label.rendered();
        let line = match &self.client {
            Some(client) if self.state.clients.load(Ordering::Relaxed) > 1 => {
                format!("{label}[{}] {text}\n", client.peer)
            }
            _ => format!("{label}{text}\n"),
        };
        let Some(permit) = self.make_room(line.len()).await else {
            self.state.left_out.fetch_add(1, Ordering::Relaxed);
            return if queue.is_closed() { Err(ConsoleClosed) } else { Ok(()) };
        };
        let line = match self.state.left_out.swap(0, Ordering::Relaxed) {
            0 => line,
            count => format!("({})\n{line}", left_out(count)),
        };
        queue.send(Item::Line(line, permit)).map_err(|_| ConsoleClosed)
    }

    /// Reserves room for a line of `length` bytes. Returns `None` if the line has to be left out.
    async fn make_room(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from((length + LINE).min(ROOM)).ok()?;
        let room = self.room.clone();
        if self.unread == Unread::Waited {
            return room.acquire_many_owned(bytes).await.ok();
        }
        if self.state.is_stuck.load(Ordering::Relaxed) {
            return room.try_acquire_many_owned(bytes).ok();
        }
        match timeout(PATIENCE, room.acquire_many_owned(bytes)).await {
            Ok(permit) => permit.ok(),
            Err(_) => {
                self.state.is_stuck.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Waits until all lines before it are printed; a server waits for at most a second.
    ///
    /// # Errors
    ///
    /// The same as [`Console::line`].
    pub async fn flush(&self) -> Result<(), ConsoleClosed> {
        let Some(queue) = &self.queue else { return Ok(()) };
        if self.unread == Unread::LeftOut && self.state.is_stuck.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (done, printed) = oneshot::channel();
        queue.send(Item::Flush(done)).map_err(|_| ConsoleClosed)?;
        match self.unread {
            Unread::Waited => printed.await.map_err(|_| ConsoleClosed),
            Unread::LeftOut => match timeout(PATIENCE, printed).await {
                Ok(printed) => printed.map_err(|_| ConsoleClosed),
                Err(_) => Ok(()),
            },
        }
    }

    /// Resolves when the stream is closed.
    pub async fn closed(&self) {
        match &self.queue {
            Some(queue) => queue.closed().await,
            None => std::future::pending().await,
        }
    }
}

fn left_out(count: u64) -> String {
    let lines = if count == 1 { "line was" } else { "lines were" };
    format!("{count} {lines} left out here: nobody read them in time")
}

impl Printer {
    /// Waits until every line is printed, at most for `within`. All consoles must be dropped
    /// before.
    ///
    /// # Errors
    ///
    /// Why printing stopped, or that lines were left out. A reader that has closed the stream is no
    /// error, because nobody would see it.
    pub fn finish(self, within: Option<Duration>) -> Result<(), StreamError> {
        let failed = || Err(io::Error::other("the printing thread failed"));
        let result = match within {
            None => self.ended.recv().unwrap_or_else(|_| failed()),
            Some(within) => match self.ended.recv_timeout(within) {
                Ok(result) => result,
                Err(blocking::RecvTimeoutError::Disconnected) => failed(),
                Err(blocking::RecvTimeoutError::Timeout) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"))
                }
            },
        };
        match (result, self.state.left_out.load(Ordering::Relaxed)) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), count) => Err(self.stream.failed(io::Error::other(left_out(count)))),
            (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            (Err(error), _) => Err(self.stream.failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn start(out: impl Write + Send + 'static, label: Label, unread: Unread) -> (Console, Printer) {
        Console::start_with(out, Stream::Out, label, unread).unwrap()
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[tokio::test]
    async fn lines_come_out_in_order_and_labelled() {
        let sink = Sink::default();
        let (console, printer) = start(sink.clone(), Label::NONE, Unread::Waited);
        let other = console.labelled(Label { text: "server | ", colour: "" });
        console.line("one").await.unwrap();
        other.line("two").await.unwrap();
        console.flush().await.unwrap();
        assert_eq!(*sink.0.lock().unwrap(), b"one\nserver | two\n");
        drop((console, other));
        printer.finish(None).unwrap();
    }

    #[tokio::test]
    async fn a_broken_pipe_closes_the_console_without_an_error() {
        let (console, printer) =
            start(Broken(io::ErrorKind::BrokenPipe), Label::NONE, Unread::Waited);
        let _ = console.line("x").await;
        console.closed().await;
        assert_eq!(console.line("y").await, Err(ConsoleClosed));
        drop(console);
        printer.finish(None).unwrap();
    }

    #[tokio::test]
    async fn a_broken_standard_error_ends_nothing() {
        let broken = Broken(io::ErrorKind::BrokenPipe);
        let (console, printer) =
            Console::start_with(broken, Stream::Err, Label::NONE, Unread::LeftOut).unwrap();
        for _ in 0..3 {
            console.line("x").await.unwrap();
            console.flush().await.unwrap();
        }
        assert!(timeout(Duration::from_millis(10), console.closed()).await.is_err());
        drop(console);
        printer.finish(None).unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error() {
        let (console, printer) =
            start(Broken(io::ErrorKind::StorageFull), Label::NONE, Unread::Waited);
        let _ = console.line("x").await;
        drop(console);
        assert_eq!(printer.finish(None).unwrap_err().source.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn lines_name_their_client_once_there_are_two() {
        let sink = Sink::default();
        let (console, printer) = start(sink.clone(), Label::NONE, Unread::LeftOut);
        let [one, two] = ["127.0.0.1:1", "[::1]:2"].map(|peer| peer.parse().unwrap());
        let first = console.for_client(one);
        first.line("alone").await.unwrap();
        let second = console.for_client(two);
        first.line("one").await.unwrap();
        second.line("two").await.unwrap();
        drop(second);
        first.line("alone again").await.unwrap();
        drop((console, first));
        printer.finish(None).unwrap();
        let all = b"alone\n[127.0.0.1:1] one\n[[::1]:2] two\nalone again\n";
        assert_eq!(*sink.0.lock().unwrap(), all);
    }

    /// A stream that blocks until the test releases it.
    struct Stuck(blocking::Receiver<()>, Sink);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_server_leaves_out_lines_that_nobody_reads() {
        let (go, wait) = blocking::channel();
        let sink = Sink::default();
        let (console, printer) = start(Stuck(wait, sink.clone()), Label::NONE, Unread::LeftOut);
        let long = "x".repeat(ROOM / 4);
        for _ in 0..3 {
            console.line(&long).await.unwrap();
        }
        // There is no room for a fourth line of that length. It waits for a second, the others do
        // not.
        let start = std::time::Instant::now();
        for _ in 0..20 {
            console.line(&long).await.unwrap();
        }
        console.flush().await.unwrap();
        assert!(start.elapsed() < 10 * PATIENCE, "{:?}", start.elapsed());
        // The next line that is printed says how many lines are missing before it.
        drop(go);
        let permits = console.room.acquire_many(u32::try_from(ROOM).unwrap()).await.unwrap();
        drop(permits);
        console.line("last").await.unwrap();
        drop(console);
        printer.finish(None).unwrap();
        let all = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[3], "(20 lines were left out here: nobody read them in time)");
        assert_eq!(lines[4], "last");
    }

    #[tokio::test]
    async fn a_server_ends_although_nobody_reads_its_lines() {
        let (_go, wait) = blocking::channel();
        let (console, printer) = start(Stuck(wait, Sink::default()), Label::NONE, Unread::LeftOut);
        console.line("x").await.unwrap();
        drop(console);
        let error = printer.finish(Some(Duration::from_millis(10))).unwrap_err();
        assert_eq!(error.to_string(), "cannot write standard output: nobody reads it");
    }
}
