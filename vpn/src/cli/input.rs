//! Where the client's texts come from: the command line, a prompt, or standard input.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::failure::{Exit, Failure};
use crate::output::Stream;
use crate::term::{Label, Said, Texts};

/// What the client asks at a terminal.
const PROMPT: &str = "Enter message: ";
/// How many texts the prompt remembers, in memory only.
const HISTORY: usize = 1000;

/// The texts of a client, and whether somebody types them at a prompt.
pub(super) struct Source {
    pub(super) texts: Texts,
    pub(super) is_interactive: bool,
    pub(super) terminal: Terminal,
}

/// The terminal as it was found. A line editor changes it, and the session may end while somebody
/// types.
#[derive(Default)]
pub(super) struct Terminal {
    #[cfg(unix)]
    found: Option<rustix::termios::Termios>,
}

impl Terminal {
    fn find() -> Self {
        #[cfg(unix)]
        return Self { found: rustix::termios::tcgetattr(io::stdin()).ok() };
        #[cfg(not(unix))]
        Self::default()
    }

    /// Whether it can be restored while the line editor is at work.
    const CAN_RESTORE: bool = cfg!(unix);

    /// Leaves the terminal as it was found.
    pub(super) fn restore(&self) {
        #[cfg(unix)]
        if let Some(found) = &self.found {
            use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
            let is_editing = tcgetattr(io::stdin())
                .is_ok_and(|now| !now.local_modes.contains(LocalModes::ICANON));
            if is_editing && found.local_modes.contains(LocalModes::ICANON) {
                // A terminal that is gone needs no restoring.
                let _ = tcsetattr(io::stdin(), OptionalActions::Drain, found);
                // Behind the prompt, and without bracketed paste.
                let _ = Stream::Out.write("\x1b[?2004l\n");
            }
        }
    }
}

/// Takes the messages of the command line, or else standard input.
///
/// `longest` is the length in bytes from which on a line cannot be sent in any dialect.
pub(super) fn source(
    messages: Vec<String>,
    label: Label,
    longest: usize,
) -> Result<Source, Failure> {
    let cannot = |error: io::Error| Failure::local("cannot start", "a thread", &error);
    let of = |texts: io::Result<Texts>| {
        let (is_interactive, terminal) = (false, Terminal::default());
        Ok(Source { texts: texts.map_err(cannot)?, is_interactive, terminal })
    };
    if !messages.is_empty() {
        let mut messages = messages.into_iter();
        return of(Texts::new(true, move || messages.next().map_or(Said::End, Said::Text)));
    }
    if !io::stdin().is_terminal() {
        let mut lines = Lines { input: BufReader::new(io::stdin()), longest, number: 0 };
        return of(Texts::new(true, move || lines.next()));
    }
    let terminal = Terminal::find();
    let config = Config::builder().max_history_size(HISTORY).map(|c| c.build());
    let editor = config.and_then(|config| {
        let history = MemHistory::with_config(&config);
        Editor::<(), MemHistory>::with_history(config, history)
    });
    let mut editor = editor.map_err(|error| {
        Failure::new(Exit::Local, format_args!("cannot use the terminal: {error}"))
    })?;
    let prompt = format!("{}{PROMPT}", label.rendered());
    let next = move || match editor.readline(&prompt) {
        Ok(text) => {
            // A history that does not grow is no reason to stop.
            let _ = editor.add_history_entry(&text);
            Said::Text(text)
        }
        Err(ReadlineError::Eof) => Said::End,
        Err(ReadlineError::Interrupted) => Said::Interrupted,
        Err(ReadlineError::Io(error)) => Said::Failed(error),
        Err(error) => Said::Failed(io::Error::other(error)),
    };
    let texts = Texts::new(Terminal::CAN_RESTORE, next).map_err(cannot)?;
    Ok(Source { texts, is_interactive: true, terminal })
}

/// Lines of a stream, bounded.
struct Lines<R> {
    input: R,
    longest: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Said {
        self.number += 1;
        let mut line = Vec::new();
        // Room for the longest text, its line end, and one byte that shows it is too long.
        let most = self.longest as u64 + 3;
        match self.input.by_ref().take(most).read_until(b'\n', &mut line) {
            Ok(0) => return Said::End,
            Ok(_) => {}
            Err(error) => return Said::Failed(error),
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        let number = self.number;
        if line.len() > self.longest {
            let problem = format!("line {number} is longer than {} bytes", self.longest);
            return Said::Failed(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        match String::from_utf8(line) {
            Ok(text) => Said::Text(text),
            Err(_) => {
                let problem = format!("line {number} is not UTF-8");
                Said::Failed(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], longest: usize) -> Vec<String> {
        let mut lines = Lines { input, longest, number: 0 };
        let mut said = Vec::new();
        loop {
            match lines.next() {
                Said::Text(text) => said.push(text),
                Said::Failed(error) => {
                    said.push(format!("! {error}"));
                    return said;
                }
                Said::End | Said::Interrupted => return said,
            }
        }
    }

    #[test]
    fn line_ends_of_both_kinds_and_none_at_the_end() {
        assert_eq!(all(b"one\r\ntwo\n\nlast", 64), ["one", "two", "", "last"]);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_line() {
        assert_eq!(all(b"ok\na\xff\n", 64), ["ok", "! line 2 is not UTF-8"]);
        assert_eq!(
            all(b"12345678\n123456789\n", 8),
            ["12345678", "! line 2 is longer than 8 bytes"]
        );
        let long = vec![b'x'; 1 << 20];
        assert_eq!(all(&long, 8), ["! line 1 is longer than 8 bytes"]);
    }
}
