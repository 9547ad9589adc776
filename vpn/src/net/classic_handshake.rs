//! Moves bytes between a socket and a handshake of the core.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::admission::Admission;
use super::limits::{CLASSIC_QUEUE, CLOSE, READ};
use super::pool::{DhPool, Job, JobId, PoolError, Priority};
use super::source::Source;
use crate::output::Reason;
use vpn_proto::classic::{Event, Handshake, Note};
use vpn_proto::{DhOutcome, DhTask, HandshakeError, SuiteId};

/// How far a handshake has come.
#[derive(Debug)]
pub enum Progress<S> {
    /// The cipher is agreed on; call again.
    Chosen(SuiteId),
    /// The key is established.
    Done(S),
    /// Something to tell; call again.
    Note(Note),
}

/// Drives a handshake over a socket.
#[derive(Debug)]
pub struct Driver<'a, H> {
    stream: &'a mut TcpStream,
    handshake: H,
    pool: &'a DhPool,
    source: Source,
    admission: Option<&'a Admission>,
    work: JoinSet<Result<DhOutcome, PoolError>>,
    /// Our key pair, not asked for until the client's value is checked: there is a spare one.
    held: Option<DhTask>,
    pair: Option<JobId>,
    secret: Option<JobId>,
    /// Whether the client's value is good.
    is_checked: bool,
    peer: Peer,
    deadline: Instant,
    /// Why it is over, once what is to be told before that was told.
    failed: Option<HandshakeError>,
}

/// What the peer of a server does while the server computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Nothing that we know of.
    Waits,
    /// It has sent more, which is left unread until the handshake is over.
    GoesOn,
    /// It has closed its side and left nothing to read. It may still read.
    Closed,
}

impl<'a, H: Handshake> Driver<'a, H> {
    /// `source` is whose turn in the pool it is, `deadline` when the whole handshake has to be over.
    pub fn new(
        stream: &'a mut TcpStream,
        handshake: H,
        pool: &'a DhPool,
        source: Source,
        deadline: Instant,
    ) -> Self {
        Self {
            stream,
            handshake,
            pool,
            source,
            admission: None,
            work: JoinSet::new(),
            held: None,
            pair: None,
            secret: None,
            is_checked: false,
            peer: Peer::Waits,
            deadline,
            failed: None,
        }
    }

