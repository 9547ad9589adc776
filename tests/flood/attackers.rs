//! Attackers: connections and handshakes from some addresses of this machine.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use vpn_proto::Group;
use vpn_proto::sealed::{Kex, KexKeyPair};

use crate::support::adversary::{Gate, Hello};

/// How many addresses they come from; the legitimate clients have another.
pub(super) const ATTACKERS: usize = 8;

pub(super) const PROPOSAL: &[u8] = b"ProposedCiphers:AES:[256]\n";

/// A connection from one of this machine's loopback addresses.
pub(super) async fn connect(server: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The address of an attacker.
pub(super) fn attacker(number: usize, addresses: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number % addresses).unwrap())
}

/// Makes the server compute: its own public value, the check of ours, the secret.
pub(super) async fn classic_attack(stream: &mut TcpStream, share: &str) -> std::io::Result<()> {
    stream.write_all(PROPOSAL).await?;
    stream.read_exact(&mut [0; 21]).await?;
    stream.write_all(share.as_bytes()).await
}

/// Waits for what the server says until it closes.
pub(super) async fn listen(mut stream: TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

/// Public values that pass every check: squares.
pub(super) fn classic_shares() -> Vec<String> {
    let prime = Group::Modp8192.prime();
    let square = |n: u32| {
        let root = prime / n;
        &root * &root % prime
    };
    (3..35).map(|n| format!("DHMKE:{}\n", square(n))).collect()
}

/// What attackers do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attack {
    /// So many classic handshakes a second. Half of the attackers vanish once the server computes.
    Classic(u32),
    /// So many sealed handshakes a second, with shares that are good and gates that are not.
    Sealed(u32),
    /// So many half messages a second, of both profiles.
    Halves(u32),
    /// So many connections that say nothing, opened again when the server closes them.
    Silent(usize),
}

/// Where attackers come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// So many addresses, none of them a newcomer's.
    Addresses(usize),
    /// The address of all newcomers.
    Own,
}

impl From {
    fn address(self, number: usize) -> Ipv4Addr {
        match self {
            Self::Addresses(addresses) => attacker(number, addresses),
            Self::Own => NEWCOMER,
        }
    }
}

/// The newcomers' address where attackers share it.
const NEWCOMER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);

/// The address of a newcomer: each has another one, unless attackers share it.
pub(super) fn newcomer(from: From) -> Ipv4Addr {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    match from {
        From::Own => NEWCOMER,
        From::Addresses(_) => {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let byte = |n: usize| u8::try_from(n % 250).unwrap();
            Ipv4Addr::new(127, 1, byte(number / 250), 1 + byte(number))
        }
    }
}

/// What attackers have made in advance.
pub(super) struct Arsenal {
    classic: Vec<String>,
    sealed: Vec<Vec<u8>>,
}

impl Arsenal {
    pub(super) fn new() -> Self {
        let share =
            |_| KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng()).share().to_vec();
        Self { classic: classic_shares(), sealed: (0..8).map(share).collect() }
    }

    /// A sealed hello of a client that does not know the server's key.
    fn hello(&self, number: usize) -> Vec<u8> {
        let mut rng = rand::rng();
        let gate = Gate::Bytes(rng.random::<[u8; 32]>().to_vec());
        let hello = Hello::new(&self.sealed[number % self.sealed.len()]);
        Hello { random: rng.random(), gate, ..hello }.encode()
    }
}

/// One connection of an attack.
async fn strike(
    attack: Attack,
    number: usize,
    mut stream: TcpStream,
    arsenal: Arc<Arsenal>,
) -> std::io::Result<()> {
    match attack {
        Attack::Classic(_) => {
            let share = &arsenal.classic[number % arsenal.classic.len()];
            classic_attack(&mut stream, share).await?;
            if number.is_multiple_of(2) {
                return Ok(());
            }
        }
        Attack::Sealed(_) => {
            stream.write_all(&arsenal.hello(number)).await?;
            if number.is_multiple_of(2) {
                return Ok(());
            }
        }
        Attack::Halves(_) => match number % 4 {
            0 => stream.write_all(PROPOSAL).await?,
            1 => {
                let share = &arsenal.classic[0].as_bytes()[..1000];
                stream.write_all(PROPOSAL).await?;
                stream.write_all(share).await?;
            }
            2 => stream.write_all(&arsenal.hello(number)[..700]).await?,
            _ => stream.write_all(b"\xf5").await?,
        },
        Attack::Silent(_) => {}
    }
    listen(stream).await
}

/// Attacks in all these ways until it is over, on a thread of its own; says when all have begun.
pub(super) fn flood(
    server: SocketAddr,
    attacks: &[Attack],
    from: From,
    arsenal: &Arc<Arsenal>,
    ready: &Sender<()>,
    is_over: &AtomicBool,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for kind in attacks {
            let (begin, begun) = tokio::sync::oneshot::channel();
            match *kind {
                Attack::Silent(count) => {
                    tasks.spawn(keep_silent(server, count, from, arsenal.clone(), begin));
                }
                Attack::Classic(rate) | Attack::Sealed(rate) | Attack::Halves(rate) => {
                    tasks.spawn(keep_striking(server, *kind, rate, from, arsenal.clone(), begin));
                }
            }
            begun.await.unwrap();
        }
        ready.send(()).unwrap();
        let mut look = interval(Duration::from_millis(20));
        while !is_over.load(Ordering::Relaxed) {
            look.tick().await;
        }
    });
}

type Begun = tokio::sync::oneshot::Sender<()>;

/// Holds so many connections, and opens each again when the server closes it.
async fn keep_silent(
    server: SocketAddr,
    count: usize,
    from: From,
    arsenal: Arc<Arsenal>,
    begun: Begun,
) {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let arsenal = arsenal.clone();
        let first = connect(server, from.address(number)).await;
        tasks.spawn(async move {
            let mut beat = interval(Duration::from_secs(1));
            let mut next = Some(first);
            loop {
                beat.tick().await;
                let stream = match next.take() {
                    Some(first) => first,
                    None => connect(server, from.address(number)).await,
                };
                // What becomes of an attacker is not the question.
                if let Ok(stream) = stream {
                    let _ = strike(Attack::Silent(count), number, stream, arsenal.clone()).await;
                }
            }
        });
    }
    // Nobody waits any more if the test has failed.
    let _ = begun.send(());
    std::future::pending().await
}

/// Strikes so many times a second.
async fn keep_striking(
    server: SocketAddr,
    attack: Attack,
    rate: u32,
    from: From,
    arsenal: Arc<Arsenal>,
    begun: Begun,
) {
    let mut begun = Some(begun);
    let mut tasks = JoinSet::new();
    let mut beat = interval(Duration::from_secs(1) / rate);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        beat.tick().await;
        let arsenal = arsenal.clone();
        tasks.spawn(async move {
            if let Ok(stream) = connect(server, from.address(number)).await {
                let _ = strike(attack, number, stream, arsenal).await;
            }
        });
        while tasks.try_join_next().is_some() {}
        if number == 20 {
            // Nobody waits any more if the test has failed.
            let _ = begun.take().unwrap().send(());
        }
    }
}
