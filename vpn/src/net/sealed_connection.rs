//! An established session of the sealed profile with its socket.

use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use zeroize::Zeroizing;

use super::limits::{CLOSE, KEEPALIVE, KEEPALIVES_MISSED, REPLY};
use super::pings::Pings;
use super::pool::DhPool;
use super::sealed_error::SealedIoError;
use super::sealed_rekey::{KexResult, Rekey};
use super::socket::lingering_close;
use super::source::Source;
use vpn_proto::sealed::{Alert, Event, SealedError, Session};

/// Nothing more is read while more than this many bytes wait to be sent. A pipe has a few times less
/// on the way.
const MAX_UNSENT: usize = 1024 * 1024;
/// The size of the first reads, in bytes. It grows to a whole batch for a peer that keeps sending.
const MIN_READ: usize = 4 * 1024;
/// The buffers are freed after this time without traffic.
const QUIET: Duration = Duration::from_secs(1);

/// A session of the sealed profile and its socket.
///
/// It sends, receives, and does by itself what services need not know about: fresh key exchanges of
/// both sides, pings, and the check that the peer is alive.
#[derive(Debug)]
pub struct SealedConnection {
    pub(super) stream: TcpStream,
    pub(super) session: Session,
    /// Sealed bytes that wait to be sent, and how many of them are sent.
    output: Vec<u8>,
    sent: usize,
    /// The error that ended sending. Reading continues, because the peer may have said why.
    write_error: Option<io::Error>,
    /// The size of the next read, and its maximum. `None` allows whole batches.
    read_size: usize,
    max_read: Option<usize>,
    rekey: Rekey,
    pub(super) pings: Pings,
    /// A ping is sent after this time without a record of ours.
    ping_interval: Option<Duration>,
    /// The peer counts as gone after this time without a byte from it.
    peer_timeout: Option<Duration>,
    /// Something has to come from the peer before this time.
    pub(super) probe: Option<Instant>,
    last_received: Instant,
    last_sent: Instant,
    /// Whether there are buffers to free when it is quiet.
    has_buffers: bool,
    is_paused: bool,
    /// Whether a read took everything that had arrived.
    pub(super) has_drained: bool,
    /// Whether the peer's stream has ended.
    is_read_closed: bool,
}

/// The result of [`SealedConnection::advance`].
#[derive(Debug)]
pub enum IoEvent {
    /// An event of the session.
    Event(Event),
    /// Everything sealed so far was handed to the socket.
    Flushed,
}

/// Why a wait ended.
enum Wakeup {
    Kex(Option<KexResult>),
    Socket(Ready),
    Timeout,
}

