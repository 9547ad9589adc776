//! Programs at a terminal of their own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::{DEADLINE, Process, vpn};

/// A program at a terminal of its own.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) process: Process,
    keyboard: File,
    /// The program's side, which shows how the program left it.
    other_side: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    /// All standard streams of the program are the terminal.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = vpn();
        command.args(args).env("TERM", "xterm");
        Self::start_with(command, None, None)
    }

    /// Standard error of the program is the terminal. So are standard input and output without a stream
    /// of their own.
    pub(crate) fn start_with(
        mut command: Command,
        stdin: Option<Stdio>,
        stdout: Option<Stdio>,
    ) -> Self {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&own).unwrap();
        unlockpt(&own).unwrap();
        let name = ptsname(&own, Vec::new()).unwrap().into_string().unwrap();
        let other_side = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let stream = || Stdio::from(other_side.try_clone().unwrap());
        command.stdin(stdin.unwrap_or_else(stream)).stdout(stdout.unwrap_or_else(stream));
        command.stderr(stream());
        let process = Process::start(&mut command);
        let keyboard = File::from(own);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { process, keyboard, other_side, screen, shown: String::new() }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows this, behind what was waited for before. Returns what was shown
    /// before it.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no '{text}' in time, but {:?}", self.shown),
            }
        }
    }

    /// Waits for the end of the program: its exit code, and what else it showed.
    pub(crate) fn finish(self) -> (Option<i32>, String) {
        let Self { mut process, keyboard: _keyboard, other_side, screen, mut shown } = self;
        let code = process.wait().code();
        // Without anybody on the other side, the screen has an end.
        drop(other_side);
        loop {
            match screen.recv_timeout(DEADLINE) {
                Ok(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => return (code, shown),
                Err(RecvTimeoutError::Timeout) => panic!("the screen has no end: {shown:?}"),
            }
        }
    }

    pub(crate) fn is_as_it_was_found(&self) -> bool {
        let modes = tcgetattr(self.other_side.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ICANON) && modes.contains(LocalModes::ECHO)
    }
}
