//! Lines for people on standard output, from many tasks, printed by one thread.
//!
//! The queue is bounded: when standard output does not take lines, sessions wait, and with them
//! their peers. That is back-pressure; it costs no network thread.

use std::io::{self, Write};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::net::limits::LINES;

/// Where a task puts its lines.
#[derive(Clone, Debug)]
pub struct Console {
    queue: mpsc::Sender<Item>,
    label: Label,
}

/// What stands before each line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The text, empty for none.
    pub text: &'static str,
    /// An ANSI colour code to wrap it in, empty for none.
    pub colour: &'static str,
}

impl Label {
    /// No label.
    pub const NONE: Self = Self { text: "", colour: "" };

    /// The text as it is to be printed.
    pub fn rendered(self) -> String {
        if self.colour.is_empty() {
            return self.text.to_owned();
        }
        format!("\x1b[{}m{}\x1b[0m", self.colour, self.text)
    }
}

#[derive(Debug)]
enum Item {
    Line(String),
    Flush(oneshot::Sender<()>),
}

/// Standard output no longer takes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard output is closed")]
pub struct ConsoleClosed;

/// The thread that prints.
#[derive(Debug)]
pub struct Printer(JoinHandle<io::Result<()>>);

impl Console {
    /// Starts a thread that prints to `out`.
    pub fn start(mut out: impl Write + Send + 'static, label: Label) -> (Self, Printer) {
        let (queue, mut lines) = mpsc::channel::<Item>(LINES);
        let thread = std::thread::spawn(move || {
            while let Some(item) = lines.blocking_recv() {
                match item {
                    Item::Line(line) => {
                        out.write_all(line.as_bytes())?;
                        if lines.is_empty() {
                            out.flush()?;
                        }
                    }
                    Item::Flush(done) => {
                        out.flush()?;
                        // Whoever asked may have gone in the meantime.
                        let _ = done.send(());
                    }
                }
            }
            out.flush()
        });
        (Self { queue, label }, Printer(thread))
    }

    /// The same console under another label.
    #[must_use]
    pub fn labelled(&self, label: Label) -> Self {
        Self { queue: self.queue.clone(), label }
    }

    /// The label of this console.
    pub fn label(&self) -> Label {
        self.label
    }

    /// Prints a line.
    ///
    /// # Errors
    ///
    /// [`ConsoleClosed`] if standard output is gone; [`Printer::finish`] says why.
    pub async fn line(&self, text: impl std::fmt::Display + Send) -> Result<(), ConsoleClosed> {
        let line = format!("{}{text}\n", self.label.rendered());
        self.queue.send(Item::Line(line)).await.map_err(|_| ConsoleClosed)
    }

    /// Returns once everything before it was printed.
    ///
    /// # Errors
    ///
    /// As [`Console::line`].
    pub async fn flush(&self) -> Result<(), ConsoleClosed> {
        let (done, printed) = oneshot::channel();
        self.queue.send(Item::Flush(done)).await.map_err(|_| ConsoleClosed)?;
        printed.await.map_err(|_| ConsoleClosed)
    }

    /// Returns once standard output is gone.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl Printer {
    /// Waits until every line is printed; all consoles must be dropped by then.
    ///
    /// # Errors
    ///
    /// Why printing stopped. A reader that went away is none: then there is nobody to tell.
    pub fn finish(self) -> io::Result<()> {
        match self.0.join() {
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the printing thread failed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

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
        let (console, printer) = Console::start(sink.clone(), Label::NONE);
        let other = console.labelled(Label { text: "server | ", colour: "" });
        console.line("one").await.unwrap();
        other.line("two").await.unwrap();
        console.flush().await.unwrap();
        assert_eq!(*sink.0.lock().unwrap(), b"one\nserver | two\n");
        drop((console, other));
        printer.finish().unwrap();
    }

    #[tokio::test]
    async fn a_broken_pipe_is_noticed_and_no_error() {
        let (console, printer) = Console::start(Broken(io::ErrorKind::BrokenPipe), Label::NONE);
        let _ = console.line("x").await;
        console.closed().await;
        assert_eq!(console.line("y").await, Err(ConsoleClosed));
        drop(console);
        printer.finish().unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error() {
        let (console, printer) = Console::start(Broken(io::ErrorKind::StorageFull), Label::NONE);
        let _ = console.line("x").await;
        drop(console);
        assert_eq!(printer.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