    /// Also tells a server's connection how far it has come.
    #[must_use]
    pub fn admitted(mut self, admission: &'a Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Goes on to the next thing worth telling.
    ///
    /// # Errors
    ///
    /// Why the handshake is over. What the peer is to be told has been sent by then; the caller
    /// closes the connection, best with [`farewell`].
    pub async fn next(&mut self) -> Result<Progress<H::Session>, PumpError> {
        loop {
            if self.failed.is_none() {
                self.flush().await?;
            }
            match self.handshake.poll_event() {
                Some(Event::Chosen(id)) => {
                    self.advance();
                    return Ok(Progress::Chosen(id));
                }
                Some(Event::Note(note)) => return Ok(Progress::Note(note)),
                Some(Event::Compute(task)) => {
                    self.compute(task);
                    continue;
                }
                None => {}
            }
            if let Some(error) = self.failed.take() {
                return Err(PumpError::Handshake(error));
            }
            if let Some(session) = self.handshake.take_session() {
                return Ok(Progress::Done(session));
            }
            let due = self.handshake.poll_timeout().map_or(self.deadline, |t| t.min(self.deadline));
            let is_watched = self.pool.is_for_server() && !self.handshake.wants_input();
            let result = tokio::select! {
                Some(done) = self.work.join_next() => match done {
                    Ok(Ok(outcome)) => self.take(outcome),
                    Ok(Err(PoolError::Full)) => return Err(PumpError::Full),
                    _ => return Err(PumpError::Io(io::ErrorKind::Interrupted.into())),
                },
                noticed = notice(self.stream, self.peer), if is_watched => {
                    self.peer = noticed?;
                    self.rank();
                    match self.admission {
                        Some(admission) if self.peer == Peer::Closed => admission.peer_closed(),
                        _ => self.advance(),
                    }
                    Ok(())
                }
                ready = self.stream.readable(), if self.handshake.wants_input() => {
                    ready?;
                    match read_some(self.stream)? {
                        Input::Bytes(bytes) => {
                            self.handshake.handle_input(&bytes, Instant::now())
                        }
                        Input::Nothing => Ok(()),
                        Input::End => self.handshake.handle_eof(),
                    }
                }
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        return Err(PumpError::TimedOut);
                    }
                    self.handshake.handle_timeout(now)
                }
            };
            if let Err(error) = result {
                // Whether the last words arrive does not change why it is over.
                let _ = timeout(CLOSE, self.flush()).await;
                self.failed = Some(error);
            }
        }
    }

    /// Lets a task wait for its turn.
    fn compute(&mut self, task: DhTask) {
        let ticket = self.pool.new_id();
        match &task {
            // A spare one is not for somebody who may never send a value of its own.
            DhTask::Generate(seed) if !self.is_checked && self.pool.has_spare(seed.group()) => {
                self.held = Some(task);
                return;
            }
            DhTask::Generate(_) => self.pair = Some(ticket),
            DhTask::Agree(..) => self.secret = Some(ticket),
            DhTask::Check(..) => {}
        }
        let (pool, source, rank) = (self.pool.clone(), self.source, self.rank_of(&task));
        let job = Job { source, priority: rank, id: ticket, queue_limit: CLASSIC_QUEUE };
        self.work.spawn(async move { pool.run_task(task, job).await });
    }

    fn rank_of(&self, task: &DhTask) -> Priority {
        match (task, self.peer) {
            (_, Peer::Closed) => Priority::ClassicClosed,
            (DhTask::Check(..), _) => Priority::ClassicCheck,
            (DhTask::Generate(_), _) if self.is_checked => Priority::ClassicPair,
            (DhTask::Generate(_), _) => Priority::ClassicEarly,
            (DhTask::Agree(..), Peer::GoesOn) => Priority::ClassicAwaited,
            (DhTask::Agree(..), _) => Priority::ClassicSecret,
        }
    }

    /// Gives what waits the rank that it has now.
    fn rank(&self) {
        let (pair, secret) = match self.peer {
            Peer::Closed => (Priority::ClassicClosed, Priority::ClassicClosed),
            peer => (
                if self.is_checked { Priority::ClassicPair } else { Priority::ClassicEarly },
                if peer == Peer::GoesOn {
                    Priority::ClassicAwaited
                } else {
                    Priority::ClassicSecret
                },
            ),
        };
        for (ticket, rank) in [(self.pair, pair), (self.secret, secret)] {
            if let Some(ticket) = ticket {
                self.pool.set_priority(ticket, rank);
            }
        }
    }

    fn take(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        if let DhOutcome::Checked(Ok(_)) = outcome {
            self.is_checked = true;
            self.advance();
            self.rank();
            if let Some(task) = self.held.take() {
                self.compute(task);
            }
        }
        let is_pair = matches!(outcome, DhOutcome::Generated(_));
        let result = self.handshake.handle_outcome(outcome);
        if is_pair
            && self.is_checked
            && self.peer == Peer::Waits
            && let Some(admission) = self.admission
        {
            // Our value goes out; what comes next is a message.
            admission.await_peer();
        }
        result
    }

    fn advance(&self) {
        if let Some(admission) = self.admission {
            admission.advance(false);
        }
    }

    async fn flush(&mut self) -> Result<(), PumpError> {
        while let Some(bytes) = self.handshake.poll_transmit() {
            match timeout_at(self.deadline.into(), self.stream.write_all(&bytes)).await {
                Ok(written) => written?,
                Err(_) => return Err(PumpError::TimedOut),
            }
        }
        Ok(())
    }
}

/// Waits for something that changes what is known of a peer that is not read from.
pub(super) async fn notice(stream: &TcpStream, peer: Peer) -> io::Result<Peer> {
    if peer == Peer::Waits {
        return match stream.peek(&mut [0]).await? {
            0 => Ok(Peer::Closed),
            _ => Ok(Peer::GoesOn),
        };
    }
    Err(broken(stream).await)
}

/// Returns once the connection is broken: the peer does not even read any more.
async fn broken(stream: &TcpStream) -> io::Error {
    if let Err(error) = stream.ready(Interest::ERROR).await {
        return error;
    }
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => error,
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
    }
}

/// What a read brought.
#[derive(Debug)]
pub enum Input {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of the peer's stream.
    End,
    /// Nothing yet.
    Nothing,
}

