//! A pipe's success is a promise: the exit code is 0 on both ends only if every byte was handed over on
//! the far side. Who fails x which way the bytes go x how many x which role has the failing end.
//!
//! `VPN_PIPE_MATRIX=full` runs every cell with 60 MB, too; otherwise only a few of them do.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Lines, Process, TempDir, run, vpn};

const LARGE: usize = 60_000_000;
/// 60 MB take their time in a program that is not optimised, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(120);
const SIZES: [usize; 4] = [0, 5, 5_000, 100_000];

/// Bytes of which none is where another one is.
pub(crate) static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..LARGE as u64 / 8 + 1)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

use Role::{Client, Server};

impl Role {
    fn other(self) -> Self {
        match self {
            Client => Server,
            Server => Client,
        }
    }
}

/// Which way bytes go, seen from the end that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Away,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nobody,
    /// Standard output has a reader that goes before it has everything.
    ReaderGone,
    /// Standard output is a full disk.
    DiskFull,
    /// Standard input fails behind its last byte.
    InputFails,
    /// The program is told to end, or killed, when its bytes are through.
    Signal(&'static str),
    /// The network is cut when the bytes are through, politely or not.
    Cut,
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    fault: Fault,
    at: Role,
    way: Way,
    size: usize,
}

impl Cell {
    /// How many bytes a side sends.
    fn sends(&self, role: Role) -> usize {
        let is_to_failing = role != self.at;
        match self.way {
            Way::Both => self.size,
            Way::There if is_to_failing => self.size,
            Way::Away if !is_to_failing => self.size,
            _ => 0,
        }
    }

    /// The exit codes of the end that fails and of the other one; `None` for a signal.
    fn expected(&self) -> [Option<i32>; 2] {
        let has_nothing_to_write = self.sends(self.at.other()) == 0;
        match self.fault {
            Fault::Nobody => [Some(0), Some(0)],
            // Every byte was handed over: there was none.
            Fault::ReaderGone | Fault::DiskFull if has_nothing_to_write => [Some(0), Some(0)],
            Fault::ReaderGone | Fault::DiskFull | Fault::InputFails => [Some(9), Some(7)],
            Fault::Signal("TERM") if self.at == Server => [Some(7), Some(7)],
            Fault::Signal(_) => [None, Some(7)],
            Fault::Cut | Fault::Reset => [Some(7), Some(7)],
        }
    }

    /// What the two ends say, if they fail.
    fn words(&self) -> [&'static str; 2] {
        match self.fault {
            Fault::ReaderGone => [
                "the reader of standard output has gone before it had everything",
                "could not write to its standard output everything that we sent",
            ],
            Fault::DiskFull => [
                "cannot write standard output: no space left on device",
                "could not write to its standard output everything that we sent",
            ],
            Fault::InputFails => [
                "cannot read standard input: ",
                "could not read all of its standard input: what came here is incomplete",
            ],
            _ => ["", ""],
        }
    }
}

/// Two keys, and a list that lets the client use pipes.
pub(crate) struct Keys {
    folder: TempDir,
    /// The fingerprint of the server.
    pin: String,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Keys { folder: TempDir::new(), pin: String::new() };
    for name in ["server", "client"] {
        let ended = run(&["keygen", "--out", &keys.path(name)], b"");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let read = |name: &str| std::fs::read_to_string(keys.path(name)).unwrap();
    keys.folder.file("authorized", format!("permit=\"pipe\" {}", read("client.pub")));
    let shown = run(&["fingerprint", &keys.path("server.pub")], b"").stdout;
    keys.pin = shown.split(' ').next().unwrap().to_owned();
    keys
});

