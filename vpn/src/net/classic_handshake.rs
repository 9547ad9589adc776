//! The handshake of the classic profile over a socket (PROTOCOL.md §3.1).

use std::io;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::admission::Admission;
use super::limits::{CLASSIC_QUEUE, CLOSE};
use super::pool::{DhPool, Job, JobId, PoolError, Priority};
use super::socket::{Input, PeerState, read_some, watch_peer};
use super::source::Source;
use crate::output::Reason;
use vpn_proto::classic::{Event, Handshake, Note};
use vpn_proto::{DhOutcome, DhTask, HandshakeError, SuiteId};

/// The result of [`Driver::next`].
#[derive(Debug)]
pub enum Progress<S> {
    /// The cipher is agreed on. Call [`Driver::next`] again.
    Chosen(SuiteId),
    /// The key is established.
    Done(S),
    /// A note for the user. Call [`Driver::next`] again.
    Note(Note),
}

/// Drives a classic handshake over a socket.
#[derive(Debug)]
pub struct Driver<'a, H> {
    stream: &'a mut TcpStream,
    handshake: H,
    pool: &'a DhPool,
    source: Source,
    admission: Option<&'a Admission>,
    tasks: JoinSet<Result<DhOutcome, PoolError>>,
    /// The task for our key pair, while it waits for the check of the client's value. There is a spare
    /// pair for it.
    deferred: Option<DhTask>,
    pair: Option<JobId>,
    secret: Option<JobId>,
    /// Whether the client's value is good.
    is_checked: bool,
    peer: PeerState,
    deadline: Instant,
    /// Why the handshake has failed. It is returned after the events before it.
    failed: Option<HandshakeError>,
}

impl<'a, H: Handshake> Driver<'a, H> {
    /// A driver that has not sent anything yet.
    ///
    /// Computations run in `pool` and count for `source`. The whole handshake has to be complete at
    /// `deadline`.
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
            tasks: JoinSet::new(),
            deferred: None,
            pair: None,
            secret: None,
            is_checked: false,
            peer: PeerState::Waiting,
            deadline,
            failed: None,
        }
    }

    /// Reports the progress of the handshake to the admission of this connection too.
    #[must_use]
    pub fn admitted(mut self, admission: &'a Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Continues until there is something to report.
    ///
    /// Cancel safety: none. If the future is dropped, a message may be sent in part.
    ///
    /// # Errors
    ///
    /// [`ClassicIoError`] if the handshake has failed. The message for the peer is sent by then. The caller
    /// closes the connection, best with [`lingering_close`](super::lingering_close).
    pub async fn next(&mut self) -> Result<Progress<H::Session>, ClassicIoError> {
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
                return Err(ClassicIoError::Handshake(error));
            }
            if let Some(session) = self.handshake.take_session() {
                return Ok(Progress::Done(session));
            }
            if let Err(error) = self.step().await? {
                // If the message does not arrive, the handshake has failed for the same reason.
                let _ = timeout(CLOSE, self.flush()).await;
                self.failed = Some(error);
            }
        }
    }

    /// Waits for input, the result of a computation, a change of the peer or the next timeout, and
    /// handles it. The inner error is that of the protocol.
    async fn step(&mut self) -> Result<Result<(), HandshakeError>, ClassicIoError> {
        let due = self.handshake.poll_timeout().map_or(self.deadline, |t| t.min(self.deadline));
        let is_watched = self.pool.is_for_server() && !self.handshake.wants_input();
        Ok(tokio::select! {
            Some(done) = self.tasks.join_next() => match done {
                Ok(Ok(outcome)) => self.handle_outcome(outcome),
                Ok(Err(PoolError::Full)) => return Err(ClassicIoError::Full),
                _ => return Err(ClassicIoError::Io(io::ErrorKind::Interrupted.into())),
            },
            peer = watch_peer(self.stream, self.peer), if is_watched => {
                self.handle_peer(peer?);
                Ok(())
            }
            ready = self.stream.readable(), if self.handshake.wants_input() => {
                ready?;
                match read_some(self.stream)? {
                    Input::Bytes(bytes) => self.handshake.handle_input(&bytes, Instant::now()),
                    Input::Nothing => Ok(()),
                    Input::End => self.handshake.handle_eof(),
                }
            }
            () = sleep_until(due.into()) => {
                let now = Instant::now();
                if now >= self.deadline {
                    return Err(ClassicIoError::TimedOut);
                }
                self.handshake.handle_timeout(now)
            }
        })
    }

    /// Gives a task to the pool.
    fn compute(&mut self, task: DhTask) {
        let id = self.pool.new_id();
        match &task {
            // A client that may never send its value gets no spare pair.
            DhTask::Generate(seed) if !self.is_checked && self.pool.has_spare(seed.group()) => {
                self.deferred = Some(task);
                return;
            }
            DhTask::Generate(_) => self.pair = Some(id),
            DhTask::Agree(..) => self.secret = Some(id),
            DhTask::Check(..) => {}
        }
        let priority = match task {
            _ if self.peer == PeerState::Closed => Priority::ClassicClosed,
            DhTask::Check(..) => Priority::ClassicCheck,
            DhTask::Generate(_) => self.pair_priority(),
            DhTask::Agree(..) => self.secret_priority(),
        };
        let (pool, source) = (self.pool.clone(), self.source);
        let job = Job { source, priority, id, queue_limit: CLASSIC_QUEUE };
        self.tasks.spawn(async move { pool.run_task(task, job).await });
    }

    /// The priority of our key pair.
    fn pair_priority(&self) -> Priority {
        match self.peer {
            PeerState::Closed => Priority::ClassicClosed,
            _ if self.is_checked => Priority::ClassicPair,
            _ => Priority::ClassicEarly,
        }
    }

    /// The priority of the secret.
    fn secret_priority(&self) -> Priority {
        match self.peer {
            PeerState::Closed => Priority::ClassicClosed,
            PeerState::HasSent => Priority::ClassicAwaited,
            PeerState::Waiting => Priority::ClassicSecret,
        }
    }

    /// Gives waiting tasks the priority that they have now.
    fn update_priorities(&self) {
        let jobs = [(self.pair, self.pair_priority()), (self.secret, self.secret_priority())];
        for (id, priority) in jobs {
            if let Some(id) = id {
                self.pool.set_priority(id, priority);
            }
        }
    }

    fn handle_outcome(&mut self, outcome: DhOutcome) -> Result<(), HandshakeError> {
        if let DhOutcome::Checked(Ok(_)) = outcome {
            self.is_checked = true;
            self.advance();
            self.update_priorities();
            if let Some(task) = self.deferred.take() {
                self.compute(task);
            }
        }
        let is_pair = matches!(outcome, DhOutcome::Generated(_));
        let result = self.handshake.handle_outcome(outcome);
        if is_pair
            && self.is_checked
            && self.peer == PeerState::Waiting
            && let Some(admission) = self.admission
        {
            // Our value is sent now. The client's next message is the first one of the session.
            admission.await_peer();
        }
        result
    }

    fn handle_peer(&mut self, peer: PeerState) {
        self.peer = peer;
        self.update_priorities();
        match self.admission {
            Some(admission) if peer == PeerState::Closed => admission.peer_closed(),
            _ => self.advance(),
        }
    }

    fn advance(&self) {
        if let Some(admission) = self.admission {
            admission.advance(false);
        }
    }

    async fn flush(&mut self) -> Result<(), ClassicIoError> {
        while let Some(bytes) = self.handshake.poll_transmit() {
            match timeout_at(self.deadline.into(), self.stream.write_all(&bytes)).await {
                Ok(written) => written?,
                Err(_) => return Err(ClassicIoError::TimedOut),
            }
        }
        Ok(())
    }
}

