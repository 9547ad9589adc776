//! Established sessions and whole new ones go on while a classic server is flooded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::interval;
use vpn::session::reversed;
use vpn_proto::classic::ClientSession;

use super::attackers::{
    ATTACKERS, PROPOSAL, attacker, classic_attack, classic_shares, connect, listen,
};
use super::newcomers::percentiles;
use super::{EndOf, MEMORY_KIB, TURN, print, seconds};
use crate::support::classic::established;
use crate::support::{DEADLINE, Server};

/// Connections that say nothing, or the beginning of something.
const SILENT: usize = 500;

/// Handshakes a second of the flood against a classic server.
const FLOODS: u32 = 50;

/// For how long that flood lasts, unless VPN_FLOOD_SECONDS says otherwise.
const SECONDS: u64 = 4;

/// Opens silent connections, says that they are there, and makes handshakes until it is over.
fn flood(server: SocketAddr, ready: &Sender<()>, is_over: &AtomicBool, flooded: &AtomicUsize) {
    let shares = classic_shares();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut silent = Vec::new();
        for number in 0..SILENT {
            let from = attacker(number, ATTACKERS);
            let mut stream = connect(server, from).await.unwrap();
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
                let mut stream = connect(server, attacker(number, ATTACKERS)).await?;
                classic_attack(&mut stream, &share).await?;
                // Half of them vanish, the others wait for what they asked for.
                if number.is_multiple_of(2) { Ok(()) } else { listen(stream).await }
            });
        }
    });
}

/// Says something at a person's pace until `end`; how long each answer took.
fn talk(mut stream: TcpStream, mut session: ClientSession, end: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < end {
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
}

/// Whole sessions of our client, one after the other until `end`; how long each took.
fn whole_sessions(server: &Server, end: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        let ended = server.client(&["-q", "-m", "one", "-m", "two", "-m", "three"], b"");
        let seen = (ended.stdout.as_str(), ended.code);
        assert_eq!(seen, ("eno\nowt\neerht\n", Some(0)), "{}", ended.stderr);
        times.push(asked.elapsed());
    }
    times
}

#[test]
fn a_flood_of_handshakes_stops_nobody() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = seconds().unwrap_or(SECONDS);
    let server = Server::start(&[]);
    let (is_over, flooded) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (ready, is_ready) = channel();
    let (address, is_over, flooded) = (server.address(), &is_over, &flooded);
    let (mut sessions, mut replies) = std::thread::scope(|scope| {
        let _end = EndOf(is_over);
        scope.spawn(move || flood(address, &ready, is_over, flooded));
        is_ready.recv_timeout(DEADLINE).expect("the silent connections are there in time");
        // Two sessions that were there before, one asked often, one left alone.
        let (stream, session) = established(&server);
        let (mut lone, mut lone_session) = established(&server);
        let end = Instant::now() + Duration::from_secs(seconds);
        let talker = scope.spawn(move || talk(stream, session, end));
        let sessions = whole_sessions(&server, end);
        let replies = talker.join().unwrap();
        let message = lone_session.send("still here", Instant::now()).unwrap();
        lone.write_all(&message).unwrap();
        let mut reply = [0; 10];
        lone.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"ereh llits");
        (sessions, replies)
    });
    let (median, p99) = percentiles(&mut sessions);
    let (reply_median, reply_p99) = percentiles(&mut replies);
    let memory = server.peak_memory();
    print(&format!(
        "flood: {SILENT} silent connections and {} floods in {seconds} s; {} whole sessions, none \
         failed, median {median} ms, p99 {p99} ms; {} replies of an established session, median \
         {reply_median} ms, p99 {reply_p99} ms; server memory {} MiB",
        flooded.load(Ordering::Relaxed),
        sessions.len(),
        replies.len(),
        memory / 1024
    ));
    // How many there were is the machine's affair; that there were some makes the rest mean something.
    assert!(!sessions.is_empty() && !replies.is_empty());
    assert!(memory < MEMORY_KIB, "{memory} KiB");
    server.assert_alive();
}
