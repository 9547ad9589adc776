//! What a client prints, and how.

use super::error::ClientError;
use crate::output::Stream;
use crate::term::{Console, ConsoleClosed, Observers};
use vpn_proto::{Printable, SessionError};

/// What a client is to do.
#[derive(Debug)]
pub struct ClientOptions {
    /// Where to connect to.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Print nothing but replies.
    pub is_quiet: bool,
    /// Somebody sits at a prompt and can try again.
    pub is_interactive: bool,
    /// Who else is told what happens.
    pub observers: Observers,
}

/// What a client prints.
#[derive(Debug)]
pub(crate) struct Output {
    console: Console,
    is_quiet: bool,
    is_interactive: bool,
}

impl Output {
    pub(crate) fn new(console: Console, options: &ClientOptions) -> Self {
        Self { console, is_quiet: options.is_quiet, is_interactive: options.is_interactive }
    }

    /// Prints nothing.
    pub(crate) fn nowhere() -> Self {
        Self { console: Console::nowhere(), is_quiet: true, is_interactive: false }
    }

    pub(crate) async fn reply(&self, shown: &Printable<'_>) -> Result<(), ConsoleClosed> {
        if self.is_quiet {
            return self.console.line(shown).await;
        }
        self.console.line(format!("Server says: {shown}")).await
    }

    /// A text that cannot be sent: at a prompt the user can send something else instead.
    pub(crate) async fn not_sent(&self, error: SessionError) -> Result<(), ClientError> {
        if !self.is_interactive {
            return Err(error.into());
        }
        Ok(self.console.line(format!("Not sent: {error}")).await?)
    }

    pub(crate) async fn flush(&self) -> Result<(), ConsoleClosed> {
        self.console.flush().await
    }

    /// Says on standard error what kind of session it is, before the prompt comes.
    pub(crate) fn tell(&self, line: impl std::fmt::Display) {
        if !self.is_quiet {
            Stream::tell(line);
        }
    }

    pub(crate) async fn note(
        &self,
        line: impl std::fmt::Display + Send,
    ) -> Result<(), ConsoleClosed> {
        if self.is_quiet { Ok(()) } else { self.console.line(line).await }
    }
}