/// Why a classic handshake over a socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassicIoError {
    /// The protocol failed.
    #[error(transparent)]
    Handshake(HandshakeError),
    /// The socket failed.
    #[error("the connection failed: {}", Reason(.0))]
    Io(#[from] io::Error),
    /// The queue for computations is full.
    #[error("turned away: too many key exchanges wait for their turn")]
    Full,
    /// The deadline has passed.
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

    /// A client that has sent its proposal and its public value. A server for it runs in the background,
    /// and logs `name` when the handshake is complete.
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

    /// Waits until exactly these computations are in the queue.
    async fn until(pool: &DhPool, priorities: &[Priority]) {
        let reached = async {
            while pool.priorities() != priorities {
                tokio::task::yield_now().await;
            }
        };
        if timeout(DEADLINE, reached).await.is_err() {
            panic!("{:?} instead of {priorities:?}", pool.priorities());
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
    async fn a_client_that_has_closed_its_side_waits_behind_one_that_has_not() {
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
        // Both are served. The order is not certain: while neither has a computation in the queue, the
        // pool takes the first that comes.
        until_logged(&log, 2).await;
        let mut served = log.lock().unwrap().clone();
        served.sort_unstable();
        assert_eq!(served, ["gone", "here"]);
    }

    #[tokio::test]
    async fn a_client_that_has_reset_the_connection_costs_no_computation() {
        let (pool, log) = (DhPool::for_server(1), Log::default());
        let _held = pool.hold().await;
        let gone = client(&pool, "gone", &log).await;
        until(&pool, &[Priority::ClassicCheck, Priority::ClassicEarly]).await;
        // Without linger time, a close is a reset.
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        until_logged(&log, 1).await;
        assert_eq!(*log.lock().unwrap(), ["failed"]);
        until(&pool, &[]).await;
    }
}
