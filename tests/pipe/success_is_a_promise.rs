//! A pipe's success is a promise: the exit code is 0 on both ends only if every byte was handed over on
//! the far side. Who fails x which way the bytes go x how many x which role has the failing end.
//!
//! `VPN_PIPE_MATRIX=full` runs every cell with 60 MB, too; otherwise only a few of them do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crate::support::Role::{self, Client, Server};
use crate::support::pipes::{BYTES, Behind, End, LARGE, Sink};
use crate::support::{accept, connect, listener};

const SIZES: [usize; 4] = [0, 5, 5_000, 100_000];

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

/// Somebody on the way who carries everything until told to cut.
struct Between {
    port: u16,
    cut: Sender<Fault>,
    cutter: Option<std::thread::JoinHandle<()>>,
}

impl Between {
    fn before(server: u16) -> Self {
        let (listener, port) = listener();
        let (cut, wanted) = channel();
        let cutter = std::thread::spawn(move || {
            let client = Arc::new(accept(&listener));
            let server = Arc::new(connect(server));
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
