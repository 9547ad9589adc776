//! The log on standard error. A thread writes it, so that logging never blocks. If the reader is too
//! slow, lines are dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::reason::one_line;
use super::stream::Stream;

/// The log target for events of sessions that a user wants to see: who connected, how, and how the
/// session ended.
pub const SESSION: &str = "vpn::session";

/// The most bytes of lines that wait to be written.
const CAPACITY: usize = 256 * 1024;
/// How long a program that ends waits until its last lines are written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Which messages are logged. The environment variable `RUST_LOG` replaces the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Warnings and errors.
    Warnings,
    /// Warnings, errors, and the events of sessions.
    Sessions,
    /// All messages of level info and above.
    Info,
    /// All messages of level debug and above.
    Debug,
    /// All messages of this program. `RUST_LOG` can enable those of other libraries.
    Trace,
}

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Log(Arc<Queue>);

impl Log {
    /// Starts the log of this process. Only the first call has an effect.
    pub fn start(level: Level) -> Self {
        let filter = match level {
            Level::Warnings => "vpn=warn",
            Level::Sessions => "vpn=warn,vpn::session=info",
            Level::Info => "vpn=info",
            Level::Debug => "vpn=debug",
            Level::Trace => "vpn=trace",
        };
        let queue = Arc::new(Queue::new(CAPACITY));
        let mut builder =
            env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter));
        // The line editor logs every key press. No level may show them.
        builder.filter_module("rustyline", log::LevelFilter::Off);
        let is_plain = level < Level::Info && std::env::var_os("RUST_LOG").is_none();
        builder.format(move |out, record| {
            let line = one_line(&record.args().to_string());
            match record.level() {
                level if !is_plain => {
                    let (time, target) = (out.timestamp(), record.target());
                    writeln!(out, "[{time} {level:<5} {target}] {line}")
                }
                log::Level::Error => writeln!(out, "vpn: error: {line}"),
                log::Level::Warn => writeln!(out, "vpn: warning: {line}"),
                _ => writeln!(out, "vpn: {line}"),
            }
        });
        builder.target(env_logger::Target::Pipe(Box::new(Writer(queue.clone()))));
        // An error means that there is a log already. That log stays.
        let _ = builder.try_init();
        Self(queue)
    }

    /// Waits until all lines are written, at most one second.
    pub fn flush(&self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// The lines that wait to be written to standard error.
#[derive(Debug)]
struct Queue {
    /// The most bytes that wait.
    capacity: usize,
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The number of lines dropped since the last line that was added.
    dropped: u64,
    has_thread: bool,
    is_writing: bool,
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self { capacity, lines: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds a line, or drops it if the queue is full. The first line starts the thread, which writes to
    /// what `open` returns.
    fn push(self: &Arc<Self>, line: &[u8], open: impl FnOnce() -> Box<dyn Write + Send>) {
        let mut lines = self.lock();
        if lines.bytes + line.len() > self.capacity {
            lines.dropped += 1;
            return;
        }
        if !lines.has_thread {
            let (queue, out) = (self.clone(), open());
            let thread = std::thread::Builder::new().name("log".to_owned());
            // If the thread cannot start, the lines stay in the queue. Its capacity bounds them.
            lines.has_thread = thread.spawn(move || queue.write(out)).is_ok();
        }
        lines.report_dropped();
        lines.add(line.to_vec());
        self.changed.notify_all();
    }

    /// Writes the lines, forever. This is the thread.
    fn write(&self, mut out: Box<dyn Write + Send>) {
        let mut lines = self.lock();
        loop {
            if let Some(line) = lines.waiting.pop_front() {
                lines.bytes -= line.len();
                lines.is_writing = true;
                drop(lines);
                // There is no other place to report that the log cannot be written.
                let _ = out.write_all(&line);
                lines = self.lock();
                lines.is_writing = false;
                self.changed.notify_all();
            } else {
                lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn flush(&self, timeout: Duration) {
        let mut lines = self.lock();
        lines.report_dropped();
        self.changed.notify_all();
        let is_busy =
            |lines: &mut Lines| lines.has_thread && (lines.is_writing || !lines.waiting.is_empty());
        let _ = self.changed.wait_timeout_while(lines, timeout, is_busy);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // No code under this lock panics, so a poisoned lock has valid data.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.waiting.push_back(line);
    }

    /// Adds a line that says how many lines were dropped.
    fn report_dropped(&mut self) {
        match std::mem::take(&mut self.dropped) {
            0 => {}
            count => self.add(
                format!("vpn: warning: {count} lines of the log were left out: nobody read them\n")
                    .into_bytes(),
            ),
        }
    }
}

/// The writer that env_logger uses. It gets one line in each call.
struct Writer(Arc<Queue>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line, || Stream::Err.writer());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A slow reader. It reports each line, and then waits for a permission to go on.
    struct Reader {
        came: Sender<String>,
        allowed: Receiver<()>,
    }

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let shown = String::from_utf8(line.to_vec()).unwrap();
            self.came.send(shown).map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.allowed.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_dropped_and_counted_if_the_reader_is_slow() {
        let (came, lines) = channel();
        let (allow, allowed) = channel();
        let queue = Arc::new(Queue::new(100));
        let mut reader = Some(Reader { came, allowed });
        let mut push = |line: &str| {
            queue.push(line.as_bytes(), || Box::new(reader.take().unwrap()));
        };
        push("first\n");
        assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), "first\n");
        // The reader is blocked, and ten more lines fit into the queue.
        for number in 0..20 {
            push(&format!("line {number:4}\n"));
        }
        assert_eq!(queue.lock().bytes, 100);
        // A program that ends now does not wait long.
        queue.flush(Duration::from_millis(1));
        for _ in 0..12 {
            allow.send(()).unwrap();
        }
        for number in 0..10 {
            assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), format!("line {number:4}\n"));
        }
        let note = lines.recv_timeout(DEADLINE).unwrap();
        assert!(note.contains("10 lines of the log were left out"), "{note}");
        queue.flush(DEADLINE);
        assert!(queue.lock().waiting.is_empty());
    }
}