/// Reads what is there, without a buffer that an idle connection would have to keep.
///
/// # Errors
///
/// What the socket says.
pub fn read_some(stream: &TcpStream) -> io::Result<Input> {
    let mut buffer = [0; READ];
    match stream.try_read(&mut buffer) {
        Ok(0) => Ok(Input::End),
        Ok(n) => Ok(Input::Bytes(buffer[..n].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Input::Nothing),
        Err(error) => Err(error),
    }
}

/// Sends bytes within a time.
///
/// # Errors
///
/// What the socket says, or [`io::ErrorKind::TimedOut`] if the peer does not take them.
pub async fn send(
    stream: &mut TcpStream,
    bytes: &[u8],
    within: std::time::Duration,
) -> io::Result<()> {
    timeout(within, stream.write_all(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Closes a connection so that what was sent last arrives.
///
/// A close with unread input would reset the connection, and the peer might never see why; so
/// read on for a moment, and throw it away.
pub async fn farewell(mut stream: TcpStream) {
    let linger = async {
        stream.shutdown().await?;
        loop {
            stream.readable().await?;
            if matches!(read_some(&stream)?, Input::End) {
                return Ok::<(), io::Error>(());
            }
        }
    };
    // There is nobody left to tell about a failure.
    let _ = timeout(CLOSE, linger).await;
}

/// Why a handshake over a socket ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PumpError {
    /// The protocol says so.
    #[error(transparent)]
    Handshake(HandshakeError),
    /// The socket failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// Too many key exchanges wait for their turn, and others go first.
    #[error("turned away: too many key exchanges wait for their turn")]
    Full,
    /// It took too long.
    #[error("the handshake was not over in time")]
    TimedOut,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::net::TcpListener;
    use vpn_suite::{KeySize, Registry};
    use vpn_suites as _;

    use super::*;
    use vpn_proto::classic::{
        ClassicParams, Dialect, DialectPlan, ServerHandshake, Telling, Timing,
    };
    use vpn_proto::{EnabledSuite, Group};

    const DEADLINE: Duration = Duration::from_secs(30);
    const GROUP: Group = Group::Modp2048;

    fn handshake() -> ServerHandshake {
        let suite = Registry::linked().unwrap().find("AES").unwrap();
        let sizes = vec![KeySize::from_bits(256).unwrap()];
        let mut plan = DialectPlan::fixed(Dialect::SPEC);
        plan.base.group = GROUP;
        let params = ClassicParams {
            enabled: vec![EnabledSuite { suite, wire_name: "AES", sizes }].into(),
            plan,
            timing: Timing::default(),
            message_limit: 1 << 16,
            telling: Telling::Nothing,
        };
        ServerHandshake::new(params, &mut rand::rng())
    }

    type Log = Arc<Mutex<Vec<&'static str>>>;

    /// A client that has sent its proposal and its public value, and the server's side of it.
    async fn client(pool: &DhPool, name: &'static str, log: &Log) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        let (pool, log) = (pool.clone(), log.clone());
        tokio::spawn(async move {
            let source = Source::of(Ipv4Addr::LOCALHOST.into());
            let deadline = Instant::now() + DEADLINE;
            let mut driver = Driver::new(&mut served, handshake(), &pool, source, deadline);
            let ended = loop {
                match driver.next().await {
                    Ok(Progress::Done(_)) => break name,
                    Ok(_) => {}
                    Err(_) => break "failed",
                }
            };
            log.lock().unwrap().push(ended);
        });
        let root = GROUP.prime() / 3u8;
        let value = &root * &root % GROUP.prime();
        let words = format!("ProposedCiphers:AES:[256]\nDHMKE:{value}\n");
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    }

    /// Waits until this, and no more, waits for its turn.
    async fn until(pool: &DhPool, ranks: &[Priority]) {
        let reached = async {
            while pool.priorities() != ranks {
                tokio::task::yield_now().await;
            }
        };
        if timeout(DEADLINE, reached).await.is_err() {
            panic!("{:?} instead of {ranks:?}", pool.priorities());
        }
    }

    async fn until_logged(log: &Log, count: usize) {
        let reached = async {
            while log.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, reached).await.unwrap();
    }

    #[tokio::test]
    async fn who_has_closed_its_side_waits_behind_who_has_not() {
        let (pool, log) = (DhPool::for_server(1), Log::default());
        let held = pool.hold().await;
        let mut gone = client(&pool, "gone", &log).await;
        until(&pool, &[Priority::ClassicCheck, Priority::ClassicEarly]).await;
        gone.shutdown().await.unwrap();
        until(&pool, &[Priority::ClassicCheck, Priority::ClassicClosed]).await;
        let _here = client(&pool, "here", &log).await;
        until(
            &pool,
            &[
                Priority::ClassicCheck,
                Priority::ClassicCheck,
                Priority::ClassicEarly,
                Priority::ClassicClosed,
            ],
        )
        .await;
        drop(held);
        until_logged(&log, 2).await;
        assert_eq!(*log.lock().unwrap(), ["here", "gone"]);
    }

    #[tokio::test]
    async fn who_has_gone_for_good_costs_no_computation() {
        let (pool, log) = (DhPool::for_server(1), Log::default());
        let _held = pool.hold().await;
        let gone = client(&pool, "gone", &log).await;
        until(&pool, &[Priority::ClassicCheck, Priority::ClassicEarly]).await;
        // A reset.
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        until_logged(&log, 1).await;
        assert_eq!(*log.lock().unwrap(), ["failed"]);
        until(&pool, &[]).await;
    }
}
