//! Floods of connections and handshakes against a real server, while others want to be served.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use vpn::net::{
    DhPool, Driver, HandshakeContext, Progress, SealedConnection, SealedIoError, Source,
    connect_sealed,
};
use vpn::session::reversed;
use vpn_proto::Group;
use vpn_proto::classic::{ClientHandshake, ClientSession};
use vpn_proto::sealed::{ClientConfig, Event, Kex, KexKeyPair, SealedError};

use crate::support::adversary::{CLIENT_SEED, Gate, Hello, client_config, key_line};
use crate::support::classic::{established, params};
use crate::support::{DEADLINE, Keys, SHIPPED, Server};

/// Connections that say nothing, or the beginning of something.
const SILENT: usize = 500;
/// How many addresses they come from; the legitimate clients have another.
const ATTACKERS: usize = 8;
/// Handshakes a second of the flood against a classic server.
const FLOODS: u32 = 50;
/// For how long that flood lasts, unless VPN_FLOOD_SECONDS says otherwise.
const SECONDS: u64 = 4;
/// For how long each of the other floods lasts, unless VPN_FLOOD_SECONDS says otherwise.
const SCENARIO: Duration = Duration::from_millis(1200);
/// More than this the server must not need.
const MEMORY_KIB: u64 = 96 * 1024;
/// A newcomer that is not served within this time has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// In long runs at most one newcomer of a hundred may wait for longer than this.
const SLOW: Duration = Duration::from_secs(1);

const PROPOSAL: &[u8] = b"ProposedCiphers:AES:[256]\n";

/// For how long floods last in a long run.
fn seconds() -> Option<u64> {
    std::env::var("VPN_FLOOD_SECONDS").ok().map(|s| s.parse().unwrap())
}

/// A connection from one of this machine's loopback addresses.
async fn connect(server: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The address of an attacker.
fn attacker(number: usize, addresses: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number % addresses).unwrap())
}

/// Makes the server compute: its own public value, the check of ours, the secret.
async fn classic_attack(stream: &mut TcpStream, share: &str) -> std::io::Result<()> {
    stream.write_all(PROPOSAL).await?;
    stream.read_exact(&mut [0; 21]).await?;
    stream.write_all(share.as_bytes()).await
}

/// Waits for what the server says until it closes.
async fn listen(mut stream: TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

/// Public values that pass every check: squares.
fn classic_shares() -> Vec<String> {
    let prime = Group::Modp8192.prime();
    let square = |n: u32| {
        let root = prime / n;
        &root * &root % prime
    };
    (3..35).map(|n| format!("DHMKE:{}\n", square(n))).collect()
}

/// One flood at a time: what one test measures is not to be the other one's doing.
static TURN: Mutex<()> = Mutex::new(());

/// Ends the flood, also when the test fails.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Median and 99th percentile, in milliseconds.
fn percentiles(times: &mut [Duration]) -> (u128, u128) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_millis();
    if times.is_empty() { (0, 0) } else { (at(50), at(99)) }
}

