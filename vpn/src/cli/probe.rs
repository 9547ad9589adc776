//! `vpn probe`: what a server speaks, without showing it who we are.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use vpn_suite::{CipherSuite, KeySize, Registry};

use super::args::ProbeArgs;
use super::failure::{Exit, Failure};
use super::{Threads, described, print, runtime};
use crate::config::{Overrides, Settings};
use crate::net::limits::SEALED_HANDSHAKE;
use crate::net::{
    DhPool, DialError, Driver, HandshakeContext, HandshakeEvent, Progress, SealedIoError, Source,
    connect, connect_sealed, endpoint,
};
use crate::session::ClientError;
use crate::trust::{ServerName, fingerprint};
use vpn_proto::EnabledSuite;
use vpn_proto::classic::ClientHandshake;
use vpn_proto::sealed::{ClientConfig, Kex, Limits, PeerIdentity, SealedError};

pub(super) fn run(args: &ProbeArgs, registry: &Registry) -> Result<(), Failure> {
    let (server, config) = described::probe(args)?;
    let settings = Settings::load(config.as_deref(), registry, &Overrides::default())?;
    let pool = DhPool::new(settings.limits.net.dh_workers);
    let probe = Probe { server: &server, settings, registry, pool, is_reached: Cell::new(false) };
    let runtime = runtime(Threads::One)?;
    // A server that does not answer in one profile is not to hold up the other.
    let both = async { tokio::join!(probe.within(probe.sealed()), probe.within(probe.classic())) };
    let (sealed, classic) = runtime.block_on(both);
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    let failed = |error| Failure::from(ClientError::Dial(error));
    let (sealed, classic) = (sealed.map_err(failed)?, classic.map_err(failed)?);
    if !probe.is_reached.get() {
        let source = std::io::ErrorKind::TimedOut.into();
        let to = endpoint(server.host().as_str(), server.port());
        return Err(failed(DialError { to, source }));
    }
    print(&format!(
        "{} is reachable\nsealed: {}\nclassic: {}\n",
        endpoint(server.host().as_str(), server.port()),
        sealed.as_deref().unwrap_or("no answer: not spoken, or the gate is required"),
        classic.as_deref().unwrap_or("no")
    ))?;
    if sealed.is_none() && classic.is_none() {
        return Err(Failure::new(Exit::Negotiation, "the server speaks neither profile to us"));
    }
    Ok(())
}

/// A server that has not said what it speaks by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

struct Probe<'a> {
    server: &'a ServerName,
    is_reached: Cell<bool>,
    settings: Settings,
    registry: &'a Registry,
    pool: DhPool,
}

/// Where a probe stops.
enum Stop {
    Met(PeerIdentity),
    Failed(SealedIoError),
}

impl From<SealedIoError> for Stop {
    fn from(error: SealedIoError) -> Self {
        Self::Failed(error)
    }
}

impl Probe<'_> {
    async fn within(
        &self,
        what: impl Future<Output = Result<Option<String>, DialError>>,
    ) -> Result<Option<String>, DialError> {
        timeout(PATIENCE, what).await.unwrap_or(Ok(None))
    }

    async fn connect(&self) -> Result<TcpStream, DialError> {
        let stream = connect(self.server.host().as_str(), self.server.port()).await?;
        self.is_reached.set(true);
        Ok(stream)
    }

    /// What there is to say of the sealed profile, if it is spoken.
    async fn sealed(&self) -> Result<Option<String>, DialError> {
        // With a share for what is not our first key exchange a server shows its lists.
        let lists = match self.meet(Kex::Ffdhe3072).await? {
            Stop::Failed(SealedIoError::Sealed(SealedError::KexRetry { theirs, suites })) => {
                format!("; key exchange {theirs}; suites {suites}")
            }
            Stop::Failed(SealedIoError::Sealed(SealedError::NothingInCommon {
                theirs, ..
            })) => {
                return Ok(Some(format!("yes, with nothing in common: it has {theirs}")));
            }
            Stop::Failed(SealedIoError::Sealed(SealedError::Busy)) => {
                return Ok(Some("yes, but it is busy".to_owned()));
            }
            _ => String::new(),
        };
        Ok(match self.meet(Kex::X25519MlKem768).await? {
            Stop::Met(PeerIdentity::Key(key)) => {
                Some(format!("yes, key {}, gate optional{lists}", fingerprint(&key)))
            }
            Stop::Met(PeerIdentity::PskOnly) => Some(format!("yes, by PSK{lists}")),
            Stop::Failed(_) if !lists.is_empty() => Some(format!("yes, gate optional{lists}")),
            Stop::Failed(_) => None,
        })
    }

    /// Shakes hands until the server has shown its key.
    async fn meet(&self, kex: Kex) -> Result<Stop, DialError> {
        let every = |suite: &'static dyn CipherSuite| {
            // The list has room for 32 in all: the longest ones of each.
            let mut sizes: Vec<KeySize> = suite.key_sizes().iter().collect();
            sizes.drain(..sizes.len().saturating_sub(3));
            EnabledSuite { suite, wire_name: suite.name(), sizes }
        };
        let config = ClientConfig {
            enabled: self.registry.iter().map(every).collect(),
            kex: Kex::ALL.to_vec(),
            identity: None,
            server_key: None,
            psk: None,
            limits: Limits::default(),
        };
        let stream = self.connect().await?;
        let deadline = Instant::now() + SEALED_HANDSHAKE;
        let context = HandshakeContext { pool: &self.pool, source: Source::SELF, deadline };
        let check = |step| match step {
            HandshakeEvent::Chosen(_) => Ok(()),
            HandshakeEvent::ServerAuthenticated(peer) => Err(Stop::Met(peer)),
        };
        let met = connect_sealed(stream, Arc::new(config), kex, context, check, &|_| {}).await;
        Ok(met.err().unwrap_or(Stop::Failed(SealedIoError::NoAnswer)))
    }

    /// What there is to say of the classic profile, if it is spoken.
    async fn classic(&self) -> Result<Option<String>, DialError> {
        let mut stream = self.connect().await?;
        let now = Instant::now();
        let handshake = ClientHandshake::new(self.settings.classic_params(), &mut rand::rng(), now);
        let deadline = now + SEALED_HANDSHAKE;
        let mut driver = Driver::new(&mut stream, handshake, &self.pool, Source::SELF, deadline);
        Ok(match driver.next().await {
            Ok(Progress::Chosen(id)) => Some(format!("yes, it chooses {id}")),
            Ok(Progress::Done(_) | Progress::Note(_)) | Err(_) => None,
        })
    }
}
