//! What a client prints.

use tokio::sync::mpsc;

use super::error::ClientError;
use crate::net::Explanations;
use crate::output::Stream;
use crate::term::{Console, ConsoleClosed, Observers};
use vpn_proto::{Printable, SessionError};

/// How many lines of explanations may wait.
const EXPLAINED: usize = 256;
/// What an eavesdropper learns of channels.
const EAVESDROPPER: &str = "each frame is one encrypted record. An eavesdropper sees the sizes and the \
                            times of records, but no channels, targets or bytes";

/// Where a client connects to, and what it prints.
#[derive(Debug)]
pub struct ClientOptions {
    /// Where to connect to.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Print replies only.
    pub is_quiet: bool,
    /// A user types at a prompt, and can try again.
    pub is_interactive: bool,
    /// Show the progress of a transfer of bytes, if there is a terminal for it.
    pub shows_progress: bool,
    /// They see what happens in the session.
    pub observers: Observers,
}

/// The printed output of a client.
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

    /// An output that prints nothing.
    pub(crate) fn nowhere() -> Self {
        Self { console: Console::nowhere(), is_quiet: true, is_interactive: false }
    }

    /// Prints a reply of the server.
    pub(crate) async fn reply(&self, shown: &Printable<'_>) -> Result<(), ConsoleClosed> {
        if self.is_quiet {
            return self.console.line(shown).await;
        }
        self.console.line(format!("Server says: {shown}")).await
    }

    /// Reports a text that cannot be sent. At a prompt this is a line, because the user can try
    /// another text; otherwise it is an error.
    pub(crate) async fn not_sent(&self, error: SessionError) -> Result<(), ClientError> {
        if !self.is_interactive {
            return Err(error.into());
        }
        Ok(self.console.line(format!("Not sent: {error}")).await?)
    }

    /// Waits until everything so far is printed.
    pub(crate) async fn flush(&self) -> Result<(), ConsoleClosed> {
        self.console.flush().await
    }

    /// Prints a line on standard error at once, before the prompt comes.
    pub(crate) fn tell(&self, line: impl std::fmt::Display) {
        if !self.is_quiet {
            Stream::tell(line);
        }
    }

    /// Where every frame of channels is explained, if the user wants it. A task prints the lines.
    pub(crate) async fn explaining(&self, observers: &Observers) -> Option<Explanations> {
        let console = observers.explain.as_ref()?.console.clone();
        let (sender, mut lines) = mpsc::channel::<String>(EXPLAINED);
        // It is no matter if nobody reads standard error.
        let _ = console.line(format!("explain: {EAVESDROPPER}")).await;
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                let _ = console.line(format!("explain: {line}")).await;
            }
        });
        Some(sender)
    }

    /// Prints a line about the progress of the session.
    pub(crate) async fn note(
        &self,
        line: impl std::fmt::Display + Send,
    ) -> Result<(), ConsoleClosed> {
        if self.is_quiet { Ok(()) } else { self.console.line(line).await }
    }
}
