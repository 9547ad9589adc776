//! The texts that a client sends. They come from a prompt, a pipe, or the command line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// The text that ends a session instead of being sent.
pub(crate) const QUIT: &str = r"\quit";
/// How long the first prompt waits for the lines that are printed before it.
const FIRST: Duration = Duration::from_secs(20);

/// A source of texts to send, asked for one at a time.
#[derive(Debug)]
pub struct Texts {
    requests: mpsc::Sender<oneshot::Sender<NextText>>,
    /// Whether the session may end while the source waits for the user. A line editor may forbid
    /// it, because it has to restore the terminal first.
    is_interruptible: bool,
    /// The notification to wait for before the first request.
    gate: Option<Arc<Notify>>,
}

/// The answer of a source of texts.
#[derive(Debug)]
pub enum NextText {
    /// There are no more texts.
    End,
    /// The source failed.
    Failed(io::Error),
    /// The user interrupted with Ctrl-C.
    Interrupted,
    /// The next text to send.
    Text(String),
}

impl Texts {
    /// Makes a source that calls `next` on its own thread for each text.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub fn new(
        is_interruptible: bool,
        mut next: impl FnMut() -> NextText + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, mut wanted) = mpsc::channel::<oneshot::Sender<NextText>>(1);
        let thread = std::thread::Builder::new().name("texts".to_owned());
        thread.spawn(move || {
            while let Some(answer) = wanted.blocking_recv() {
                // The session may have ended meanwhile.
                let _ = answer.send(next());
            }
        })?;
        Ok(Self { requests, is_interruptible, gate: None })
    }

    /// Whether the session may end while the source waits for the user.
    pub(crate) fn is_interruptible(&self) -> bool {
        self.is_interruptible
    }

    /// Asks for the first text only after a notification, so that the prompt comes after the lines
    /// before it.
    #[must_use]
    pub fn after(mut self, gate: Arc<Notify>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Asks for the next text. The receiver resolves when it is there.
    pub(crate) async fn request(&mut self) -> oneshot::Receiver<NextText> {
        if let Some(gate) = self.gate.take() {
            // If the notification never comes, the session reports its failure itself.
            let _ = timeout(FIRST, gate.notified()).await;
        }
        let (answer, next) = oneshot::channel();
        // If the thread is gone, the receiver fails.
        let _ = self.requests.send(answer).await;
        next
    }
}
