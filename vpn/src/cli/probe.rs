//! `vpn probe`: finds out which profiles a server speaks, without showing a key of ours.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use vpn_suite::{CipherSuite, KeySize, Registry};

use super::args::ProbeArgs;
use super::failure::{Exit, Failure};
use super::{Threads, named_server, print, runtime};
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
    let (server, config) = named_server::probe(args)?;
    let settings = Settings::load(config.as_deref(), registry, &Overrides::default())?;
    let pool = DhPool::new(settings.limits.net.dh_workers);
    let probe = Probe { server: &server, settings, registry, pool, is_reached: Cell::new(false) };
    let runtime = runtime(Threads::One)?;
    // Both profiles at once, so that one without an answer does not delay the other.
    let both = async { tokio::join!(probe.within(probe.sealed()), probe.within(probe.classic())) };
    let (sealed, classic) = runtime.block_on(both);
    // Do not wait for a thread that still looks up the name.
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

/// How long to wait for a server's answer in each profile.
const PATIENCE: Duration = Duration::from_secs(5);

struct Probe<'a> {
    server: &'a ServerName,
    is_reached: Cell<bool>,
    settings: Settings,
    registry: &'a Registry,
    pool: DhPool,
}

/// The end of a sealed probe: the server has shown its identity, or the handshake failed.
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

    /// Describes the server's sealed profile; `None` if there was no answer.
    async fn sealed(&self) -> Result<Option<String>, DialError> {
        // The share is for another key exchange than the first one of our list. So a server that
        // has the first one answers with Reject, which lists what it has (PROTOCOL.md §4.2).
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

    /// Shakes hands until the server has proved its identity.
    async fn meet(&self, kex: Kex) -> Result<Stop, DialError> {
        let every = |suite: &'static dyn CipherSuite| {
            // A list has room for 32 suites, so it gets the longest three keys of each cipher.
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

    /// Describes the server's classic profile; `None` if the server does not speak it.
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
