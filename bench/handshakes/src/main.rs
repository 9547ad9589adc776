//! Clients for `bench/handshakes/run`, which starts the servers and prints the tables:
//!
//! ```text
//! rate PROFILE ADDRESS FILES SECONDS JOBS     handshakes per second
//! bytes PROFILE ADDRESS FILES                 bytes of one handshake: of the client, of the server
//! count ADDRESS COMMAND...                    the same for a command that connects to @ADDRESS@
//! hold PROFILE ADDRESS FILES COUNT [half]     sessions, or halves of handshakes, until stdin ends
//! ```
//!
//! PROFILE is `classic` or the key exchange of a sealed session. FILES is a folder with
//! `server_cipher.toml`, the client's key `client`, and the server's public key `server.pub`.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use vpn::config::{Overrides, Settings};
use vpn::net::{DhPool, Driver, HandshakeContext, Progress, SealedIoError, Source, connect_sealed};
use vpn::trust::{read_identity, read_public_key};
use vpn_proto::classic::{ClassicParams, ClientHandshake};
use vpn_proto::sealed::{ClientConfig, HelloSent, Kex, Limits};
use vpn_suite::Registry;
use vpn_suites as _;

type Failure = Box<dyn Error + Send + Sync>;

/// A handshake that takes longer fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The profile of a client, with its configuration.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    profile: Profile,
    pool: DhPool,
}

#[derive(Clone)]
enum Profile {
    Classic(ClassicParams),
    Sealed(Arc<ClientConfig>, Kex),
}

/// An established session. It stays open until it is dropped.
struct Held {
    _session: Box<dyn Send>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["rate", profile, address, files, seconds, jobs] => {
            let client = Client::new(profile, address, files)?;
            let time = Duration::from_secs_f64(seconds.parse()?);
            println!("{:.2}", rate(&client, time, jobs.parse()?).await?);
        }
        ["bytes", profile, address, files] => {
            let mut client = Client::new(profile, address, files)?;
            let proxy = Proxy::start(client.address).await?;
            client.address = proxy.address;
            let _held = client.shake_hands().await?;
            println!("{}", proxy.counted());
        }
        ["count", address, command, rest @ ..] => {
            let proxy = Proxy::start(address.parse()?).await?;
            let at = proxy.address.to_string();
            let rest: Vec<String> = rest.iter().map(|arg| arg.replace("@ADDRESS@", &at)).collect();
            let mut command = std::process::Command::new(command);
            command.args(rest).stdin(std::process::Stdio::null());
            tokio::task::spawn_blocking(move || command.output()).await??;
            println!("{}", proxy.counted());
        }
        ["hold", profile, address, files, count, half @ ..] => {
            let client = Client::new(profile, address, files)?;
            let mut held = Vec::new();
            for _ in 0..count.parse::<usize>()? {
                held.push(match half {
                    [] => client.shake_hands().await?,
                    _ => client.shake_half().await?,
                });
            }
            println!("holding");
            let until_end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            tokio::task::spawn_blocking(until_end).await??;
        }
        _ => return Err("see the first lines of src/main.rs".into()),
    }
    Ok(())
}

/// The handshakes per second of `jobs` clients that only shake hands.
async fn rate(client: &Client, time: Duration, jobs: usize) -> Result<f64, Failure> {
    // The first handshakes make tables that the others use.
    for _ in 0..4 {
        client.shake_hands().await?;
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..jobs {
        let client = client.clone();
        tasks.spawn(async move {
            let mut count = 0u32;
            while started.elapsed() < time {
                client.shake_hands().await?;
                count += 1;
            }
            Ok::<_, Failure>(count)
        });
    }
    let mut count = 0;
    for task in tasks.join_all().await {
        count += task?;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

impl Client {
    fn new(profile: &str, address: &str, files: &str) -> Result<Self, Failure> {
        let files = Path::new(files);
        let registry = Registry::linked()?;
        let config = files.join("server_cipher.toml");
        let settings = Settings::load(Some(&config), &registry, &Overrides::default())?;
        let profile = match Kex::from_name(profile) {
            Some(kex) => Profile::Sealed(
                Arc::new(ClientConfig {
                    enabled: settings.classic_params().enabled,
                    kex: vec![kex],
                    identity: Some(read_identity(&files.join("client"), || Ok(String::new()))?),
                    server_key: Some(read_public_key(&files.join("server.pub"))?.bytes),
                    psk: None,
                    limits: Limits::default(),
                }),
                kex,
            ),
            None if profile == "classic" => Profile::Classic(settings.classic_params()),
            None => return Err(format!("{profile}: no such profile").into()),
        };
        let pool = DhPool::new(settings.limits.net.dh_workers);
        Ok(Self { address: address.parse()?, profile, pool })
    }

    /// One whole handshake on a new connection.
    async fn shake_hands(&self) -> Result<Held, Failure> {
        let mut stream = self.connect().await?;
        let deadline = Instant::now() + DEADLINE;
        match &self.profile {
            Profile::Classic(params) => {
                let handshake =
                    ClientHandshake::new(params.clone(), &mut rand::rng(), Instant::now());
                let mut driver =
                    Driver::new(&mut stream, handshake, &self.pool, Source::SELF, deadline);
                let session = loop {
                    if let Progress::Done(session) = driver.next().await? {
                        break session;
                    }
                };
                drop(driver);
                Ok(Held { _session: Box::new((stream, session)) })
            }
            Profile::Sealed(config, kex) => {
                let place = HandshakeContext { pool: &self.pool, source: Source::SELF, deadline };
                let connected = connect_sealed::<SealedIoError>(
                    stream,
                    config.clone(),
                    *kex,
                    place,
                    |_| Ok(()),
                    &|_| {},
                );
                Ok(Held { _session: Box::new(connected.await?) })
            }
        }
    }

    /// The first half of a handshake, up to the server's first answer.
    async fn shake_half(&self) -> Result<Held, Failure> {
        let mut stream = self.connect().await?;
        let hello = match &self.profile {
            Profile::Classic(_) => b"ProposedCiphers:AES:[256]\n".to_vec(),
            Profile::Sealed(config, kex) => {
                HelloSent::start(config.clone(), *kex, &mut rand::rng())?.1
            }
        };
        stream.write_all(&hello).await?;
        stream.readable().await?;
        Ok(Held { _session: Box::new(stream) })
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Forwards connections to an address, and counts their bytes.
struct Proxy {
    address: SocketAddr,
    /// The bytes of the client, and of the server.
    counts: Arc<[AtomicU64; 2]>,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let own = counts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(target).await else { return };
                let (client, server) = (client.into_split(), server.into_split());
                for (side, mut from, mut to) in [(0, client.0, server.1), (1, server.0, client.1)] {
                    let counts = own.clone();
                    tokio::spawn(async move {
                        let mut buffer = vec![0; 16384];
                        while let Ok(count @ 1..) = from.read(&mut buffer).await {
                            counts[side].fetch_add(count as u64, Ordering::Relaxed);
                            if to.write_all(&buffer[..count]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Ok(Self { address, counts })
    }

    fn counted(&self) -> String {
        let [client, server] = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        format!("{client} {server}")
    }
}