impl Keys {
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A running end of a pipe.
pub(crate) struct End {
    pub(crate) process: Process,
    pub(crate) words: Lines,
    /// Bytes that came out so far.
    arrived: Arc<AtomicUsize>,
    output: Option<Receiver<Vec<u8>>>,
    /// Keeps standard input open.
    pub(crate) held: Option<Sender<()>>,
    /// Standard input, if the test writes it.
    pub(crate) input: Option<io::PipeWriter>,
}

/// What standard input does behind its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    End,
    Hold,
    Fail,
    /// Whoever runs the test writes it.
    Fed,
}

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Read,
    Full,
    /// Goes after so many bytes.
    Gone(usize),
}

impl End {
    pub(crate) fn start(
        args: &[&str],
        (size, behind): (usize, Behind),
        (sink, expected): (Sink, usize),
    ) -> Self {
        let mut command = vpn();
        command.args(args).stderr(Stdio::piped());
        let (hold, held) = channel::<()>();
        let mut input: Box<dyn FnOnce() + Send> = Box::new(|| {});
        let mut fed = None;
        if behind == Behind::Fed {
            let (theirs, ours) = io::pipe().unwrap();
            command.stdin(theirs);
            fed = Some(ours);
        } else if behind == Behind::Fail && size == 0 {
            command.stdin(File::open(KEYS.folder.path()).unwrap());
        } else if behind == Behind::Fail {
            let (theirs, mut ours) = connected();
            command.stdin(std::os::fd::OwnedFd::from(theirs));
            input = Box::new(move || {
                // It may be gone before it has read all.
                if ours.write_all(&BYTES[..size]).is_ok() {
                    socket2::SockRef::from(&ours).set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
        } else {
            let (theirs, mut ours) = io::pipe().unwrap();
            command.stdin(theirs);
            input = Box::new(move || {
                // It may be gone before it has read all.
                let _ = ours.write_all(&BYTES[..size]);
                if behind == Behind::Hold {
                    // The sender says nothing, it goes.
                    let _ = held.recv();
                }
            });
        }
        let arrived = Arc::new(AtomicUsize::new(0));
        let mut output = None;
        match sink {
            Sink::Full => {
                command.stdout(File::options().write(true).open("/dev/full").unwrap());
            }
            Sink::Read | Sink::Gone(_) => {
                let (mut ours, theirs) = io::pipe().unwrap();
                command.stdout(theirs);
                let arrived = arrived.clone();
                let most = if let Sink::Gone(most) = sink { most } else { usize::MAX };
                let mut collect = move || {
                    let mut bytes = Vec::with_capacity(expected.min(most));
                    let mut piece = vec![0; 65_536];
                    while bytes.len() < most {
                        let room = piece.len().min(most - bytes.len());
                        match ours.read(&mut piece[..room]).unwrap() {
                            0 => break,
                            count => bytes.extend_from_slice(&piece[..count]),
                        }
                        arrived.store(bytes.len(), Ordering::Release);
                    }
                    bytes
                };
                let (sender, receiver) = channel();
                if most == 0 {
                    // Gone before anything can be written.
                    sender.send(collect()).unwrap();
                } else {
                    std::thread::spawn(move || sender.send(collect()));
                }
                output = Some(receiver);
            }
        }
        let mut process = Process(command.spawn().unwrap());
        // What the command holds of the child's streams would keep them open.
        drop(command);
        std::thread::spawn(input);
        let words = Lines::of(process.0.stderr.take().unwrap());
        Self { process, words, arrived, output, held: Some(hold), input: fed }
    }

    pub(crate) fn server(input: (usize, Behind), output: (Sink, usize)) -> (Self, u16) {
        let (identity, clients) = (KEYS.path("server"), KEYS.path("authorized"));
        let args = ["server", "--host", "127.0.0.1", "--port", "0", "--service", "pipe"];
        let more = ["--identity", &identity, "--authorized-clients", &clients];
        let end = Self::start(&[&args[..], &more].concat(), input, output);
        let announced = end.words.until("Listening on ");
        let port = announced.rsplit(':').next().unwrap().parse().unwrap();
        (end, port)
    }

    pub(crate) fn client(port: u16, input: (usize, Behind), output: (Sink, usize)) -> Self {
        Self::client_with(port, &[], input, output)
    }

    pub(crate) fn client_with(
        port: u16,
        more: &[&str],
        input: (usize, Behind),
        output: (Sink, usize),
    ) -> Self {
        let (identity, known, port) = (KEYS.path("client"), KEYS.path("known"), port.to_string());
        let args = ["client", "--sealed", "--pipe", "--host", "127.0.0.1", "--port", &port];
        let trust = ["--identity", &identity, "--known-servers", &known, "--server-key", &KEYS.pin];
        Self::start(&[&args[..], &trust, more].concat(), input, output)
    }

    /// Waits until so many bytes have come out.
    pub(crate) fn has_got(&self, count: usize) {
        let start = Instant::now();
        while self.arrived.load(Ordering::Acquire) < count {
            assert!(start.elapsed() < PATIENCE, "the bytes do not arrive");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its exit code, what it said last, and what came out.
    pub(crate) fn finish(mut self) -> (Option<i32>, String, Vec<u8>) {
        let code = self.process.wait_for(PATIENCE).code();
        self.held.take();
        let mut said = Vec::new();
        while let Some(line) = self.words.next_if_any() {
            said.push(line);
        }
        let bytes = self.output.map(|output| output.recv_timeout(DEADLINE).unwrap());
        (code, said.join("\n"), bytes.unwrap_or_default())
    }
}

/// Two ends of a connection on loopback.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Somebody on the way who carries everything until told to cut.
struct Between {
    port: u16,
    cut: Sender<Fault>,
    cutter: Option<std::thread::JoinHandle<()>>,
}

impl Between {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, wanted) = channel();
        let cutter = std::thread::spawn(move || {
            let client = Arc::new(listener.accept().unwrap().0);
            let server = Arc::new(TcpStream::connect(("127.0.0.1", server)).unwrap());
            let is_cut = Arc::new(AtomicBool::new(false));
            let carriers = [carry(&client, &server, &is_cut), carry(&server, &client, &is_cut)];
            let Ok(fault) = wanted.recv() else { return };
            is_cut.store(true, Ordering::Release);
            for stream in [&client, &server] {
                let how = if fault == Fault::Reset { Shutdown::Read } else { Shutdown::Both };
                if fault == Fault::Reset {
                    let none = Some(Duration::ZERO);
                    socket2::SockRef::from(&**stream).set_linger(none).unwrap();
                }
                // It may be over already.
                let _ = stream.shutdown(how);
            }
            for carrier in carriers {
                carrier.join().unwrap();
            }
        });
        Self { port, cut, cutter: Some(cutter) }
    }

    fn cut(&mut self, fault: Fault) {
        self.cut.send(fault).unwrap();
        self.cutter.take().unwrap().join().unwrap();
    }
}

fn carry(
    from: &Arc<TcpStream>,
    to: &Arc<TcpStream>,
    is_cut: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let (from, to, is_cut) = (from.clone(), to.clone(), is_cut.clone());
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = (&*from).read(&mut bytes) {
            if (&*to).write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        if !is_cut.load(Ordering::Acquire) {
            // Each direction ends by itself.
            let _ = to.shutdown(Shutdown::Write);
        }
    })
}

/// Runs a cell and compares codes, words, and bytes where somebody reports success.
fn check(cell: Cell) {
    let Cell { fault, at, .. } = cell;
    let is_interrupted = matches!(fault, Fault::Signal(_) | Fault::Cut | Fault::Reset);
    let input = |role: Role| {
        let behind = match fault {
            Fault::InputFails if role == at => Behind::Fail,
            _ if is_interrupted => Behind::Hold,
            _ => Behind::End,
        };
        (cell.sends(role), behind)
    };
    let output = |role: Role| {
        let coming = cell.sends(role.other());
        let sink = match fault {
            Fault::DiskFull if role == at => Sink::Full,
            // What fits into a pipe of the system counts as handed over.
            Fault::ReaderGone if role == at => Sink::Gone(if coming >= LARGE { 1000 } else { 0 }),
            _ => Sink::Read,
        };
        (sink, coming)
    };
    let (server, port) = End::server(input(Server), output(Server));
    let mut between = matches!(fault, Fault::Cut | Fault::Reset).then(|| Between::before(port));
    let port = between.as_ref().map_or(port, |between| between.port);
    let client = End::client(port, input(Client), output(Client));
    if is_interrupted {
        // Through, or in the middle of it.
        for (end, role) in [(&server, Server), (&client, Client)] {
            let coming = cell.sends(role.other());
            end.has_got(if coming >= LARGE { coming / 2 } else { coming });
        }
        if cell.sends(Server) + cell.sends(Client) == 0 {
            // Nothing shows when the session is there, and it need not be.
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    match (fault, between.as_mut()) {
        (Fault::Signal(name), _) => match at {
            Client => client.process.signal(name),
            Server => server.process.signal(name),
        },
        (_, Some(between)) => between.cut(fault),
        _ => {}
    }
    let (server, client) = (server.finish(), client.finish());
    let ends = match at {
        Client => [client, server],
        Server => [server, client],
    };
    let [failing, other] = &ends;
    let context = format!("{cell:?}: {} / {}", failing.1, other.1);
    assert_eq!([failing.0, other.0], cell.expected(), "{context}");
    for ((code, said, bytes), (role, words)) in
        ends.iter().zip([at, at.other()].into_iter().zip(cell.words()))
    {
        match code {
            Some(0) => {
                let coming = cell.sends(role.other());
                let is_counted =
                    !matches!(fault, Fault::ReaderGone | Fault::DiskFull) || coming > 0;
                assert!(!is_counted || bytes[..] == BYTES[..coming], "{context}: {}", bytes.len());
            }
            // An alert behind megabytes that the peer has not read yet may not get through in the time that
            // last words have; then the session was cut, which is a failure as well.
            _ => assert!(
                said.contains(words)
                    || cell.size == LARGE && said.contains("the connection was cut"),
                "{context}"
            ),
        }
        // One line, and nothing of the system's or a library's.
        assert!(!said.contains("os error") && !said.contains("panicked"), "{context}");
    }
}

fn all_of(fault: Fault) {
    let start = Instant::now();
    let is_full = std::env::var_os("VPN_PIPE_MATRIX").is_some_and(|v| v == "full");
    let mut count = 0;
    for at in [Client, Server] {
        for way in [Way::There, Way::Away, Way::Both] {
            for size in SIZES.into_iter().chain([LARGE]) {
                let is_in_default = way == Way::There && at == Client && fault == Fault::Nobody
                    || way == Way::There && fault == Fault::ReaderGone;
                let is_repeated = size == 0 && way != Way::There;
                if is_repeated || size == LARGE && !is_full && !is_in_default {
                    continue;
                }
                check(Cell { fault, at, way, size });
                count += 1;
            }
        }
    }
    println!("{count} cells in {:?}", start.elapsed());
}

#[test]
fn whatever_is_handed_over_is_a_success_on_both_ends() {
    all_of(Fault::Nobody);
}

#[test]
fn a_reader_that_goes_is_a_failure_on_both_ends() {
    all_of(Fault::ReaderGone);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure_on_both_ends() {
    all_of(Fault::DiskFull);
}

#[test]
fn an_input_that_fails_is_a_failure_on_both_ends() {
    all_of(Fault::InputFails);
}

#[test]
fn an_end_that_is_killed_leaves_a_failure_at_the_other() {
    all_of(Fault::Signal("KILL"));
}

#[test]
fn an_end_that_is_told_to_stop_leaves_a_failure_at_the_other() {
    all_of(Fault::Signal("TERM"));
}

#[test]
fn a_cut_network_is_a_failure_on_both_ends() {
    all_of(Fault::Cut);
}

#[test]
fn a_reset_connection_is_a_failure_on_both_ends() {
    all_of(Fault::Reset);
}
