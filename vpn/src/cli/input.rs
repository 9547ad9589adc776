//! The source of the client's texts: the command line, a prompt, or standard input.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::failure::{Exit, Failure};
use crate::output::Stream;
use crate::term::{Label, NextText, Texts};

/// The prompt of the client.
const PROMPT: &str = "Enter message: ";
/// How many texts the prompt remembers, in memory only.
const HISTORY: usize = 1000;

/// The texts of a client, and whether the user types them at a prompt.
pub(super) struct Source {
    pub(super) texts: Texts,
    pub(super) is_interactive: bool,
    pub(super) terminal: Terminal,
}

/// The settings of the terminal before the line editor changes them. The session may end while the
/// user types.
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

    /// Whether the terminal can be restored while the line editor reads a line.
    const CAN_RESTORE: bool = cfg!(unix);

    /// Restores the terminal, if a line editor has changed it.
    pub(super) fn restore(&self) {
        #[cfg(unix)]
        if let Some(found) = &self.found {
            use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
            let is_editing = tcgetattr(io::stdin())
                .is_ok_and(|now| !now.local_modes.contains(LocalModes::ICANON));
            if is_editing && found.local_modes.contains(LocalModes::ICANON) {
                // An error means that the terminal is gone.
                let _ = tcsetattr(io::stdin(), OptionalActions::Drain, found);
                // Turn bracketed paste off, and end the line of the prompt.
                let _ = Stream::Out.write("\x1b[?2004l\n");
            }
        }
    }
}

/// Makes the source of texts: the messages of the command line if there are any, else standard
/// input.
///
/// `longest` is the most bytes of a line of standard input.
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
        return of(Texts::new(true, move || messages.next().map_or(NextText::End, NextText::Text)));
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
            // An error only means that the history does not grow.
            let _ = editor.add_history_entry(&text);
            NextText::Text(text)
        }
        Err(ReadlineError::Eof) => NextText::End,
        Err(ReadlineError::Interrupted) => NextText::Interrupted,
        Err(ReadlineError::Io(error)) => NextText::Failed(error),
        Err(error) => NextText::Failed(io::Error::other(error)),
    };
    let texts = Texts::new(Terminal::CAN_RESTORE, next).map_err(cannot)?;
    Ok(Source { texts, is_interactive: true, terminal })
}

/// Lines of a stream, with a limit on their length.
struct Lines<R> {
    input: R,
    longest: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> NextText {
        self.number += 1;
        let mut line = Vec::new();
        // The longest text, its line end, and one more byte to notice a line that is too long.
        let most = self.longest as u64 + 3;
        match self.input.by_ref().take(most).read_until(b'\n', &mut line) {
            Ok(0) => return NextText::End,
            Ok(_) => {}
            Err(error) => return NextText::Failed(error),
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
            return NextText::Failed(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        match String::from_utf8(line) {
            Ok(text) => NextText::Text(text),
            Err(_) => {
                let problem = format!("line {number} is not UTF-8");
                NextText::Failed(io::Error::new(io::ErrorKind::InvalidData, problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], longest: usize) -> Vec<String> {
        let mut lines = Lines { input, longest, number: 0 };
        let mut texts = Vec::new();
        loop {
            match lines.next() {
                NextText::Text(text) => texts.push(text),
                NextText::Failed(error) => {
                    texts.push(format!("! {error}"));
                    return texts;
                }
                NextText::End | NextText::Interrupted => return texts,
            }
        }
    }

    #[test]
    fn lines_end_with_lf_crlf_or_the_end_of_input() {
        assert_eq!(all(b"one\r\ntwo\n\nlast", 64), ["one", "two", "", "last"]);
    }

    #[test]
    fn a_line_that_cannot_be_sent_is_named() {
        assert_eq!(all(b"ok\na\xff\n", 64), ["ok", "! line 2 is not UTF-8"]);
        assert_eq!(
            all(b"12345678\n123456789\n", 8),
            ["12345678", "! line 2 is longer than 8 bytes"]
        );
        let long = vec![b'x'; 1 << 20];
        assert_eq!(all(&long, 8), ["! line 1 is longer than 8 bytes"]);
    }
}
