//! The progress of long work, as one line on standard error that is drawn again and again.
//!
//! A thread draws it ten times a second at most. So neither a slow terminal nor a failing one delays the
//! work, and counting costs one atomic addition.
//!
//! There is a line only where it disturbs nothing:
//!
//! * Standard error is a terminal, and the program is not in its background.
//! * Nobody types: standard input is not a terminal. This counts for bytes only.
//! * Standard output is not a terminal, or nothing has come for it yet. The line goes away before the
//!   first byte is printed there.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{
    DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike,
};

use crate::output::Transient;

/// The time between two drawings.
const PERIOD: Duration = Duration::from_millis(100);
/// How long the work waits for a terminal that takes nothing, once, when the line has to go.
const PATIENCE: Duration = Duration::from_millis(200);
/// The size of a terminal that does not tell it: columns and lines.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The bytes of two directions.
    Bytes,
    /// Steps with a name.
    Steps,
}

/// The progress of some work. The line goes away when this is dropped.
#[derive(Debug)]
pub struct Progress(Option<Line>);

/// A line that is shown.
#[derive(Debug)]
struct Line {
    counts: Arc<Counts>,
    orders: Sender<Order>,
    /// The bytes that come are printed on the same terminal.
    ends_with_output: bool,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    /// The name of the step.
    step: Mutex<String>,
    /// The line was not gone in time, so nobody may touch the terminal any more.
    is_late: AtomicBool,
}

impl Counts {
    /// The bytes sent and received.
    fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    fn step(&self) -> MutexGuard<'_, String> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the line says about the work. If the size of what is sent is known, it follows the text.
    fn text(&self, counted: Counted, has_size: bool) -> String {
        let (sent, received) = self.bytes();
        match (counted, sent, received) {
            (Counted::Steps, ..) => self.step().clone(),
            (_, _, 0) => format!("sent {}", DecimalBytes(sent)),
            (_, 0, _) if !has_size => format!("received {}", DecimalBytes(received)),
            _ => format!("received {}, sent {}", DecimalBytes(received), DecimalBytes(sent)),
        }
    }
}

/// What the drawing thread has to do.
enum Order {
    /// The next step has begun.
    Step,
    /// Take the line away, and say when that is done.
    Stop(SyncSender<()>),
}

impl Progress {
    /// No line.
    pub fn none() -> Self {
        Self(None)
    }

    /// Starts to show a line, if there is a place for it. `size` is how many bytes will be sent, or the
    /// number of steps.
    pub fn start(counted: Counted, size: Option<u64>) -> Self {
        if counted == Counted::Bytes && io::stdin().is_terminal() {
            return Self::none();
        }
        let ends_with_output = counted == Counted::Bytes && io::stdout().is_terminal();
        match Transient::on_standard_error() {
            Some(screen) => Self::start_on(screen, counted, size, ends_with_output),
            None => Self::none(),
        }
    }

    fn start_on(
        screen: Transient,
        counted: Counted,
        size: Option<u64>,
        ends_with_output: bool,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let (orders, received) = channel();
        let drawn = counts.clone();
        let draw = move || {
            let bar = bar(screen, counted, size, drawn.clone());
            draw(&bar, counted, &drawn, &received);
        };
        // Without a thread there is no line; the work goes on.
        match std::thread::Builder::new().name("progress".to_owned()).spawn(draw) {
            Ok(_) => Self(Some(Line { counts, orders, ends_with_output })),
            Err(_) => Self::none(),
        }
    }

