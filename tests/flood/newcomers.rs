//! Newcomers, and how long each of them waited.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use vpn::net::{
    DhPool, Driver, HandshakeContext, Progress, SealedConnection, SealedIoError, Source,
    connect_sealed,
};
use vpn::session::reversed;
use vpn_proto::classic::{ClientHandshake, ClientSession};
use vpn_proto::sealed::{ClientConfig, Event, Kex, SealedError};

use super::attackers::connect;
use crate::support::DEADLINE;
use crate::support::classic::params;

/// A newcomer that is not served within this time has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// In long runs at most one newcomer of a hundred may wait for longer than this.
const SLOW: Duration = Duration::from_secs(1);

pub(super) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A sealed session, as far as the service. Like the program, it comes back once if it was closed
/// without an answer or turned away (PROTOCOL.md §4.7).
pub(super) async fn sealed_session(
    server: SocketAddr,
    from: Ipv4Addr,
    config: Arc<ClientConfig>,
    pool: &DhPool,
) -> Result<SealedConnection, Trouble> {
    let mut connection = match shake_hands(server, from, config.clone(), pool).await {
        Err(SealedIoError::NoAnswer | SealedIoError::Sealed(SealedError::Busy)) => {
            let pause = rand::rng().random_range(100..500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            shake_hands(server, from, config, pool).await?
        }
        shaken => shaken?,
    };
    connection.session().open("message", b"")?;
    match connection.next().await? {
        Event::OpenReply { status: 0, .. } => Ok(connection),
        other => Err(format!("{other:?}").into()),
    }
}

async fn shake_hands(
    server: SocketAddr,
    from: Ipv4Addr,
    config: Arc<ClientConfig>,
    pool: &DhPool,
) -> Result<SealedConnection, SealedIoError> {
    let stream = connect(server, from).await?;
    let place =
        HandshakeContext { pool, source: Source::SELF, deadline: Instant::now() + PATIENCE };
    let kex = Kex::X25519MlKem768;
    Ok(connect_sealed(stream, config, kex, place, |_| Ok::<_, SealedIoError>(()), &|_| {}).await?.0)
}

pub(super) async fn sealed_message(
    connection: &mut SealedConnection,
    text: &str,
) -> Result<(), Trouble> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    let frame = |bytes: &[u8]| [&length, bytes].concat();
    connection.session().send(&frame(text.as_bytes()))?;
    let expected = frame(&reversed(text.as_bytes()));
    let mut got = Vec::new();
    while got.len() < expected.len() {
        match connection.next().await? {
            Event::Data(data) => got.extend_from_slice(&data),
            other => return Err(format!("{other:?}").into()),
        }
    }
    if got == expected { Ok(()) } else { Err("another reply".into()) }
}

/// A classic session, as far as the key.
pub(super) async fn classic_session(
    server: SocketAddr,
    from: Ipv4Addr,
    pool: &DhPool,
) -> Result<(TcpStream, ClientSession), Trouble> {
    let mut stream = connect(server, from).await?;
    let handshake = ClientHandshake::new(params(), &mut rand::rng(), Instant::now());
    let deadline = Instant::now() + PATIENCE;
    let mut driver = Driver::new(&mut stream, handshake, pool, Source::SELF, deadline);
    loop {
        if let Progress::Done(session) = driver.next().await? {
            drop(driver);
            return Ok((stream, session));
        }
    }
}

pub(super) async fn classic_message(
    stream: &mut TcpStream,
    session: &mut ClientSession,
    text: &str,
) -> Result<(), Trouble> {
    let message = session.send(text, Instant::now())?;
    stream.write_all(&message).await?;
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply).await?;
    session.handle_input(&reply, Instant::now());
    session.next_reply(Instant::now())?;
    if reply == reversed(text.as_bytes()) { Ok(()) } else { Err("another reply".into()) }
}

/// Median and 99th percentile, in milliseconds.
pub(super) fn percentiles(times: &mut [Duration]) -> (u128, u128) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_millis();
    if times.is_empty() { (0, 0) } else { (at(50), at(99)) }
}

/// How newcomers of one profile fared.
#[derive(Debug, Default)]
pub(super) struct Fates {
    served: Vec<Duration>,
    failed: Vec<String>,
}

impl Fates {
    pub(super) fn add(&mut self, asked: Instant, fate: Result<Result<(), Trouble>, impl ToString>) {
        match fate.map_err(|e| e.to_string()).and_then(|f| f.map_err(|e| e.to_string())) {
            Ok(()) => self.served.push(asked.elapsed()),
            Err(why) => self.failed.push(why),
        }
    }

    pub(super) fn line(&mut self) -> String {
        let (median, p99) = percentiles(&mut self.served);
        let all = self.served.len() + self.failed.len();
        format!("{} of {all}, median {median} ms, p99 {p99} ms", self.served.len())
    }

    /// What is wrong with it, if anything is: more than one in a hundred was not served, or, among
    /// fewer than that, more than one. How long they waited is printed, and judged only where the
    /// machine has nothing else to do.
    pub(super) fn trouble(&mut self) -> Option<String> {
        let all = self.served.len() + self.failed.len();
        let (_, p99) = percentiles(&mut self.served);
        if self.served.is_empty() || self.failed.len() > (all / 100).max(1) {
            Some(format!("{} of {all} failed: {:?}", self.failed.len(), self.failed.first()))
        } else if std::env::var_os("VPN_FLOOD_STRICT").is_some() && p99 > SLOW.as_millis() {
            Some(format!("p99 is {p99} ms"))
        } else {
            None
        }
    }
}

/// Says something at a person's pace until `end`, and fails if an answer is late; how long each took.
pub(super) async fn talk(
    end: Instant,
    mut ask: impl AsyncFnMut() -> Result<(), Trouble>,
) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut beat = interval(Duration::from_millis(50));
    while Instant::now() < end {
        beat.tick().await;
        let asked = Instant::now();
        timeout(DEADLINE, ask()).await.unwrap().unwrap();
        times.push(asked.elapsed());
    }
    times
}

/// So few newcomers say nothing about how newcomers fare.
const TOO_FEW: usize = 2;

/// Newcomers, one after the other until `end`, and until there are enough of them.
pub(super) async fn come(
    end: Instant,
    mut visit: impl AsyncFnMut() -> Result<(), Trouble>,
) -> Fates {
    let mut fates = Fates::default();
    let mut beat = interval(Duration::from_millis(20));
    while Instant::now() < end || fates.served.len() + fates.failed.len() <= TOO_FEW {
        beat.tick().await;
        let asked = Instant::now();
        fates.add(asked, timeout(PATIENCE, visit()).await);
    }
    fates
}
