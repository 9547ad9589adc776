//! The log on standard error. It never makes anybody wait: a thread writes it, and lines that nobody
//! reads are left out and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::reason::one_line;
use super::stream::Stream;

/// Sessions as a user sees them: who came, how, and how it ended.
pub const SESSION: &str = "vpn::session";

/// How many bytes of lines may wait to be written.
const ROOM: usize = 256 * 1024;
/// How long a program that ends waits for its last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is logged unless `RUST_LOG` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Warnings and errors.
    Warnings,
    /// These, and what happens to sessions.
    Sessions,
    /// What happens.
    Info,
    /// More of it.
    Debug,
    /// Everything of this program. Other libraries have to be asked for with `RUST_LOG`.
    Trace,
}

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Log(Arc<Queue>);

impl Log {
    /// Starts the log of this process; only the first call counts.
    pub fn start(level: Level) -> Self {
        let filter = match level {
            Level::Warnings => "vpn=warn",
            Level::Sessions => "vpn=warn,vpn::session=info",
            Level::Info => "vpn=info",
            Level::Debug => "vpn=debug",
            Level::Trace => "vpn=trace",
        };
        let queue = Arc::new(Queue::new(ROOM));
        let mut builder =
            env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter));
        // The line editor logs the keys that are typed. No level may show those.
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
        // A second log would be a program that calls this one's `main` twice; the first one serves.
        let _ = builder.try_init();
        Self(queue)
    }

    /// Waits until the lines so far are written, for a second at most.
    pub fn finish(&self) {
        self.0.finish(LAST_WORDS);
    }
}

/// Lines on their way to standard error.
#[derive(Debug)]
struct Queue {
    room: usize,
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many lines were left out since the last one that was taken.
    left_out: u64,
    has_thread: bool,
    is_writing: bool,
}

impl Queue {
    fn new(room: usize) -> Self {
        Self { room, lines: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a line if there is room, and starts the thread with the first one.
    fn push(self: &Arc<Self>, line: &[u8], open: impl FnOnce() -> Box<dyn Write + Send>) {
        let mut lines = self.lock();
        if lines.bytes + line.len() > self.room {
            lines.left_out += 1;
            return;
        }
        if !lines.has_thread {
            let (queue, out) = (self.clone(), open());
            let thread = std::thread::Builder::new().name("log".to_owned());
            // Without a thread the lines stay where they are, and the room bounds them.
            lines.has_thread = thread.spawn(move || queue.write(out)).is_ok();
        }
        lines.note_left_out();
        lines.add(line.to_vec());
        self.changed.notify_all();
    }

    fn write(&self, mut out: Box<dyn Write + Send>) {
        let mut lines = self.lock();
        loop {
            if let Some(line) = lines.waiting.pop_front() {
                lines.bytes -= line.len();
                lines.is_writing = true;
                drop(lines);
                // There is no other place to say that the log cannot be written.
                let _ = out.write_all(&line);
                lines = self.lock();
                lines.is_writing = false;
                self.changed.notify_all();
            } else {
                lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn finish(&self, within: Duration) {
        let mut lines = self.lock();
        lines.note_left_out();
        self.changed.notify_all();
        let is_busy =
            |lines: &mut Lines| lines.has_thread && (lines.is_writing || !lines.waiting.is_empty());
        let _ = self.changed.wait_timeout_while(lines, within, is_busy);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Nothing that panics happens under this lock.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn add(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.waiting.push_back(line);
    }

    /// Says how many lines are missing here.
    fn note_left_out(&mut self) {
        match std::mem::take(&mut self.left_out) {
            0 => {}
            count => self.add(
                format!("vpn: warning: {count} lines of the log were left out: nobody read them\n")
                    .into_bytes(),
            ),
        }
    }
}

/// What env_logger writes its lines to.
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

    /// A reader that shows each line as it comes and is done with it when it is told to.
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
    fn lines_that_nobody_reads_are_left_out_and_counted() {
        let (came, lines) = channel();
        let (allow, allowed) = channel();
        let queue = Arc::new(Queue::new(100));
        let mut reader = Some(Reader { came, allowed });
        let mut push = |line: &str| {
            queue.push(line.as_bytes(), || Box::new(reader.take().unwrap()));
        };
        push("first\n");
        assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), "first\n");
        // Nobody takes it any further, and there is room for ten lines more.
        for number in 0..20 {
            push(&format!("line {number:4}\n"));
        }
        assert_eq!(queue.lock().bytes, 100);
        // A program that ends now does not wait for long.
        queue.finish(Duration::from_millis(1));
        for _ in 0..12 {
            allow.send(()).unwrap();
        }
        for number in 0..10 {
            assert_eq!(lines.recv_timeout(DEADLINE).unwrap(), format!("line {number:4}\n"));
        }
        let note = lines.recv_timeout(DEADLINE).unwrap();
        assert!(note.contains("10 lines of the log were left out"), "{note}");
        queue.finish(DEADLINE);
        assert!(queue.lock().waiting.is_empty());
    }
}