impl SealedConnection {
    /// A connection for a session whose handshake is complete. `rest` is what was read behind the
    /// handshake. Fresh key exchanges are computed in `pool` and count for `source`.
    pub(super) fn new(
        stream: TcpStream,
        mut session: Session,
        rest: &[u8],
        pool: &DhPool,
        source: Source,
    ) -> Self {
        // The session returns an error again, after the events before it.
        let _ = session.handle_input(rest);
        let now = Instant::now();
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            // A peer that is gone is noticed later then: when something is sent to it.
            log::debug!("no keepalive: {error}");
        }
        Self {
            stream,
            session,
            output: Vec::new(),
            sent: 0,
            write_error: None,
            read_size: MIN_READ,
            max_read: None,
            rekey: Rekey::new(pool, source),
            pings: Pings::default(),
            ping_interval: None,
            peer_timeout: None,
            probe: None,
            last_received: now,
            last_sent: now,
            has_buffers: false,
            is_paused: false,
            has_drained: false,
            is_read_closed: false,
        }
    }

    /// With true, nothing is read and no event is returned until it is called with false. Sending
    /// continues.
    pub fn pause_reading(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Sets the most bytes that one read takes. It is for services that move little data: a session
    /// holds a few times this much memory.
    pub fn read_at_most(&mut self, bytes: usize) {
        self.max_read = Some(bytes);
        self.session.expect_pieces(bytes);
    }

    /// Sends a ping whenever nothing was sent for this time, as a server may ask for in its Ready.
    /// `None` sends no pings.
    pub fn ping_every(&mut self, silence: Option<Duration>) {
        self.ping_interval = silence;
    }

    /// Ends the session when the peer, which was asked for a ping in this interval, sends nothing for
    /// [`KEEPALIVES_MISSED`] intervals. With `None` it never does: a service whose client may be stopped
    /// by another program needs that.
    pub fn expect_pings(&mut self, every: Option<Duration>) {
        self.peer_timeout = every.map(|every| every * KEEPALIVES_MISSED);
        self.last_received = Instant::now();
    }

    /// The session, for example to seal data. What it seals is sent by [`SealedConnection::advance`] or
    /// [`SealedConnection::flush`].
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Takes what the session has sealed into the output, so that [`SealedConnection::is_flushed`]
    /// counts it. Nothing is sent yet.
    pub fn stage(&mut self) {
        if self.is_flushed() {
            self.output.clear();
            self.sent = 0;
        }
        let before = self.output.len();
        self.session.take_output(&mut self.output);
        if self.output.len() > before {
            self.last_sent = Instant::now();
            self.has_buffers = true;
        }
    }

    /// Whether the whole output was handed to the socket.
    pub fn is_flushed(&self) -> bool {
        self.sent == self.output.len()
    }

    /// Returns the buffer of an [`Event::Data`] for reuse.
    pub fn recycle(&mut self, buffer: Zeroizing<Vec<u8>>) {
        self.session.recycle(buffer);
        self.has_buffers = true;
    }

    /// Sends and receives until there is an event, or until everything sealed was handed to the socket.
    ///
    /// Cancel safety: nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`SealedIoError`] if the session has ended. The alert for the peer is sent by then.
    pub async fn advance(&mut self) -> Result<IoEvent, SealedIoError> {
        let result = self.drive().await;
        if result.is_err() {
            // If the alert does not arrive, the session has ended for the same reason.
            let _ = timeout(CLOSE, self.flush()).await;
        }
        result
    }

    async fn drive(&mut self) -> Result<IoEvent, SealedIoError> {
        loop {
            // Also looked at here: under constant traffic the wait below may never get to it.
            if let Poll::Ready(result) = self.rekey.poll_result().await {
                self.rekey.handle_result(result, &mut self.session)?;
            }
            if let Some(event) = self.poll_event() {
                return Ok(IoEvent::Event(event));
            }
            self.handle_timeout(Instant::now())?;
            self.stage();
            if !self.is_flushed() && self.send()? {
                return Ok(IoEvent::Flushed);
            }
            let is_reading = self.is_reading();
            match self.wait(is_reading).await? {
                Wakeup::Socket(ready)
                    if is_reading && (ready.is_readable() || ready.is_read_closed()) =>
                {
                    self.receive()?;
                }
                Wakeup::Socket(_) | Wakeup::Timeout => {}
                Wakeup::Kex(result) => self.rekey.handle_result(result, &mut self.session)?,
            }
        }
    }

    /// The next event for the caller. All events of the session are taken before more is read.
    fn poll_event(&mut self) -> Option<Event> {
        while !self.is_paused
            && let Some(event) = self.session.poll_event()
        {
            if let Some(event) = self.handle_internal(event) {
                return Some(event);
            }
        }
        None
    }

    /// Handles an event that no service needs to know about. Returns any other event.
    fn handle_internal(&mut self, event: Event) -> Option<Event> {
        match self.rekey.handle_event(event, &self.session)? {
            Event::Pong(payload) => {
                self.pings.handle_pong(&payload, Instant::now());
                None
            }
            event => Some(event),
        }
    }

    /// The next event of the session, if there is one already.
    pub fn ready_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    /// Whether the socket is read now. A peer is not read while it does not take our replies, and while
    /// its records wait for our key exchange.
    fn is_reading(&self) -> bool {
        !self.is_paused
            && !self.is_read_closed
            && (self.unsent() <= MAX_UNSENT || self.write_error.is_some())
            && !self.session.has_backlog()
    }

    /// The sealed bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Waits until the socket is ready, a computation is complete or a timeout is due.
    async fn wait(&mut self, is_reading: bool) -> Result<Wakeup, SealedIoError> {
        let is_writing = self.unsent() > 0 && self.write_error.is_none();
        let interest = match (is_reading, is_writing) {
            (true, false) => Some(Interest::READABLE),
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, false) => None,
            (false, true) => Some(Interest::WRITABLE),
        };
        let due = self.next_timeout();
        let (stream, rekey) = (&self.stream, &mut self.rekey);
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
        Ok(tokio::select! {
            biased;
            ready = ready => Wakeup::Socket(ready?),
            result = rekey.result() => Wakeup::Kex(result),
            () = time => Wakeup::Timeout,
        })
    }

    /// Gives the socket as much output as it takes. Returns whether that was all.
    fn send(&mut self) -> Result<bool, SealedIoError> {
        if self.write_error.is_some() {
            // Reading tells why the session has ended, as long as there is something to read.
            return match self.write_error.take_if(|_| self.is_read_closed) {
                Some(error) => Err(error.into()),
                None => Ok(false),
            };
        }
        match self.stream.try_write(&self.output[self.sent..]) {
            Ok(written) => self.sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What the peer sent before it went is still to be read.
            Err(error) => self.write_error = Some(error),
        }
        Ok(self.is_flushed())
    }

    /// Reads what the socket has, up to the size of a read.
    fn receive(&mut self) -> Result<(), SealedIoError> {
        // A read takes one batch. So batches stay aligned with those of the sender, which are as long.
        let batch = self.session.batch_length();
        let max = self.max_read.map_or(batch, |max| max.min(batch));
        let input = self.session.input_buffer();
        let size = self.read_size.min(max.saturating_sub(input.len())).max(1);
        input.reserve_exact(size);
        let result = match self.stream.try_read_buf(input) {
            Ok(0) => {
                self.is_read_closed = true;
                self.session.handle_eof()
            }
            Ok(count) => {
                self.last_received = Instant::now();
                self.probe = None;
                self.has_buffers = true;
                self.has_drained |= count < size;
                if count >= size {
                    self.read_size = (self.read_size * 2).min(max);
                }
                self.session.handle_buffer()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match result {
            // Events before the error come first. The session returns the error again then.
            Err(error) if !self.session.has_event() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The time of the next timeout.
    fn next_timeout(&self) -> Option<Instant> {
        let ping = self.ping_interval.map(|silence| self.last_sent + silence);
        let gone = self.peer_timeout.map(|time| self.last_received + time);
        let quiet = self.has_buffers.then(|| self.last_received.max(self.last_sent) + QUIET);
        let timeouts = [self.session.poll_timeout(), ping, gone, quiet, self.probe];
        timeouts.into_iter().flatten().min()
    }

    /// Handles every timeout that is due at `now`.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), SealedIoError> {
        self.session.handle_timeout(now)?;
        self.rekey.start_if_due(&self.session);
        let has_passed = |since: Instant, time: Option<Duration>| {
            time.is_some_and(|time| now.saturating_duration_since(since) >= time)
        };
        let is_unanswered = self.probe.is_some_and(|until| now >= until);
        if is_unanswered || has_passed(self.last_received, self.peer_timeout) {
            self.session.close(Alert::Timeout)?;
            return Err(SealedIoError::Silent);
        }
        if has_passed(self.last_sent, self.ping_interval) {
            self.last_sent = now;
            self.measure_round_trip();
        }
        let last_traffic = self.last_received.max(self.last_sent);
        if has_passed(last_traffic, self.has_buffers.then_some(QUIET)) {
            self.free_buffers();
        }
        Ok(())
    }

    fn free_buffers(&mut self) {
        self.session.shrink();
        if self.is_flushed() {
            self.output = Vec::new();
            self.sent = 0;
        }
        self.read_size = MIN_READ;
        self.has_buffers = false;
    }

    /// Sends everything that the session has sealed, within [`REPLY`].
    ///
    /// Cancel safety: nothing is lost if the future is dropped. What is not sent yet is sent later.
    ///
    /// # Errors
    ///
    /// The error of the socket, or [`io::ErrorKind::TimedOut`].
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

    /// Waits for the next event of the session.
    ///
    /// Cancel safety: nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// As [`SealedConnection::advance`].
    pub async fn next(&mut self) -> Result<Event, SealedIoError> {
        loop {
            if let IoEvent::Event(event) = self.advance().await? {
                return Ok(event);
            }
        }
    }

    /// Sends close_notify, waits for that of the peer for the time `within`, and closes the connection.
    /// It is also the answer to a peer that has sent close_notify first.
    ///
    /// # Errors
    ///
    /// [`SealedIoError`] if the peer's close_notify did not come.
    pub async fn close(mut self, within: Duration) -> Result<(), SealedIoError> {
        let closed = timeout(within, self.exchange_close_notify()).await;
        lingering_close(self.stream).await;
        closed.unwrap_or_else(|_| Err(SealedError::Cut.into()))
    }

    /// As [`SealedConnection::close`], without a limit of time: the peer may first have to process what
    /// it was sent.
    ///
    /// # Errors
    ///
    /// As [`SealedConnection::close`].
    pub async fn close_when_peer_does(mut self) -> Result<(), SealedIoError> {
        let closed = self.exchange_close_notify().await;
        lingering_close(self.stream).await;
        closed
    }

    async fn exchange_close_notify(&mut self) -> Result<(), SealedIoError> {
        self.session.close(Alert::CloseNotify)?;
        while !self.session.is_closed() {
            self.next().await?;
        }
        Ok(self.flush().await?)
    }

    /// Sends an alert, if the session is still open, and closes the connection. It waits for
    /// [`CLOSE`] at most for each.
    pub async fn abort(mut self, alert: Alert) {
        if self.session.close(alert).is_ok() {
            // The peer may be gone already.
            let _ = timeout(CLOSE, self.flush()).await;
        }
        lingering_close(self.stream).await;
    }
}
