//! A client's sessions with channels, which stay up: each carrier connects again when it is cut.

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::forwards::RemoteForward;
use super::multiplexed::{CHANNELS, CHANNELS_VERSION};
use super::remote_client::RemoteClient;
use crate::net::limits::{CLOSE, Limits, USER_TIMEOUT};
use crate::net::{
    Backoff, ChannelStream, DriveEnd, Multiplexer, OpenRefused, PathWatch, Request, SealedIoError,
    drive,
};
use crate::output::chain;
use crate::session::{
    ClientError, ClientOptions, Connected, Output, Untrusted, connect_sealed_client, may_help,
};
use crate::trust::fingerprint;
use vpn_proto::SessionError;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{
    Alert, ChannelLimits, ClientConfig, OpenStatus, PeerIdentity, SealedError,
};

/// A client sends a ping after this time without a record, so that a dead path is noticed.
const PING: Duration = Duration::from_secs(15);
/// How long the answer to a ping may take after the machine was suspended or has changed its address.
const PROBE: Duration = Duration::from_secs(3);
/// How soon the next attempt may come if a program wants a connection.
const WANTED: Duration = Duration::from_secs(1);
/// The most reasons that are told as warnings.
const TOLD: usize = 100;
/// A session that lasted this long was a success.
const LASTING: Duration = Duration::from_secs(1);

/// The check of a server's key.
pub(crate) type CheckServer = Box<dyn FnMut(PeerIdentity) -> Result<(), Untrusted> + Send>;

/// The server that all sessions of a client must have.
pub(super) struct TheServer {
    check: CheckServer,
    /// The server of the sessions so far.
    seen: Option<PeerIdentity>,
}

impl TheServer {
    /// `check` decides about the server of the first session.
    pub(super) fn new(check: CheckServer) -> Mutex<Self> {
        Mutex::new(Self { check, seen: None })
    }

    /// Checks the server of a session.
    ///
    /// # Errors
    ///
    /// [`Untrusted`] if it is not trusted, or if it is another one than before.
    fn check(&mut self, peer: PeerIdentity) -> Result<(), Untrusted> {
        let Some(seen) = self.seen else { return (self.check)(peer) };
        if seen == peer {
            return Ok(());
        }
        let (before, now) = (shown(seen), shown(peer));
        Err(Untrusted {
            reason: format!("the server has changed: it was {before} and is {now}"),
            hint: "an attacker may be in between; if the change is right, start the client again"
                .to_owned(),
        })
    }
}

/// A server, for the user.
fn shown(server: PeerIdentity) -> String {
    match server {
        PeerIdentity::Key(key) => fingerprint(&key),
        PeerIdentity::PskOnly => "the holder of the PSK".to_owned(),
    }
}

/// When a client connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Never.
    Off,
    /// When a session is cut. A failure of the first attempt ends the client: a wrong name is noticed
    /// at once.
    AfterCut,
    /// Always, from the first attempt on.
    Always,
}

/// The sessions of a client. New channels go to the carrier that has the least to send.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    carriers: Arc<[Mutex<Option<Multiplexer>>]>,
    /// The refusals that the user has seen.
    told: Arc<Mutex<HashSet<String>>>,
    is_closed: Arc<AtomicBool>,
    /// Somebody wants a channel, and there is no session.
    wanted: Arc<Notify>,
}

impl Uplink {
    /// This many carriers, none of them connected.
    pub(super) fn new(carriers: usize) -> Self {
        let carriers = (0..carriers.max(1)).map(|_| Mutex::new(None)).collect();
        Self { carriers, told: Arc::default(), is_closed: Arc::default(), wanted: Arc::default() }
    }

