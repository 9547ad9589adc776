//! The texts that a client sends: typed at a prompt, piped in, or given on the command line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// The text that ends a session instead of being sent.
pub(crate) const QUIT: &str = r"\quit";
/// How long the first text may have to wait for what is printed before it.
const FIRST: Duration = Duration::from_secs(20);

/// A source of texts to send, asked for one at a time.
#[derive(Debug)]
pub struct Texts {
    requests: mpsc::Sender<oneshot::Sender<Said>>,
    /// Whether the connection is watched while the source thinks; not behind a line editor, which
    /// has to leave the terminal as it found it.
    is_interruptible: bool,
    /// What to wait for before the first request.
    gate: Option<Arc<Notify>>,
}

/// What a source of texts has to say.
#[derive(Debug)]
pub enum Said {
    /// There is no more.
    End,
    /// The source failed.
    Failed(io::Error),
    /// The user wants out, now.
    Interrupted,
    /// Send this.
    Text(String),
}

impl Texts {
    /// Asks `next` on a thread of its own whenever a text is wanted.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn new(
        is_interruptible: bool,
        mut next: impl FnMut() -> Said + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, mut wanted) = mpsc::channel::<oneshot::Sender<Said>>(1);
        let thread = std::thread::Builder::new().name("texts".to_owned());
        thread.spawn(move || {
            while let Some(answer) = wanted.blocking_recv() {
                // The session may have ended in the meantime.
                let _ = answer.send(next());
            }
        })?;
        Ok(Self { requests, is_interruptible, gate: None })
    }

    /// Whether a connection may be watched while the source thinks.
    pub(crate) fn is_interruptible(&self) -> bool {
        self.is_interruptible
    }

    /// Asks for the first text only when notified, so that a prompt follows what is printed first.
    #[must_use]
    pub fn after(mut self, gate: Arc<Notify>) -> Self {
        self.gate = Some(gate);
        self
    }

    pub(crate) async fn request(&mut self) -> oneshot::Receiver<Said> {
        if let Some(gate) = self.gate.take() {
            // If the other side never gets there, its failure shows soon enough.
            let _ = timeout(FIRST, gate.notified()).await;
        }
        let (answer, said) = oneshot::channel();
        // If the thread is gone the receiver says so.
        let _ = self.requests.send(answer).await;
        said
    }
}
