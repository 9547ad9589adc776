//! The two ends of the service `pipe`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{DEADLINE, Keys, Lines, Process, accept, connect, listener, port_in, vpn, wait_until};

/// The most bytes that a test sends one way.
pub(crate) const LARGE: usize = 60_000_000;

/// Bytes of which none is where another one is.
pub(crate) static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..LARGE as u64 / 8 + 1)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
});

/// Keys of both ends, a list that lets the client use pipes, and the fingerprint of the server.
static KEYS: LazyLock<(Keys, String)> = LazyLock::new(|| {
    let keys = Keys::new();
    keys.authorize("permit=\"pipe\"");
    let pin = keys.fingerprint("server");
    (keys, pin)
});

/// What standard input does behind its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    End,
    Hold,
    Fail,
    /// The test writes it.
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

/// A running end of a pipe.
pub(crate) struct End {
    pub(crate) process: Process,
    pub(crate) words: Lines,
    output: Output,
    /// Keeps standard input open.
    pub(crate) held: Option<Sender<()>>,
    /// Standard input, if the test writes it.
    pub(crate) input: Option<io::PipeWriter>,
}

impl End {
    fn start(args: &[&str], (size, behind): (usize, Behind), output: (Sink, usize)) -> Self {
        let mut command = vpn();
        command.args(args).stderr(Stdio::piped());
        let (hold, held) = channel();
        let (fed, input) = connect_input(&mut command, size, behind, held);
        let output = Output::connect(&mut command, output);
        let mut process = Process::start(&mut command);
        // What the command holds of the child's streams would keep them open.
        drop(command);
        std::thread::spawn(input);
        let words = Lines::of(process.0.stderr.take().unwrap());
        Self { process, words, output, held: Some(hold), input: fed }
    }

    /// A server that sends so many bytes, and its port.
    pub(crate) fn server(input: (usize, Behind), output: (Sink, usize)) -> (Self, u16) {
        let (keys, _) = &*KEYS;
        let (identity, clients) = (keys.path("server"), keys.path("authorized"));
        let args = ["server", "--host", "127.0.0.1", "--port", "0", "--service", "pipe"];
        let more = ["--identity", &identity, "--authorized-clients", &clients];
        let end = Self::start(&[&args[..], &more].concat(), input, output);
        let port = port_in(&end.words.until("Listening on "));
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
        let (keys, pin) = &*KEYS;
        let (identity, known, port) = (keys.path("client"), keys.path("known"), port.to_string());
        let args = ["client", "--sealed", "--pipe", "--host", "127.0.0.1", "--port", &port];
        let trust = ["--identity", &identity, "--known-servers", &known, "--server-key", pin];
        Self::start(&[&args[..], &trust, more].concat(), input, output)
    }

    /// Waits until so many bytes have come out.
    pub(crate) fn has_got(&self, count: usize) {
        wait_until("the bytes", || self.output.arrived.load(Ordering::Acquire) >= count);
    }

    /// Its exit code, what it said last, and what came out.
    pub(crate) fn finish(mut self) -> (Option<i32>, String, Vec<u8>) {
        let code = self.process.wait().code();
        self.held.take();
        let said = self.words.rest();
        let bytes = self.output.bytes.map(|bytes| bytes.recv_timeout(DEADLINE).unwrap());
        (code, said, bytes.unwrap_or_default())
    }
}

type Writer = Box<dyn FnOnce() + Send>;

/// Gives a command its standard input: what the test writes, or what is to be run to write it.
fn connect_input(
    command: &mut Command,
    size: usize,
    behind: Behind,
    held: Receiver<()>,
) -> (Option<io::PipeWriter>, Writer) {
    match behind {
        Behind::Fed => {
            let (theirs, ours) = io::pipe().unwrap();
            command.stdin(theirs);
            (Some(ours), Box::new(|| {}))
        }
        // Reading a folder fails at once.
        Behind::Fail if size == 0 => {
            command.stdin(File::open(KEYS.0.folder.path()).unwrap());
            (None, Box::new(|| {}))
        }
        // A connection fails when it is reset.
        Behind::Fail => {
            let (theirs, mut ours) = connected();
            command.stdin(std::os::fd::OwnedFd::from(theirs));
            let write = move || {
                // The program may be gone before it has read all.
                if ours.write_all(&BYTES[..size]).is_ok() {
                    socket2::SockRef::from(&ours).set_linger(Some(Duration::ZERO)).unwrap();
                }
            };
            (None, Box::new(write))
        }
        Behind::End | Behind::Hold => {
            let (theirs, mut ours) = io::pipe().unwrap();
            command.stdin(theirs);
            let write = move || {
                // The program may be gone before it has read all.
                let _ = ours.write_all(&BYTES[..size]);
                if behind == Behind::Hold {
                    // The sender says nothing, it goes.
                    let _ = held.recv();
                }
            };
            (None, Box::new(write))
        }
    }
}

/// Two ends of a connection on loopback.
fn connected() -> (TcpStream, TcpStream) {
    let (listener, port) = listener();
    let one = connect(port);
    // It is a standard stream now, which has no deadline.
    one.set_read_timeout(None).unwrap();
    (one, accept(&listener))
}

/// What comes out of an end.
struct Output {
    /// How many bytes so far.
    arrived: Arc<AtomicUsize>,
    /// All of them, at the end.
    bytes: Option<Receiver<Vec<u8>>>,
}

impl Output {
    /// Gives a command its standard output, from which so many bytes are expected.
    fn connect(command: &mut Command, (sink, expected): (Sink, usize)) -> Self {
        let arrived = Arc::new(AtomicUsize::new(0));
        let most = match sink {
            Sink::Full => {
                command.stdout(File::options().write(true).open("/dev/full").unwrap());
                return Self { arrived, bytes: None };
            }
            Sink::Read => usize::MAX,
            Sink::Gone(most) => most,
        };
        let (mut ours, theirs) = io::pipe().unwrap();
        command.stdout(theirs);
        let count = arrived.clone();
        let mut collect = move || {
            let mut bytes = Vec::with_capacity(expected.min(most));
            let mut piece = vec![0; 65_536];
            while bytes.len() < most {
                let room = piece.len().min(most - bytes.len());
                match ours.read(&mut piece[..room]).unwrap() {
                    0 => break,
                    length => bytes.extend_from_slice(&piece[..length]),
                }
                count.store(bytes.len(), Ordering::Release);
            }
            bytes
        };
        let (sender, receiver) = channel();
        if most == 0 {
            // Gone before anything can be written: the reader is dropped here.
            sender.send(collect()).unwrap();
            drop(collect);
        } else {
            std::thread::spawn(move || sender.send(collect()));
        }
        Self { arrived, bytes: Some(receiver) }
    }
}
