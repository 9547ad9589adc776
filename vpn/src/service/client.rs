//! The client's side of the message service.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use super::console::{Console, ConsoleClosed};
use super::observe::{Observers, Watch};
use super::pipe::PipeError;
use super::sealed::Untrusted;
use crate::net::limits::{HANDSHAKE, Limits, REPLY};
use crate::net::{
    DhPool, DialError, Driver, Input, Progress, PumpError, SealedIoError, Source, connect,
    endpoint, farewell, read_some, send,
};
use crate::term::{Reason, Stream};
use vpn_proto::classic::{Advice, ClassicParams, ClientHandshake, ClientSession, Role, Trouble};
use vpn_proto::{Printable, SessionError};

/// Above this many bytes of text a reader with one `recv` of 1024 bytes would cut a message.
const WARN_ABOVE: usize = 960;

/// The text that ends a session instead of being sent.
pub(super) const QUIT: &str = r"\quit";
/// How long a source of texts may take to end after the server did.
const LAST_TEXT: Duration = Duration::from_millis(200);

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
    pub(super) fn is_interruptible(&self) -> bool {
        self.is_interruptible
    }

    /// Asks for the first text only when notified, so that a prompt follows what is printed first.
    #[must_use]
    pub fn after(mut self, gate: Arc<Notify>) -> Self {
        self.gate = Some(gate);
        self
    }

    pub(super) async fn request(&mut self) -> oneshot::Receiver<Said> {
        if let Some(gate) = self.gate.take() {
            // If the other side never gets there, its failure shows soon enough.
            let _ = timeout(HANDSHAKE, gate.notified()).await;
        }
        let (answer, said) = oneshot::channel();
        // If the thread is gone the receiver says so.
        let _ = self.requests.send(answer).await;
        said
    }
}

/// Connects, shakes hands, and sends texts until there are no more.
///
/// # Errors
///
/// [`ClientError`] says what ended the session before its time.
pub async fn run_client(
    options: &ClientOptions,
    mut params: ClassicParams,
    limits: Limits,
    mut texts: Texts,
    console: Console,
) -> Result<(), ClientError> {
    let out = Output::new(console, options);
    let mut stream = connect(&options.host, options.port).await?;
    out.note(format!("Connected to {}", endpoint(&options.host, options.port))).await?;
    out.note("Negotiating the cipher").await?;
    let at = endpoint(&options.host, options.port);
    let mut watch = options.observers.watch(Role::Client, params.plan, at).await;
    params.telling = options.observers.telling(Role::Client);
    let started = Instant::now();
    let handshake = ClientHandshake::new(params, &mut rand::rng(), started);
    let pool = DhPool::new(limits.dh_workers);
    let mut driver =
        Driver::new(&mut stream, handshake, &pool, Source::SELF, started + limits.handshake);
    let mut session = loop {
        match driver.next().await {
            Ok(Progress::Chosen(id)) => {
                out.note(format!("We are going to use {id}")).await?;
                out.note("Negotiating the key").await?;
            }
            Ok(Progress::Note(note)) => watch.tell(note).await,
            Ok(Progress::Done(session)) => break session,
            Err(error) => {
                let advice = watch.fail_handshake(&error).await;
                return Err(ClientError::Handshake(error).advised(advice));
            }
        }
    };
    drop(driver);
    out.note("The key has been established").await?;
    log::info!("{} established in {:?}", session.suite(), started.elapsed());
    out.tell(format_args!(
        "classic session with {}: the server is not authenticated, and it answers in the clear",
        session.suite()
    ));
    let result = talk(&mut stream, &mut session, &mut texts, &out, &mut watch).await;
    tell_all(&mut session, &mut watch).await;
    let advice = match &result {
        Err(ClientError::Session(error)) => watch.fail_session(error).await,
        Err(ClientError::Io(error)) => watch.fail(Trouble::Lost, &Reason(error).to_string()).await,
        Err(error @ ClientError::NoReply(_)) => {
            watch.fail(Trouble::Silence, &error.to_string()).await
        }
        _ => None,
    };
    result.map_err(|error| error.advised(advice))?;
    farewell(stream).await;
    Ok(())
}

/// Sends texts until there are no more.
async fn talk(
    stream: &mut TcpStream,
    session: &mut ClientSession,
    texts: &mut Texts,
    out: &Output,
    watch: &mut Watch,
) -> Result<(), ClientError> {
    loop {
        out.console.flush().await?;
        watch.flush().await;
        match next_text(texts, session, stream).await? {
            Said::Text(text) if text == QUIT => return Ok(()),
            Said::Text(text) => converse(stream, session, &text, out, watch).await?,
            Said::End => return Ok(()),
            Said::Interrupted => return Err(ClientError::Interrupted),
            Said::Failed(error) => return Err(ClientError::Input(error)),
        }
    }
}

async fn tell_all(session: &mut ClientSession, watch: &mut Watch) {
    while let Some(note) = session.poll_note() {
        watch.tell(note).await;
    }
}

