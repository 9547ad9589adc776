//! An established session of the sealed profile and its socket.

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use zeroize::Zeroizing;

use super::limits::{CLOSE, KEEPALIVES_MISSED, REPLY};
use super::pool::DhPool;
use super::sealed_handshake::{HandshakeContext, SealedIoError};
use super::source::Source;
use vpn_proto::sealed::{Alert, Event, KexError, KexKeyPair, KexSecret, SealedError, Session};

/// How much may wait to be sent before nothing more is read: a few times what a pipe has under way.
const MOST_UNSENT: usize = 1024 * 1024;
/// Bytes read at once at first; a peer that keeps sending gets more room, up to a whole batch.
const READ: usize = 4 * 1024;
/// After this time without traffic the buffers are given back.
const QUIET: Duration = Duration::from_secs(1);

/// A session and its socket.
///
/// Besides moving bytes it looks after what no service wants to know of: fresh key exchanges, both
/// sides of them, and signs of life.
#[derive(Debug)]
pub struct SealedConnection {
    stream: TcpStream,
    session: Session,
    /// What is sealed and not yet sent, and how much of it is.
    output: Vec<u8>,
    sent: usize,
    /// Why nothing can be sent any more. The peer may have said why before, so reading goes on.
    broken: Option<io::Error>,
    /// How much is read at once, and the most of it; `None` for whole batches.
    read: usize,
    read_most: Option<usize>,
    pool: DhPool,
    source: Source,
    work: Option<Work>,
    /// Our half of a fresh exchange, until the server has answered.
    pair: Option<KexKeyPair>,
    /// After how long without a record of ours we send a ping.
    pings: Option<Duration>,
    /// After how long without a byte of the peer it counts as gone.
    patience: Option<Duration>,
    heard: Instant,
    said: Instant,
    is_roomy: bool,
    is_paused: bool,
    /// The peer's stream is at its end.
    has_ended: bool,
}

/// A computation for a fresh key exchange.
struct Work(Pin<Box<dyn Future<Output = Option<Computed>> + Send>>);

impl Work {
    /// What came of it, if it is over.
    async fn look(&mut self) -> Poll<Option<Computed>> {
        std::future::poll_fn(|context| Poll::Ready(self.0.as_mut().poll(context))).await
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work(..)")
    }
}

/// What came of it.
enum Computed {
    Pair(KexKeyPair),
    Answer(Result<(Vec<u8>, KexSecret), KexError>),
    Secret(Result<KexSecret, KexError>),
}

/// What came of [`SealedConnection::advance`].
#[derive(Debug)]
pub enum Moved {
    /// The peer said something.
    Event(Event),
    /// Everything sealed so far is on its way.
    Sent,
}

/// What ended a wait.
enum Woken {
    Computed(Option<Computed>),
    Ready(tokio::io::Ready),
    Time,
}

impl SealedConnection {
    /// What came behind the handshake, in the same read, is taken at once.
    pub(super) fn new(
        stream: TcpStream,
        mut session: Session,
        behind: &[u8],
        place: HandshakeContext<'_>,
    ) -> Self {
        // The session repeats an error, after the events that came before it.
        let _ = session.handle_input(behind);
        let now = Instant::now();
        let alive = socket2::TcpKeepalive::new().with_time(super::limits::KEEPALIVE);
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_keepalive(&alive) {
            // Then a peer that is gone shows when something is sent to it.
            log::debug!("no keepalive: {error}");
        }
        Self {
            stream,
            session,
            output: Vec::new(),
            sent: 0,
            broken: None,
            read: READ,
            read_most: None,
            pool: place.pool.clone(),
            source: place.source,
            work: None,
            pair: None,
            pings: None,
            patience: None,
            heard: now,
            said: now,
            is_roomy: false,
            is_paused: false,
            has_ended: false,
        }
    }

