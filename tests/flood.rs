//! A flood of handshakes, while others want to be served.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use vpn::proto::Group;

use crate::bad_input::established;
use crate::support::{DEADLINE, Server};

/// Connections that say nothing, or the beginning of something.
const SILENT: usize = 500;
/// Handshakes a second that make the server compute.
const FLOODS: u32 = 50;
/// How many addresses the flood comes from; the legitimate clients have another.
const ATTACKERS: usize = 8;
/// For how long, unless VPN_FLOOD_SECONDS says otherwise.
const SECONDS: u64 = 4;
/// More than this the server must not need.
const MEMORY_KIB: u64 = 96 * 1024;

const PROPOSAL: &[u8] = b"ProposedCiphers:AES:[256]\n";

/// A connection from one of the attackers' loopback addresses.
async fn connect(server: SocketAddr, attacker: usize) -> std::io::Result<TcpStream> {
    let last = u8::try_from(2 + attacker % ATTACKERS).unwrap();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(server).await
}

/// Makes the server compute: its own public value, the check of ours, the secret.
async fn flood(server: SocketAddr, number: usize, share: &str) -> std::io::Result<()> {
    let mut stream = connect(server, number).await?;
    stream.write_all(PROPOSAL).await?;
    stream.read_exact(&mut [0; 21]).await?;
    stream.write_all(share.as_bytes()).await?;
    if number.is_multiple_of(2) {
        // Half of them vanish, the others wait for what they asked for.
        return Ok(());
    }
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

/// Public values that pass every check: squares.
fn shares() -> Vec<String> {
    let prime = Group::Modp8192.prime();
    let square = |n: u32| {
        let root = prime / n;
        &root * &root % prime
    };
    (3..35).map(|n| format!("DHMKE:{}\n", square(n))).collect()
}

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
    (at(50), at(99))
}

#[test]
fn a_flood_of_handshakes_stops_nobody() {
    let seconds = std::env::var("VPN_FLOOD_SECONDS").map_or(SECONDS, |s| s.parse().unwrap());
    let server = Server::start(&[]);
    let address = server.address();
    let shares = shares();
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
                    let mut stream = connect(address, number).await.unwrap();
                    stream.write_all(&PROPOSAL[..number % 20]).await.unwrap();
                    silent.push(stream);
                }
                ready.send(()).unwrap();
                let mut beat = tokio::time::interval(Duration::from_secs(1) / FLOODS);
                let mut tasks = tokio::task::JoinSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    beat.tick().await;
                    let number = flooded.fetch_add(1, Ordering::Relaxed);
                    let share = shares[number % shares.len()].clone();
                    tasks.spawn(async move {
                        // What becomes of an attacker is not the question.
                        let _ = flood(address, number, &share).await;
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
                assert_eq!(reply, vpn::service::reversed(text.as_bytes()));
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