    /// Closes all sessions. They are not connected again.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.carriers.iter().filter_map(|carrier| lock(carrier).clone()).for_each(|c| c.close());
    }

    /// Tells the user that a target was not reached: each reason once, because programs try again.
    pub(super) fn tell_refusal(&self, target: &str, refused: &OpenRefused) {
        let line = format!("forward to {target}: {refused}");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.len() < TOLD && told.insert(line.clone()) {
            true => log::warn!("{line}"),
            false => log::info!("{line}"),
        }
    }

    /// Opens a channel. It does not wait for a session.
    ///
    /// # Errors
    ///
    /// [`OpenRefused`] if there is no session, or if it has too many channels.
    pub(super) fn open(&self, kind: &str, argument: &[u8]) -> Result<ChannelStream, OpenRefused> {
        let connected = self.carriers.iter().filter_map(|carrier| lock(carrier).clone());
        // One that closes has the least to do, but it takes nothing more.
        let connected = connected.filter(Multiplexer::is_open);
        match connected.min_by_key(|channels| (channels.queued(), channels.count())) {
            Some(channels) => channels.open(kind, argument),
            None => {
                self.wanted.notify_waiters();
                let text = "not connected to the server".to_owned();
                Err(OpenRefused { status: OpenStatus::Unreachable, text })
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What each carrier needs to connect.
pub(super) struct Carrier<'a> {
    pub(super) options: &'a ClientOptions,
    pub(super) config: Arc<ClientConfig>,
    pub(super) limits: Limits,
    pub(super) server: &'a Mutex<TheServer>,
    pub(super) out: &'a Output,
    pub(super) reconnect: Reconnect,
    /// The forwards that listen at the server. Only one carrier has them.
    pub(super) remote: &'a [RemoteForward],
    pub(super) uplink: &'a Uplink,
    pub(super) index: usize,
    /// Whether it had a session before.
    pub(super) has_been_up: bool,
}

impl Carrier<'_> {
    /// Keeps a session up until it is of no use to try again. `first` is a session that is connected
    /// already.
    ///
    /// # Errors
    ///
    /// The last failure.
    pub(super) async fn keep_up(mut self, first: Option<Connected>) -> Result<(), ClientError> {
        let mut backoff = Backoff::new();
        let mut session = first;
        loop {
            let connected = match session.take() {
                Some(session) => Ok(session),
                None => self.connect_again().await,
            };
            let (failure, was_success) = match connected {
                Ok(session) => self.run(session).await,
                Err(error) => (error, false),
            };
            let is_closed = self.uplink.is_closed.load(Ordering::Relaxed);
            // A session may last only so long, and the next one begins anew.
            let is_worth_it = may_help(&failure) || (was_success && is_limit(&failure));
            if is_closed || self.reconnect == Reconnect::Off || !is_worth_it {
                return Err(failure);
            }
            if was_success {
                backoff.reset();
            }
            let pause = backoff.next_delay();
            log::warn!("{}; connecting again in {:.1} s", chain(&failure), pause.as_secs_f32());
            // A program that wants a connection makes the next attempt come sooner.
            let wanted = async {
                sleep(WANTED.min(pause)).await;
                self.uplink.wanted.notified().await;
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = wanted => {}
            }
        }
    }

    /// Connects and opens the channels. All later sessions must have the same server as this one.
    ///
    /// # Errors
    ///
    /// Why there is no session.
    pub(super) async fn connect(&mut self) -> Result<Connected, ClientError> {
        let Self { options, limits, out, server, .. } = *self;
        let check = |peer| lock(server).check(peer);
        let connecting = connect_sealed_client(options, self.config.clone(), limits, out, check);
        let mut session = Box::pin(connecting).await?;
        lock(server).seen = Some(session.server);
        session.open(CHANNELS, CHANNELS_VERSION).await?;
        if let PeerIdentity::Key(key) = session.server {
            let config = ClientConfig::clone(&self.config);
            self.config = Arc::new(ClientConfig { server_key: Some(key), ..config });
        }
        Ok(session)
    }

    /// Connects without the lines of the first session.
    async fn connect_again(&mut self) -> Result<Connected, ClientError> {
        let out = self.out;
        let quiet = Output::nowhere();
        let mut again = Carrier { out: &quiet, config: self.config.clone(), ..*self };
        let session = again.connect().await?;
        self.config = again.config;
        log::info!("carrier {} is connected", self.index + 1);
        if self.has_been_up {
            out.tell("connected again");
        }
        Ok(session)
    }

    /// Runs a session until it ends. Returns why it ended, and whether it was a success: it lasted for a
    /// while, or it was used.
    async fn run(&mut self, session: Connected) -> (ClientError, bool) {
        self.has_been_up = true;
        let began = Instant::now();
        let explanations = self.out.explaining(&self.options.observers).await;
        let channels = Multiplexer::new(Role::Client, ChannelLimits::default());
        let channels = channels.explained_to(explanations);
        let failure = self.run_channels(session, &channels).await;
        (failure, channels.was_used() || began.elapsed() >= LASTING)
    }

    async fn run_channels(&self, session: Connected, channels: &Multiplexer) -> ClientError {
        let Connected { mut connection, .. } = session;
        connection.ping_every(Some(PING));
        connection.expect_pings(Some(PING));
        connection.set_user_timeout(USER_TIMEOUT);
        let mut watch = connection.local_address().map(PathWatch::new);
        let carrier = &self.uplink.carriers[self.index];
        let _connected = Connection::new(carrier, channels);
        let remote = RemoteClient::new(channels, self.remote);
        // A task of its own runs right after that of a channel which has sent something.
        let mut tasks = JoinSet::new();
        let driven = channels.clone();
        tasks.spawn(async move { drive(connection, &driven).await });
        let driving = async {
            match tasks.join_next().await {
                Some(Ok(ended)) => ended,
                // It does not panic, and it is ended only with this future.
                _ => Err(SealedIoError::Silent),
            }
        };
        let listening = remote.listen(self.out, self.reconnect != Reconnect::Off);
        tokio::pin!(driving, listening);
        let mut is_listening = true;
        loop {
            let disturbed = async {
                match &mut watch {
                    Some(watch) => watch.disturbed().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                ended = &mut driving => return failure(ended),
                listened = &mut listening, if is_listening => {
                    is_listening = false;
                    if let Err(error) = listened {
                        channels.close();
                        // The server learns that it is no cut.
                        let _ = timeout(CLOSE, driving).await;
                        return error;
                    }
                }
                request = channels.next_request() => match request {
                    Some(Request::Channel { channel, kind, argument }) => {
                        remote.serve(channel, &kind, &argument);
                    }
                    // The core refuses questions of a server.
                    Some(Request::Question { .. }) => {}
                    None => return failure((&mut driving).await),
                },
                disturbance = disturbed => {
                    log::info!("{disturbance:?}: asking the server for a sign of life");
                    channels.probe(PROBE);
                }
            }
        }
    }
}

/// Whether a limit of one session ended it: its time, its bytes or its numbers.
fn is_limit(failure: &ClientError) -> bool {
    let ClientError::Sealed(SealedIoError::Sealed(error)) = failure else { return false };
    matches!(error, SealedError::Limit(_) | SealedError::Alert(Alert::Policy))
}

/// The end of a session, as a failure: a client with forwards does not end it.
fn failure(ended: Result<DriveEnd, SealedIoError>) -> ClientError {
    match ended {
        Ok(_) => SessionError::Closed.into(),
        Err(error) => error.into(),
    }
}

/// Makes the channels of a session available until it is dropped.
struct Connection<'a>(&'a Mutex<Option<Multiplexer>>);

impl<'a> Connection<'a> {
    fn new(carrier: &'a Mutex<Option<Multiplexer>>, channels: &Multiplexer) -> Self {
        *lock(carrier) = Some(channels.clone());
        Self(carrier)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}
