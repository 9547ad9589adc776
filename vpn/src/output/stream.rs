//! Standard output and standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::reason::Reason;
use super::transient::Polite;

/// A standard stream that a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard error.
    Err,
    /// Standard output.
    Out,
}

impl Stream {
    /// A writer without a buffer. Every write reaches the system at once.
    pub fn writer(self) -> Box<dyn Write + Send> {
        #[cfg(unix)]
        {
            use std::os::fd::AsFd;
            let own = match self {
                Self::Err => io::stderr().as_fd().try_clone_to_owned(),
                Self::Out => io::stdout().as_fd().try_clone_to_owned(),
            };
            if let Ok(own) = own.map(std::fs::File::from) {
                return match self {
                    Self::Err => Box::new(Polite::new(own)),
                    Self::Out => Box::new(own),
                };
            }
        }
        match self {
            Self::Err => Box::new(Polite::new(io::stderr())),
            Self::Out => Box::new(io::stdout()),
        }
    }

    /// Writes a text and flushes the stream.
    ///
    /// # Errors
    ///
    /// [`StreamError`] if the stream is closed or cannot be written.
    pub fn write(self, text: &str) -> Result<(), StreamError> {
        let write = |out: &mut dyn Write| {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        match self {
            Self::Err => write(&mut Polite::new(io::stderr().lock())),
            Self::Out => write(&mut io::stdout().lock()),
        }
        .map_err(|source| self.failed(source))
    }

    /// Writes a line `vpn: …` to standard error. Errors are ignored, because there is no other place to
    /// report them.
    pub fn tell(line: impl fmt::Display) {
        let _ = Self::Err.write(&format!("vpn: {line}\n"));
    }

    /// Whether the stream is a terminal that shows colours. `NO_COLOR` (no-color.org) and `TERM=dumb`
    /// forbid them.
    pub fn has_colour(self) -> bool {
        let is_terminal = match self {
            Self::Err => io::stderr().is_terminal(),
            Self::Out => io::stdout().is_terminal(),
        };
        is_terminal
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
    }

    /// The error that this stream has failed for the reason `source`.
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

/// The error for a standard stream that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {stream}: {}", Reason(.source))]
pub struct StreamError {
    /// The stream.
    pub stream: Stream,
    /// The reason. The message has it already.
    pub source: io::Error,
}

impl StreamError {
    /// Whether the reader has closed the stream. For messages to people this is no failure, since nobody
    /// is there to read them.
    pub fn is_broken_pipe(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}
