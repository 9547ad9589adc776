//! Programs that a test runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::DEADLINE;

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
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        // Most programs of the tests end within a few milliseconds.
        let mut pause = Duration::from_micros(500);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "a process did not end in time");
            // Standard Unix has no wait with a deadline; this polls, it does not synchronise.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
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

/// A program that is asked and answers while the test goes on.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    input: Option<ChildStdin>,
    pub(crate) out: Lines,
    pub(crate) log: Lines,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let input = process.0.stdin.take();
        let out = Lines::of(process.0.stdout.take().unwrap());
        let log = Lines::of(process.0.stderr.take().unwrap());
        Self { process, input, out, log }
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("the input is open"), "{line}").unwrap();
    }

    /// Ends its input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for the end; the exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.process.wait().code()
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

    /// All lines up to the end of the stream, with line ends between them.
    pub(crate) fn rest(&self) -> String {
        let mut rest = Vec::new();
        loop {
            match self.0.recv_timeout(DEADLINE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return rest.join("\n"),
                Err(RecvTimeoutError::Timeout) => panic!("neither a line nor the end in time"),
            }
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

    /// Skips lines until each of these parts was in one of its own, in any order.
    pub(crate) fn until_all(&self, mut parts: Vec<&str>) {
        let start = Instant::now();
        while !parts.is_empty() {
            let line = self.0.recv_timeout(DEADLINE.saturating_sub(start.elapsed()));
            let line = line.unwrap_or_else(|error| panic!("{error}, and no line has {parts:?}"));
            if let Some(at) = parts.iter().position(|part| line.contains(part)) {
                parts.swap_remove(at);
            }
        }
    }
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
    let mut process = Process::start(&mut command);
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

/// What a pipe of a process gives, up to its end or so many bytes; fails if that takes too long.
pub(crate) fn read_in_time(pipe: impl Read + Send + 'static, most: usize) -> Vec<u8> {
    read_all(pipe.take(most as u64)).recv_timeout(DEADLINE).expect("all of it within the deadline")
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
