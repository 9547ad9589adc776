//! The one writer for standard output and standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::reason::Reason;

/// One of the two streams that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard error.
    Err,
    /// Standard output.
    Out,
}

impl Stream {
    /// Where writes go, without a buffer that could keep something back.
    pub fn writer(self) -> Box<dyn Write + Send> {
        #[cfg(unix)]
        {
            use std::os::fd::AsFd;
            let own = match self {
                Self::Err => io::stderr().as_fd().try_clone_to_owned(),
                Self::Out => io::stdout().as_fd().try_clone_to_owned(),
            };
            if let Ok(own) = own {
                return Box::new(std::fs::File::from(own));
            }
        }
        match self {
            Self::Err => Box::new(io::stderr()),
            Self::Out => Box::new(io::stdout()),
        }
    }

    /// Writes all of a text.
    ///
    /// # Errors
    ///
    /// [`StreamError`] names the stream and the reason.
    pub fn write(self, text: &str) -> Result<(), StreamError> {
        let write = |out: &mut dyn Write| {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        match self {
            Self::Err => write(&mut io::stderr().lock()),
            Self::Out => write(&mut io::stdout().lock()),
        }
        .map_err(|source| self.failed(source))
    }

    /// Says something to the person at the terminal, as a line `vpn: …` on standard error. If that
    /// cannot be written nobody can be told.
    pub fn tell(line: impl fmt::Display) {
        let _ = Self::Err.write(&format!("vpn: {line}\n"));
    }

    /// Whether the stream is a terminal that shows colours: `NO_COLOR` and `TERM=dumb` forbid them.
    pub fn has_colour(self) -> bool {
        let is_terminal = match self {
            Self::Err => io::stderr().is_terminal(),
            Self::Out => io::stdout().is_terminal(),
        };
        is_terminal
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    }

    /// The error of this stream.
    pub fn failed(self, source: io::Error) -> StreamError {
        StreamError { stream: self, source }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Err => "standard error",
            Self::Out => "standard output",
        })
    }
}

/// A standard stream cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {stream}: {}", Reason(.source))]
pub struct StreamError {
    /// Which one.
    pub stream: Stream,
    /// Why. It stands in the message.
    pub source: io::Error,
}

impl StreamError {
    /// Whether its reader has gone. For lines meant for people that is no failure: nobody is there
    /// to read them.
    pub fn has_no_reader(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}