#[test]
fn a_flood_of_handshakes_stops_nobody() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = seconds().unwrap_or(SECONDS);
    let server = Server::start(&[]);
    let address = server.address();
    let shares = classic_shares();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (is_over, flooded) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut sessions, mut replies) = (Vec::new(), Vec::new());
    let (ready, is_ready) = channel();
    std::thread::scope(|scope| {
        let (is_over, flooded) = (&is_over, &flooded);
        let _end = EndOf(is_over);
        scope.spawn(move || {
            runtime.block_on(async {
                let mut silent = Vec::new();
                for number in 0..SILENT {
                    let from = attacker(number, ATTACKERS);
                    let mut stream = connect(address, from).await.unwrap();
                    stream.write_all(&PROPOSAL[..number % 20]).await.unwrap();
                    silent.push(stream);
                }
                ready.send(()).unwrap();
                let mut beat = interval(Duration::from_secs(1) / FLOODS);
                let mut tasks = tokio::task::JoinSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    beat.tick().await;
                    let number = flooded.fetch_add(1, Ordering::Relaxed);
                    let share = shares[number % shares.len()].clone();
                    tasks.spawn(async move {
                        let mut stream = connect(address, attacker(number, ATTACKERS)).await?;
                        classic_attack(&mut stream, &share).await?;
                        // Half of them vanish, the others wait for what they asked for.
                        if number.is_multiple_of(2) { Ok(()) } else { listen(stream).await }
                    });
                }
            });
        });
        is_ready.recv_timeout(DEADLINE).expect("the silent connections are there in time");
        // Two sessions that were there before, one asked often, one left alone.
        let (mut stream, mut session) = established(&server);
        let (mut lone, mut lone_session) = established(&server);
        let start = Instant::now();
        let duration = Duration::from_secs(seconds);
        let talker = scope.spawn(move || {
            let mut times = Vec::new();
            while start.elapsed() < duration {
                let text = format!("text {}", times.len());
                let asked = Instant::now();
                let message = session.send(&text, asked).unwrap();
                stream.write_all(&message).unwrap();
                let mut reply = vec![0; text.len()];
                stream.read_exact(&mut reply).unwrap();
                assert_eq!(reply, reversed(text.as_bytes()));
                session.handle_input(&reply, Instant::now());
                assert!(session.next_reply(Instant::now()).unwrap().is_some());
                times.push(asked.elapsed());
                // A person's pace, not a wait for anything.
                std::thread::sleep(Duration::from_millis(50));
            }
            times
        });
        while start.elapsed() < duration {
            let asked = Instant::now();
            let ended = server.client(&["-q", "-m", "one", "-m", "two", "-m", "three"], b"");
            assert_eq!(
                (ended.stdout.as_str(), ended.code),
                ("eno\nowt\neerht\n", Some(0)),
                "{}",
                ended.stderr
            );
            sessions.push(asked.elapsed());
        }
        replies = talker.join().unwrap();
        let message = lone_session.send("still here", Instant::now()).unwrap();
        lone.write_all(&message).unwrap();
        let mut reply = [0; 10];
        lone.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"ereh llits");
    });
    let (median, p99) = percentiles(&mut sessions);
    let (reply_median, reply_p99) = percentiles(&mut replies);
    let memory = server.peak_memory();
    let _ = writeln!(
        std::io::stderr(),
        "flood: {SILENT} silent connections and {} floods in {seconds} s; {} whole sessions, none \
         failed, median {median} ms, p99 {p99} ms; {} replies of an established session, median \
         {reply_median} ms, p99 {reply_p99} ms; server memory {} MiB",
        flooded.load(Ordering::Relaxed),
        sessions.len(),
        replies.len(),
        memory / 1024
    );
    // How many there were is the machine's affair; that there were some makes the rest mean something.
    assert!(!sessions.is_empty() && !replies.is_empty());
    assert!(memory < MEMORY_KIB, "{memory} KiB");
    server.assert_alive();
}

