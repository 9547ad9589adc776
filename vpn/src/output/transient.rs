//! A line on a terminal that is replaced again and again, and gives way to all other lines.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Moves the cursor to the start of the line and clears the line (ECMA-48).
const CLEAR: &str = "\r\x1b[2K";

/// Whether standard error shows such a line now.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// A writer to standard error that clears such a line before its own text.
pub(super) struct Polite<W> {
    out: W,
    is_shown: &'static AtomicBool,
}

impl<W: Write> Polite<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, is_shown: &IS_SHOWN }
    }
}

impl<W: Write> Write for Polite<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_shown.swap(false, Ordering::Relaxed) {
            self.out.write_all(CLEAR.as_bytes())?;
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The place of a line that is replaced again and again. The log and all other messages on standard error
/// clear the line before they are written; the next frame appears below them.
pub struct Transient {
    out: Box<dyn Write + Send>,
    is_shown: &'static AtomicBool,
    size: fn() -> Option<(u16, u16)>,
    /// Whether the terminal may be written now.
    is_ours: fn() -> bool,
}

impl fmt::Debug for Transient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transient").field("is_shown", &self.is_shown).finish_non_exhaustive()
    }
}

impl Transient {
    /// Standard error, if it is a terminal where a line can be replaced. `TERM=dumb` says that it is not.
    pub fn on_standard_error() -> Option<Self> {
        #[cfg(unix)]
        {
            use std::io::IsTerminal;
            use std::os::fd::AsFd;
            let stream = io::stderr();
            if !stream.is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
            {
                return None;
            }
            let out = std::fs::File::from(stream.as_fd().try_clone_to_owned().ok()?);
            let (size, is_ours) = (terminal::size, terminal::is_ours);
            Some(Self { out: Box::new(out), is_shown: &IS_SHOWN, size, is_ours })
        }
        #[cfg(not(unix))]
        None
    }

    /// Writes a frame: control sequences and the text of the line. A frame without a text clears the line.
    ///
    /// Nothing is written while the program is in the background, because the terminal might stop it.
    /// Errors are ignored: the line is not worth more.
    pub fn show(&mut self, frame: &str) {
        let has_text = !frame.replace(CLEAR, "").is_empty();
        let was_shown = self.is_shown.swap(false, Ordering::Relaxed);
        if !has_text && !was_shown {
            // Another text stands there, or nothing.
            return;
        }
        if !(self.is_ours)() {
            return;
        }
        self.is_shown.store(has_text, Ordering::Relaxed);
        let _ = self.out.write_all(frame.as_bytes());
    }

    /// The columns and lines of the terminal, if it tells them.
    pub fn size(&self) -> Option<(u16, u16)> {
        (self.size)()
    }

    /// A place that is no terminal of this process.
    #[cfg(test)]
    pub(crate) fn on(out: impl Write + Send + 'static) -> Self {
        let is_shown = Box::leak(Box::new(AtomicBool::new(false)));
        Self { out: Box::new(out), is_shown, size: || None, is_ours: || true }
    }
}

/// What standard error says as a terminal.
#[cfg(unix)]
mod terminal {
    use std::io;

    use rustix::process::getpgrp;
    use rustix::termios::{tcgetpgrp, tcgetwinsize};

    pub(super) fn size() -> Option<(u16, u16)> {
        let size = tcgetwinsize(io::stderr()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
    }

    /// Whether this process is in the foreground. A terminal that is not the one of its session has no
    /// foreground.
    pub(super) fn is_ours() -> bool {
        tcgetpgrp(io::stderr()).map_or(true, |foreground| foreground == getpgrp())
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

    #[test]
    fn a_frame_without_a_text_clears_only_a_line_that_is_there() {
        let sink = Sink::default();
        let mut line = Transient::on(sink.clone());
        line.show(CLEAR);
        line.show("");
        assert_eq!(*sink.0.lock().unwrap(), b"");
        line.show("\r\x1b[2K10 %");
        assert!(line.is_shown.load(Ordering::Relaxed));
        line.show(CLEAR);
        line.show(CLEAR);
        assert_eq!(*sink.0.lock().unwrap(), b"\r\x1b[2K10 %\r\x1b[2K");
        assert!(!line.is_shown.load(Ordering::Relaxed));
    }

    #[test]
    fn another_text_clears_the_line_once() {
        let sink = Sink::default();
        let mut line = Transient::on(sink.clone());
        let mut writer = Polite { out: sink.clone(), is_shown: line.is_shown };
        line.show("10 %");
        writer.write_all(b"vpn: a\n").unwrap();
        writer.write_all(b"vpn: b\n").unwrap();
        line.show("\r\x1b[2K20 %");
        let all = b"10 %\r\x1b[2Kvpn: a\nvpn: b\n\r\x1b[2K20 %";
        assert_eq!(*sink.0.lock().unwrap(), all);
    }

    #[test]
    fn a_program_in_the_background_writes_nothing() {
        let sink = Sink::default();
        let mut line = Transient { is_ours: || false, ..Transient::on(sink.clone()) };
        line.show("10 %");
        assert_eq!(*sink.0.lock().unwrap(), b"");
        assert!(!line.is_shown.load(Ordering::Relaxed));
    }
}