/// Waits for a text, and on the side for a server that gives up in the meantime.
async fn next_text(
    texts: &mut Texts,
    session: &mut ClientSession,
    stream: &mut TcpStream,
) -> Result<Said, ClientError> {
    let mut said = texts.request().await;
    loop {
        tokio::select! {
            said = &mut said => return Ok(said.unwrap_or(Said::End)),
            ready = stream.readable(), if texts.is_interruptible => {
                ready?;
                match read_some(stream)? {
                    Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                    Input::Nothing => {}
                    Input::End => {
                        // Both may end at once, and then all is well.
                        return match timeout(LAST_TEXT, said).await {
                            Ok(Ok(Said::End) | Err(_)) => Ok(Said::End),
                            Ok(Ok(Said::Text(text))) if text == QUIT => Ok(Said::End),
                            _ => Err(session.on_unasked_end().into()),
                        };
                    }
                }
            }
        }
    }
}

/// Sends one text and prints the reply.
async fn converse(
    stream: &mut TcpStream,
    session: &mut ClientSession,
    text: &str,
    out: &Output,
    watch: &mut Watch,
) -> Result<(), ClientError> {
    let message = match session.send(text, Instant::now()) {
        Ok(message) => message,
        Err(error @ SessionError::TextTooLong { .. }) => return out.not_sent(error).await,
        Err(error) => return Err(error.into()),
    };
    if session.dialect().peer_reads.is_some() && text.len() > WARN_ABOVE {
        log::warn!("{} bytes: some peers cut messages of more than {WARN_ABOVE}", text.len());
    }
    tell_all(session, watch).await;
    let deadline = Instant::now() + REPLY;
    if let Err(error) = send(stream, &message, REPLY).await {
        // A server that gave up may have said why before it closed.
        return Err(last_words(stream, session).await.unwrap_or_else(|| error.into()));
    }
    let reply = loop {
        if let Some(reply) = session.next_reply(Instant::now())? {
            break reply;
        }
        let due = session.poll_timeout().map_or(deadline, |t| t.min(deadline));
        tokio::select! {
            ready = stream.readable() => {
                ready?;
                match read_some(stream)? {
                    Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                    Input::Nothing => {}
                    Input::End => session.handle_eof(),
                }
            }
            () = sleep_until(due.into()) => {
                if Instant::now() >= deadline {
                    return Err(ClientError::NoReply(REPLY));
                }
            }
        }
    };
    tell_all(session, watch).await;
    Ok(out.reply(&Printable(&reply)).await?)
}

async fn last_words(stream: &mut TcpStream, session: &mut ClientSession) -> Option<ClientError> {
    stream.readable().await.ok()?;
    if let Ok(Input::Bytes(bytes)) = read_some(stream) {
        session.handle_input(&bytes, Instant::now());
    }
    session.handle_eof();
    session.next_reply(Instant::now()).err().map(ClientError::Session)
}

/// What a client prints.
pub(super) struct Output {
    console: Console,
    is_quiet: bool,
    is_interactive: bool,
}

impl Output {
    pub(super) fn new(console: Console, options: &ClientOptions) -> Self {
        Self { console, is_quiet: options.is_quiet, is_interactive: options.is_interactive }
    }

    pub(super) async fn reply(&self, shown: &Printable<'_>) -> Result<(), ConsoleClosed> {
        if self.is_quiet {
            return self.console.line(shown).await;
        }
        self.console.line(format!("Server says: {shown}")).await
    }

    /// A text that cannot be sent: at a prompt the user can send something else instead.
    pub(super) async fn not_sent(&self, error: SessionError) -> Result<(), ClientError> {
        if !self.is_interactive {
            return Err(error.into());
        }
        Ok(self.console.line(format!("Not sent: {error}")).await?)
    }

    pub(super) async fn flush(&self) -> Result<(), ConsoleClosed> {
        self.console.flush().await
    }

    /// Says on standard error what kind of session it is, before the prompt comes.
    pub(super) fn tell(&self, line: impl std::fmt::Display) {
        if !self.is_quiet {
            Stream::tell(line);
        }
    }

    pub(super) async fn note(
        &self,
        line: impl std::fmt::Display + Send,
    ) -> Result<(), ConsoleClosed> {
        if self.is_quiet { Ok(()) } else { self.console.line(line).await }
    }
}

/// Why a client ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A failure that a setting of the dialect may mend.
    #[error("{error}")]
    Advised {
        /// The failure.
        error: Box<Self>,
        /// The setting.
        advice: Box<Advice>,
    },
    /// The server has no room now.
    #[error("the server is busy: {0}")]
    Busy(String),
    /// Standard output is closed.
    #[error(transparent)]
    Console(#[from] ConsoleClosed),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is no session.
    #[error(transparent)]
    Handshake(PumpError),
    /// The texts cannot be read.
    #[error("cannot read the next text: {}", Reason(.0))]
    Input(io::Error),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The connection failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// The server stays silent.
    #[error("no reply within {} seconds", .0.as_secs())]
    NoReply(Duration),
    /// The server does not let us have the service.
    #[error("the server refuses the service: {0}")]
    NotPermitted(String),
    /// The pipe ended before its end.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// The sealed session is over, or there is none.
    #[error(transparent)]
    Sealed(#[from] SealedIoError),
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server is not the one that it should be.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl ClientError {
    /// The same with what may mend it, if something is known that may.
    fn advised(self, advice: Option<Advice>) -> Self {
        match advice {
            Some(advice) => Self::Advised { error: Box::new(self), advice: Box::new(advice) },
            None => self,
        }
    }
}