    /// Reads nothing and tells nothing from now on, or goes on; what there is to send is sent all the
    /// same.
    pub fn pause_reading(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Reads at most so much at once from now on, for services that do not move much: a session holds a
    /// few times that in memory.
    pub fn read_at_most(&mut self, bytes: usize) {
        self.read_most = Some(bytes);
        self.session.expect_pieces(bytes);
    }

    /// Sends a ping whenever nothing was sent for this long, as a server may wish in its Ready.
    pub fn ping_every(&mut self, silence: Option<Duration>) {
        self.pings = silence;
    }

    /// Expects a peer that was asked for pings to be heard of; `None` again where its program may
    /// be stopped by a reader further on.
    pub fn expect_pings(&mut self, every: Option<Duration>) {
        self.patience = every.map(|every| every * KEEPALIVES_MISSED);
        self.heard = Instant::now();
    }

    /// Takes what the session has to send, so that [`SealedConnection::is_flushed`] counts it.
    pub fn stage(&mut self) {
        if self.is_flushed() {
            self.output.clear();
            self.sent = 0;
        }
        let before = self.output.len();
        self.session.take_output(&mut self.output);
        if self.output.len() > before {
            self.said = Instant::now();
            self.is_roomy = true;
        }
    }

    /// Whether everything sealed so far was handed to the socket.
    pub fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// Sends and receives at once, until there is an event or everything sealed is on its way.
    /// Nothing is lost if the wait is given up.
    ///
    /// # Errors
    ///
    /// Why the session is over; what the peer is to be told has been sent.
    pub async fn advance(&mut self) -> Result<Moved, SealedIoError> {
        let moved = self.advance_unless_over().await;
        if moved.is_err() {
            // Last words need not arrive.
            let _ = timeout(CLOSE, self.flush()).await;
        }
        moved
    }

    async fn advance_unless_over(&mut self) -> Result<Moved, SealedIoError> {
        loop {
            // Looked at each time: under constant traffic there is always something else to do.
            if let Some(work) = &mut self.work
                && let Poll::Ready(computed) = work.look().await
            {
                self.work = None;
                self.use_computed(computed.ok_or(SealedIoError::TimedOut)?)?;
            }
            // The session keeps its events, so that none can wait for more bytes to come.
            while !self.is_paused
                && let Some(event) = self.session.poll_event()
            {
                if let Some(event) = self.tend(event) {
                    return Ok(Moved::Event(event));
                }
            }
            let now = Instant::now();
            self.on_time(now)?;
            self.stage();
            if !self.is_flushed() && self.send()? {
                return Ok(Moved::Sent);
            }
            let unsent = self.output.len() - self.sent;
            // A peer that asks and does not read the answers is not read any further, nor one that
            // goes on while its records wait for our computation.
            let is_reading = !self.is_paused
                && !self.has_ended
                && (unsent <= MOST_UNSENT || self.broken.is_some())
                && !self.session.has_backlog();
            let interest = match (is_reading, unsent > 0 && self.broken.is_none()) {
                (true, false) => Some(Interest::READABLE),
                (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
                (false, false) => None,
                (false, true) => Some(Interest::WRITABLE),
            };
            let due = self.due();
            let (stream, work) = (&self.stream, &mut self.work);
            let computed = async {
                match work {
                    Some(work) => work.0.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            let ready = async {
                match interest {
                    Some(interest) => stream.ready(interest).await,
                    None => std::future::pending().await,
                }
            };
            let time = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                biased;
                ready = ready => Woken::Ready(ready?),
                computed = computed => Woken::Computed(computed),
                () = time => Woken::Time,
            };
            match woken {
                Woken::Ready(ready)
                    if is_reading && (ready.is_readable() || ready.is_read_closed()) =>
                {
                    self.receive()?;
                }
                Woken::Ready(_) | Woken::Time => {}
                Woken::Computed(computed) => {
                    self.work = None;
                    self.use_computed(computed.ok_or(SealedIoError::TimedOut)?)?;
                }
            }
        }
    }

    /// Hands the socket what it takes; whether that was all.
    fn send(&mut self) -> Result<bool, SealedIoError> {
        if self.broken.is_some() {
            // Reading says why it is over, unless there is nothing more to read.
            return match self.broken.take_if(|_| self.has_ended) {
                Some(error) => Err(error.into()),
                None => Ok(false),
            };
        }
        match self.stream.try_write(&self.output[self.sent..]) {
            Ok(written) => self.sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What the peer said before it went is still to be read.
            Err(error) => self.broken = Some(error),
        }
        Ok(self.is_flushed())
    }

    /// When there is something to do even if nothing comes.
    fn due(&self) -> Option<Instant> {
        let ping = self.pings.map(|silence| self.said + silence);
        let gone = self.patience.map(|patience| self.heard + patience);
        let quiet = self.is_roomy.then(|| self.heard.max(self.said) + QUIET);
        [self.session.poll_timeout(), ping, gone, quiet].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) -> Result<(), SealedIoError> {
        self.session.handle_timeout(now)?;
        if self.session.is_exchange_due() && self.work.is_none() && self.pair.is_none() {
            let kex = self.session.kex();
            let work = move || KexKeyPair::generate(kex, &mut rand::rng());
            self.start(work, Computed::Pair);
        }
        let is_over = |since: Instant, time: Option<Duration>| {
            time.is_some_and(|time| now.saturating_duration_since(since) >= time)
        };
        if is_over(self.heard, self.patience) {
            self.session.close(Alert::Timeout)?;
            return Err(SealedIoError::Silent);
        }
        if is_over(self.said, self.pings) {
            self.said = now;
            // A session that is coming to its end needs no signs of life.
            let _ = self.session.ping(b"");
        }
        if is_over(self.heard.max(self.said), self.is_roomy.then_some(QUIET)) {
            self.session.shrink();
            if self.is_flushed() {
                self.output = Vec::new();
                self.sent = 0;
            }
            self.read = READ;
            self.is_roomy = false;
        }
        Ok(())
    }

    /// Has something computed in the pool, in this session's turn.
    fn start<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        wrap: fn(T) -> Computed,
    ) {
        let (pool, source) = (self.pool.clone(), self.source);
        let computed = async move { pool.compute("rekey", source, work).await.map(wrap) };
        self.work = Some(Work(Box::pin(computed)));
    }

    fn use_computed(&mut self, computed: Computed) -> Result<(), SealedError> {
        match computed {
            Computed::Pair(pair) => {
                // The session may have come to its end meanwhile.
                if self.session.is_exchange_due() {
                    self.session.begin_exchange(pair.share())?;
                    self.pair = Some(pair);
                }
                Ok(())
            }
            Computed::Answer(answer) => {
                let (share, secret) = answer?;
                self.session.answer_exchange(&share, &secret)
            }
            Computed::Secret(secret) => {
                let result = self.session.finish_exchange(&secret?);
                log::debug!("a fresh key exchange is over");
                result
            }
        }
    }

    /// Sees to what no service wants to know of.
    fn tend(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::ExchangeWanted(share) => {
                let kex = self.session.kex();
                self.start(move || kex.respond(&share, &mut rand::rng()), Computed::Answer);
                None
            }
            Event::ExchangeAnswered(share) => {
                let pair = self.pair.take()?;
                self.start(move || pair.finish(&share), Computed::Secret);
                None
            }
            Event::Pong(_) => None,
            event => Some(event),
        }
    }

    /// Reads what is there.
    fn receive(&mut self) -> Result<(), SealedIoError> {
        // Batches stay in step with the sender's, which are as long as ours.
        let batch = self.session.batch_length();
        let most = self.read_most.map_or(batch, |most| most.min(batch));
        let input = self.session.input_buffer();
        let want = self.read.min(most.saturating_sub(input.len())).max(1);
        input.reserve_exact(want);
        let result = match self.stream.try_read_buf(input) {
            Ok(0) => {
                self.has_ended = true;
                self.session.handle_eof()
            }
            Ok(count) => {
                self.heard = Instant::now();
                self.is_roomy = true;
                if count >= want {
                    self.read = (self.read * 2).min(most);
                }
                self.session.handle_buffer()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match result {
            // What came before the error comes first; the session repeats the error then.
            Err(error) if !self.session.has_event() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Gives a buffer of [`Event::Data`] back, for data to come.
    pub fn recycle(&mut self, buffer: Zeroizing<Vec<u8>>) {
        self.session.recycle(buffer);
        self.is_roomy = true;
    }

    /// The session, to seal things with; then call [`SealedConnection::flush`].
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Sends what the session has to send.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stage();
        let sending = async {
            while !self.is_flushed() {
                let written = self.stream.write(&self.output[self.sent..]).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.sent += written;
            }
            Ok(())
        };
        timeout(REPLY, sending).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Waits for the next event. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    ///
    /// As [`SealedConnection::advance`].
    pub async fn next(&mut self) -> Result<Event, SealedIoError> {
        loop {
            if let Moved::Event(event) = self.advance().await? {
                return Ok(event);
            }
        }
    }

    /// Says that it was the end, or answers the peer that says so; waits a moment for the peer to say
    /// the same.
    ///
    /// # Errors
    ///
    /// If the peer did not.
    pub async fn close(mut self, within: Duration) -> Result<(), SealedIoError> {
        let closed = timeout(within, self.say_and_hear_the_end()).await;
        super::lingering_close(self.stream).await;
        closed.unwrap_or_else(|_| Err(SealedError::Cut.into()))
    }

    /// As [`SealedConnection::close`], for as long as it takes the peer to take what it was sent.
    ///
    /// # Errors
    ///
    /// As [`SealedConnection::close`].
    pub async fn close_when_peer_does(mut self) -> Result<(), SealedIoError> {
        let closed = self.say_and_hear_the_end().await;
        super::lingering_close(self.stream).await;
        closed
    }

    async fn say_and_hear_the_end(&mut self) -> Result<(), SealedIoError> {
        self.session.close(Alert::CloseNotify)?;
        while !self.session.is_closed() {
            self.next().await?;
        }
        Ok(self.flush().await?)
    }

    /// Ends the session for a reason.
    pub async fn abort(mut self, alert: Alert) {
        if self.session.close(alert).is_ok() {
            // The peer may be gone already.
            let _ = timeout(CLOSE, self.flush()).await;
        }
        super::lingering_close(self.stream).await;
    }
}
