//! Real processes on loopback: free ports, a deadline on every wait, nothing left behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

pub(crate) mod adversary;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No wait of a test is longer than this. It is there for what hangs: on a machine with much else to do,
/// a second of work may take a minute.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A folder that goes away with the test.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vpn-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, with an environment that does not change what it prints.
pub(crate) fn vpn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpn"));
    command.env_remove("RUST_LOG").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// A child that does not outlive its test.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.wait_for(DEADLINE)
    }

    /// Waits for the end of something that has more to do.
    pub(crate) fn wait_for(&mut self, deadline: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < deadline, "a process did not end in time");
            // Standard Unix has no wait with a deadline; this polls, it does not synchronise.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of a stream as they come.
#[derive(Debug)]
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; fails if the stream ends or stays silent.
    pub(crate) fn next(&self) -> String {
        self.0.recv_timeout(DEADLINE).expect("a line within the deadline")
    }

    /// The next line, or none if the stream has ended.
    pub(crate) fn next_if_any(&self) -> Option<String> {
        match self.0.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("neither a line nor the end in time"),
        }
    }

    /// Skips lines until one contains `part`.
    pub(crate) fn until(&self, part: &str) -> String {
        let start = Instant::now();
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no '{part}' in time, but {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("no '{part}' at all, but {seen:?}"),
            }
        }
    }
}

/// The next connection; fails if there is none in time. Its reads and writes have a deadline, too.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let start = Instant::now();
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < DEADLINE, "nobody connects");
        // The standard library has no wait with a deadline; this polls, it does not synchronise.
        std::thread::sleep(Duration::from_millis(1));
    };
    // Some systems hand it down.
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What a pipe of a process gives, up to its end or so many bytes; fails if that takes too long.
pub(crate) fn read_in_time(pipe: impl Read + Send + 'static, most: usize) -> Vec<u8> {
    read_all(pipe.take(most as u64)).recv_timeout(DEADLINE).expect("all of it within the deadline")
}

/// A server on a free loopback port, logging with `-v`.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) out: Lines,
    pub(crate) log: Lines,
    pub(crate) port: u16,
    _folder: TempDir,
}

/// The shipped list of ciphers, for configurations with other tables.
pub(crate) const SHIPPED: &str = include_str!("../../server_cipher.toml");

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::with_config(SHIPPED, args)
    }

    pub(crate) fn with_config(config: &str, args: &[&str]) -> Self {
        let folder = TempDir::new();
        let config = folder.file("server.toml", config);
        let mut command = vpn();
        command.args(["server", "-v", "--port", "0", "--config"]).arg(config).args(args);
        if !args.contains(&"--host") {
            command.args(["--host", "127.0.0.1"]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let out = Lines::of(process.0.stdout.take().unwrap());
        let log = Lines::of(process.0.stderr.take().unwrap());
        let announced = out.next();
        assert!(announced.starts_with("Listening on "), "{announced}");
        let port = announced.rsplit(':').next().unwrap().parse().unwrap();
        Self { process, out, log, port, _folder: folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A raw connection.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address(), DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A client of ours against this server.
    pub(crate) fn client(&self, args: &[&str], input: &[u8]) -> Ended {
        client_of(self.port, args, input)
    }

    /// Shows that the server still serves.
    pub(crate) fn assert_alive(&self) {
        let ended = self.client(&["-q", "--message", "still there?"], b"");
        assert_eq!(ended.stdout, "?ereht llits\n", "{}", ended.stderr);
    }

    /// The most memory the server ever had, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that the server has now, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    #[cfg(target_os = "linux")]
    fn status(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A client of ours against a loopback port.
pub(crate) fn client_of(port: u16, args: &[&str], input: &[u8]) -> Ended {
    let port = port.to_string();
    let at = ["client", "--host", "127.0.0.1", "--port", &port];
    run(&[&at, args].concat(), input)
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str], input: &[u8]) -> Ended {
    let mut command = vpn();
    command.args(args);
    finish(command, input)
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let mut stdin = process.0.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that does not read its input is free to do so.
        let _ = stdin.write_all(&input);
    });
    let out = read_all(process.0.stdout.take().unwrap());
    let err = read_all(process.0.stderr.take().unwrap());
    let status = process.wait();
    writer.join().unwrap();
    let text = |r: Receiver<Vec<u8>>| {
        String::from_utf8(r.recv_timeout(DEADLINE).unwrap()).expect("the program prints UTF-8")
    };
    Ended { code: status.code(), stdout: text(out), stderr: text(err) }
}

fn read_all(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Everything a peer says until it closes.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the peer closes within the deadline");
    bytes
}