    /// Counts bytes that were sent.
    pub fn add(&self, bytes: usize) {
        if let Self(Some(line)) = self {
            line.counts.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Counts bytes that have come, before they are printed.
    pub fn add_received(&mut self, bytes: usize) {
        match &self.0 {
            Some(line) if line.ends_with_output => self.stop(),
            Some(line) => drop(line.counts.received.fetch_add(bytes as u64, Ordering::Relaxed)),
            None => {}
        }
    }

    /// Begins the next step, and shows its name.
    pub fn step(&self, name: &str) {
        if let Self(Some(line)) = self {
            name.clone_into(&mut line.counts.step());
            // The thread ends only if it has failed.
            let _ = line.orders.send(Order::Step);
        }
    }

    /// Takes the line away. After that nothing is shown any more.
    pub fn stop(&mut self) {
        let Some(line) = self.0.take() else { return };
        let (done, is_done) = sync_channel(1);
        let _ = line.orders.send(Order::Stop(done));
        if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            line.counts.is_late.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The bar of the library, on our screen.
fn bar(screen: Transient, counted: Counted, size: Option<u64>, counts: Arc<Counts>) -> ProgressBar {
    let template = match (counted, size) {
        (Counted::Bytes, Some(_)) => {
            "{what} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left [{wide_bar}]"
        }
        (Counted::Bytes, None) => "{what}, {decimal_bytes_per_sec}, {elapsed}",
        (Counted::Steps, _) => "{pos} of {len}: {what}",
    };
    let what = move |_: &ProgressState, out: &mut dyn fmt::Write| {
        // The library's writer takes everything.
        let _ = out.write_str(&counts.text(counted, size.is_some()));
    };
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("what", what)
        .progress_chars("=> ");
    let screen = Screen { screen: Mutex::new(screen), frame: Mutex::default() };
    // The thread draws no more often than it should, so the library needs no limit.
    let target = ProgressDrawTarget::term_like(Box::new(screen));
    ProgressBar::with_draw_target(size, target).with_style(style)
}

/// Draws until the line has to go. This is the thread.
fn draw(bar: &ProgressBar, counted: Counted, counts: &Counts, orders: &Receiver<Order>) {
    loop {
        match orders.recv_timeout(PERIOD) {
            Err(RecvTimeoutError::Timeout) if counted == Counted::Steps => {}
            Err(RecvTimeoutError::Timeout) => {
                let (sent, received) = counts.bytes();
                // With a size, the rate is that of the bytes that have the size.
                let position = if bar.length().is_some() { sent } else { sent + received };
                bar.update(|state| state.set_pos(position));
            }
            Ok(Order::Step) => bar.update(|state| state.set_pos(state.pos() + 1)),
            Ok(Order::Stop(done)) => {
                if counts.is_late.load(Ordering::Relaxed) {
                    bar.set_draw_target(ProgressDrawTarget::hidden());
                }
                bar.finish_and_clear();
                // The work may not wait any more.
                let _ = done.send(());
                return;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The screen, as the library sees it. A frame is collected and written at once.
#[derive(Debug)]
struct Screen {
    screen: Mutex<Transient>,
    frame: Mutex<String>,
}

impl Screen {
    fn push(&self, text: &str) -> io::Result<()> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    /// Moves the cursor. `direction` is the last letter of the control sequence (ECMA-48).
    fn move_cursor(&self, n: usize, direction: char) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.push(&format!("\x1b[{n}{direction}")) }
    }

    fn size(&self) -> (u16, u16) {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.size().unwrap_or(USUAL_SIZE)
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.size().0
    }

    fn height(&self) -> u16 {
        self.size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text)?;
        self.push("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let frame = std::mem::take(&mut *self.frame.lock().unwrap_or_else(PoisonError::into_inner));
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).show(&frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Instant;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Passes on what is written.
    struct Told(Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start(counted: Counted, size: Option<u64>, ends: bool) -> (Progress, Receiver<String>) {
        let (sender, frames) = channel();
        let screen = Transient::on(Told(sender));
        (Progress::start_on(screen, counted, size, ends), frames)
    }

    /// The text of a frame, without control sequences and without the blanks that fill the line.
    fn text(frame: &str) -> String {
        frame.replace("\r\x1b[2K", "").trim_end().to_owned()
    }

    /// Waits for a frame whose text begins like this, and returns the text.
    fn until(frames: &Receiver<String>, start: &str) -> String {
        let begun = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(begun.elapsed());
            let text = text(&frames.recv_timeout(left).unwrap_or_else(|_| panic!("no {start}")));
            if text.starts_with(start) {
                return text;
            }
        }
    }

    #[test]
    fn a_line_shows_the_bytes_of_both_directions_and_goes_away() {
        let (mut progress, frames) = start(Counted::Bytes, None, false);
        progress.add(1_500_000);
        let line = until(&frames, "sent 1.50 MB, ");
        assert!(line.contains("/s, "), "{line}");
        progress.add_received(20);
        until(&frames, "received 20 B, sent 1.50 MB, ");
        drop(progress);
        // The last frame clears the line, and nothing comes after it.
        let last = frames.iter().last();
        assert_eq!(last.as_deref(), Some("\r\x1b[2K"));
    }

    #[test]
    fn bytes_that_only_come_are_shown_alone() {
        let (mut progress, frames) = start(Counted::Bytes, None, false);
        progress.add_received(3_000_000_000);
        until(&frames, "received 3.00 GB, ");
    }

    #[test]
    fn a_size_gives_the_time_that_is_left_and_a_bar() {
        let (mut progress, frames) = start(Counted::Bytes, Some(4_000_000), false);
        progress.add(1_000_000);
        let line = until(&frames, "sent 1.00 MB of 4.00 MB, ");
        assert!(line.contains(" left [=") && line.ends_with(']'), "{line}");
        // A file may have grown meanwhile.
        progress.add_received(7);
        progress.add(5_000_000);
        until(&frames, "received 7 B, sent 6.00 MB of 4.00 MB, ");
    }

    #[test]
    fn a_line_fits_into_the_terminal_and_is_drawn_in_one_piece() {
        let (progress, frames) = start(Counted::Bytes, Some(4_000_000), false);
        progress.add(1_000_000);
        until(&frames, "sent ");
        let frame = frames.recv_timeout(DEADLINE).unwrap();
        assert!(frame.starts_with("\r\x1b[2K"), "{frame:?}");
        assert_eq!(frame.replace("\r\x1b[2K", "").chars().count(), usize::from(USUAL_SIZE.0));
    }

    #[test]
    fn steps_are_counted_with_their_names() {
        let (progress, frames) = start(Counted::Steps, Some(3), false);
        for (number, name) in [(1, "AES:128"), (2, "AES:256"), (3, "modp8192")] {
            progress.step(name);
            assert_eq!(until(&frames, &number.to_string()), format!("{number} of 3: {name}"));
        }
        // Without a new step there is nothing to draw.
        assert!(frames.recv_timeout(3 * PERIOD).is_err());
    }

    #[test]
    fn the_line_is_gone_before_the_first_byte_is_printed_on_the_same_terminal() {
        let (mut progress, frames) = start(Counted::Bytes, None, true);
        progress.add(10);
        until(&frames, "sent 10 B");
        progress.add_received(1);
        // The frames have ended with the call, so this does not wait.
        let last = frames.try_iter().last();
        assert_eq!(last.as_deref(), Some("\r\x1b[2K"));
        progress.add(10);
        progress.add_received(1);
        assert!(frames.recv_timeout(DEADLINE).is_err());
    }

    #[test]
    fn work_that_shows_nothing_counts_nothing() {
        let mut progress = Progress::none();
        progress.add(1);
        progress.add_received(1);
        progress.step("AES");
        progress.stop();
        assert!(progress.0.is_none());
    }

    /// A terminal that takes nothing until the test allows it. It tells when it is written to.
    struct Stuck(Sender<()>, Receiver<()>, Told);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            let _ = self.1.recv();
            self.2.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_delays_the_work_only_once_and_is_left_alone_after_that() {
        let (allow, allowed) = channel();
        let (tell, stuck) = channel();
        let (sender, frames) = channel();
        let screen = Transient::on(Stuck(tell, allowed, Told(sender)));
        let mut progress = Progress::start_on(screen, Counted::Bytes, None, true);
        stuck.recv_timeout(DEADLINE).unwrap();
        let started = Instant::now();
        for _ in 0..1000 {
            progress.add(1);
        }
        progress.add_received(1);
        progress.add_received(1);
        drop(progress);
        assert!(started.elapsed() < DEADLINE / 2);
        drop(allow);
        let shown: Vec<String> = frames.iter().collect();
        // What is there now is the output of the work: it is not cleared.
        assert_eq!(shown.len(), 1, "{shown:?}");
    }

    /// A terminal that is gone. It counts the attempts to write.
    struct Gone(Sender<()>);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_terminal_that_fails_ends_nothing() {
        let (attempt, attempts) = channel();
        let screen = Transient::on(Gone(attempt));
        let mut progress = Progress::start_on(screen, Counted::Bytes, None, false);
        for _ in 0..3 {
            progress.add(1);
            attempts.recv_timeout(DEADLINE).unwrap();
        }
        progress.add_received(1);
        assert!(progress.0.is_some());
    }
}