/// What attackers do.
#[derive(Clone, Copy, Debug)]
enum Attack {
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
enum From {
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
fn newcomer(from: From) -> Ipv4Addr {
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
struct Arsenal {
    classic: Vec<String>,
    sealed: Vec<Vec<u8>>,
}

impl Arsenal {
    fn new() -> Self {
        let share =
            |_| KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng()).share().to_vec();
        Self { classic: classic_shares(), sealed: (0..8).map(share).collect() }
    }

    /// A sealed hello of somebody who does not know the server's key.
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

/// Attacks until it is over; says when it has begun.
async fn attack(
    server: SocketAddr,
    attack: Attack,
    from: From,
    arsenal: Arc<Arsenal>,
    begun: tokio::sync::oneshot::Sender<()>,
) {
    let mut begun = Some(begun);
    let mut tasks = tokio::task::JoinSet::new();
    let rate = match attack {
        Attack::Classic(rate) | Attack::Sealed(rate) | Attack::Halves(rate) => rate,
        Attack::Silent(count) => {
            for number in 0..count {
                let arsenal = arsenal.clone();
                let first = connect(server, from.address(number)).await;
                tasks.spawn(async move {
                    // What becomes of an attacker is not the question.
                    let mut beat = interval(Duration::from_secs(1));
                    let mut next = Some(first);
                    loop {
                        beat.tick().await;
                        let stream = match next.take() {
                            Some(first) => first,
                            None => connect(server, from.address(number)).await,
                        };
                        if let Ok(stream) = stream {
                            let _ = strike(attack, number, stream, arsenal.clone()).await;
                        }
                    }
                });
            }
            let _ = begun.take().unwrap().send(());
            return std::future::pending().await;
        }
    };
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

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A sealed session, as far as the service. Like the program, it comes back once if it was closed
/// without an answer or turned away (PROTOCOL.md §4.7).
async fn sealed_session(
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

async fn sealed_message(connection: &mut SealedConnection, text: &str) -> Result<(), Trouble> {
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
async fn classic_session(
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

async fn classic_message(
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

/// How newcomers of one profile fared.
#[derive(Debug, Default)]
struct Fates {
    served: Vec<Duration>,
    failed: Vec<String>,
}

impl Fates {
    fn add(&mut self, asked: Instant, fate: Result<Result<(), Trouble>, impl ToString>) {
        match fate.map_err(|e| e.to_string()).and_then(|f| f.map_err(|e| e.to_string())) {
            Ok(()) => self.served.push(asked.elapsed()),
            Err(why) => self.failed.push(why),
        }
    }

    fn line(&mut self) -> String {
        let (median, p99) = percentiles(&mut self.served);
        let all = self.served.len() + self.failed.len();
        format!("{} of {all}, median {median} ms, p99 {p99} ms", self.served.len())
    }

    /// What is wrong with it, if anything is: more than one in a hundred was not served, or, among
    /// fewer than that, more than one. How long they waited is printed, and judged only where the
    /// machine has nothing else to do.
    fn trouble(&mut self) -> Option<String> {
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

/// Runs one flood; what went wrong.
fn scenario(
    attacks: &[Attack],
    from: From,
    is_exempt: bool,
    arsenal: &Arc<Arsenal>,
) -> Vec<String> {
    let keys = Keys::new();
    std::fs::write(keys.path("authorized"), key_line(&CLIENT_SEED)).unwrap();
    let exempt = if is_exempt { "" } else { "\n[limits]\nexempt = []\n" };
    let server = keys.server_with(&format!("{SHIPPED}{exempt}"), &["--classic"]);
    let server_key = keys.public("server").bytes;
    let config = Arc::new(ClientConfig { server_key: Some(server_key), ..client_config() });
    let address = server.address();
    // Three quarters, so that all of them take no more than a few minutes.
    let duration = seconds().map_or(SCENARIO, |s| Duration::from_secs(s) * 3 / 4);
    let is_over = AtomicBool::new(false);
    let (ready, is_ready) = channel();
    let (mut sealed, mut classic) = (Fates::default(), Fates::default());
    let (mut sealed_live, mut classic_live) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let _end = EndOf(&is_over);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pool = DhPool::new(1);
            let live_from = newcomer(From::Addresses(1));
            let mut live = sealed_session(address, live_from, config.clone(), &pool).await.unwrap();
            let (mut stream, mut session) =
                classic_session(address, live_from, &pool).await.unwrap();
            sealed_message(&mut live, "before").await.unwrap();
            classic_message(&mut stream, &mut session, "before").await.unwrap();
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut tasks = tokio::task::JoinSet::new();
                    for kind in attacks {
                        let (begin, begun) = tokio::sync::oneshot::channel();
                        tasks.spawn(attack(address, *kind, from, arsenal.clone(), begin));
                        begun.await.unwrap();
                    }
                    ready.send(()).unwrap();
                    let mut look = interval(Duration::from_millis(20));
                    while !is_over.load(Ordering::Relaxed) {
                        look.tick().await;
                    }
                });
            });
            is_ready.recv_timeout(DEADLINE).expect("the flood begins in time");
            let start = Instant::now();
            let is_on = || start.elapsed() < duration;
            let sealed_talk = async {
                // A person's pace.
                let mut beat = interval(Duration::from_millis(50));
                while is_on() {
                    beat.tick().await;
                    let asked = Instant::now();
                    let reply = sealed_message(&mut live, "a live session");
                    timeout(DEADLINE, reply).await.unwrap().unwrap();
                    sealed_live.push(asked.elapsed());
                }
            };
            let classic_talk = async {
                let mut beat = interval(Duration::from_millis(50));
                while is_on() {
                    beat.tick().await;
                    let asked = Instant::now();
                    let reply = classic_message(&mut stream, &mut session, "a live session");
                    timeout(DEADLINE, reply).await.unwrap().unwrap();
                    classic_live.push(asked.elapsed());
                }
            };
            let sealed_come = async {
                let mut beat = interval(Duration::from_millis(20));
                while is_on() {
                    beat.tick().await;
                    let asked = Instant::now();
                    let whole = async {
                        let from = newcomer(from);
                        let mut session =
                            sealed_session(address, from, config.clone(), &pool).await?;
                        sealed_message(&mut session, "somebody new").await
                    };
                    let fate = timeout(PATIENCE, whole).await;
                    sealed.add(asked, fate);
                }
            };
            let classic_come = async {
                let mut beat = interval(Duration::from_millis(20));
                while is_on() {
                    beat.tick().await;
                    let asked = Instant::now();
                    let whole = async {
                        let from = newcomer(from);
                        let (mut stream, mut session) =
                            classic_session(address, from, &pool).await?;
                        classic_message(&mut stream, &mut session, "somebody new").await
                    };
                    let fate = timeout(PATIENCE, whole).await;
                    classic.add(asked, fate);
                }
            };
            tokio::join!(sealed_talk, classic_talk, sealed_come, classic_come);
            is_over.store(true, Ordering::Relaxed);
        });
    });
    let name = format!("{attacks:?} {from:?} {}", if is_exempt { "exempt" } else { "counted" });
    let (_, sealed_p99) = percentiles(&mut sealed_live);
    let (_, classic_p99) = percentiles(&mut classic_live);
    let memory = server.peak_memory();
    let _ = writeln!(
        std::io::stderr(),
        "flood {name}: sealed {}; classic {}; live replies {} + {}, p99 {sealed_p99} + \
         {classic_p99} ms; {} MiB",
        sealed.line(),
        classic.line(),
        sealed_live.len(),
        classic_live.len(),
        memory / 1024
    );
    let mut wrong = Vec::new();
    wrong.extend(sealed.trouble().map(|t| format!("{name}: sealed: {t}")));
    wrong.extend(classic.trouble().map(|t| format!("{name}: classic: {t}")));
    if memory > MEMORY_KIB {
        wrong.push(format!("{name}: {memory} KiB"));
    }
    wrong
}

#[test]
fn newcomers_of_both_profiles_are_served_whoever_floods_the_server() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Attackers that wait need a descriptor each.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let arsenal = Arc::new(Arsenal::new());
    let scenarios: [(&[Attack], From, bool); 12] = [
        (&[Attack::Classic(100)], From::Addresses(1), false),
        (&[Attack::Classic(100)], From::Addresses(8), false),
        (&[Attack::Classic(100)], From::Addresses(30), false),
        (&[Attack::Classic(100)], From::Addresses(60), false),
        (&[Attack::Classic(100)], From::Addresses(60), true),
        (&[Attack::Classic(100)], From::Own, false),
        (&[Attack::Classic(100)], From::Own, true),
        (&[Attack::Silent(256)], From::Own, true),
        (&[Attack::Silent(500)], From::Addresses(60), false),
        (&[Attack::Sealed(200)], From::Own, false),
        (&[Attack::Halves(100)], From::Addresses(30), true),
        (&[Attack::Silent(256), Attack::Classic(50), Attack::Sealed(50)], From::Addresses(8), true),
    ];
    let wrong: Vec<String> = scenarios
        .into_iter()
        .flat_map(|(attacks, from, is_exempt)| scenario(attacks, from, is_exempt, &arsenal))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
