//! A client at a terminal keeps what is typed early, and notices at once when its server goes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::{DEADLINE, Keys, Process, Server, vpn};

/// A program at a terminal of its own.
struct Terminal {
    process: Process,
    keyboard: File,
    /// The program's side, which shows how the program left it.
    other_side: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&own).unwrap();
        unlockpt(&own).unwrap();
        let name = ptsname(&own, Vec::new()).unwrap().into_string().unwrap();
        let other_side = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let mut command = vpn();
        command.args(args).env("TERM", "xterm");
        command.stdin(other_side.try_clone().unwrap()).stdout(other_side.try_clone().unwrap());
        command.stderr(other_side.try_clone().unwrap());
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

    fn client(server: &Server) -> Self {
        let port = server.port.to_string();
        Self::start(&["client", "--host", "127.0.0.1", "--port", &port])
    }

    /// A sealed client with these keys.
    fn sealed(server: &Server, keys: &Keys) -> Self {
        let (port, pin, key) = (server.port.to_string(), keys.pin(), keys.path("client"));
        let args = ["client", "--sealed", "--host", "127.0.0.1", "--port", &port];
        Self::start(&[&args[..], &["--server-key", &pin, "--identity", &key]].concat())
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen shows this, behind what was waited for before.
    fn until(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let left = DEADLINE.saturating_sub(start.elapsed());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no '{text}' in time, but {:?}", self.shown),
            }
        }
    }

    fn is_as_it_was_found(&self) -> bool {
        let modes = tcgetattr(self.other_side.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ICANON) && modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn lines_pasted_at_once_are_all_sent_in_order() {
    let server = Server::start(&[]);
    let mut client = Terminal::client(&server);
    client.until("Enter message: ");
    client.type_in("one\rtwo\rthree\r");
    for reply in ["Server says: eno", "Server says: owt", "Server says: eerht"] {
        client.until(reply);
    }
    for text in ["one", "two", "three"] {
        server.out.until(&format!("Received: {text}"));
    }
    client.type_in("\\quit\r");
    assert_eq!(client.process.wait().code(), Some(0));
    assert!(client.is_as_it_was_found());
}

#[test]
fn a_server_that_goes_is_told_at_the_prompt_and_the_terminal_is_left_as_it_was() {
    let mut server = Server::start(&[]);
    let mut client = Terminal::client(&server);
    client.until("Enter message: ");
    client.type_in("half a li");
    client.until("half a li");
    assert!(!client.is_as_it_was_found(), "the line editor is at work");
    server.process.signal("TERM");
    client.until("vpn: the server closed the connection");
    assert_eq!(client.process.wait().code(), Some(7));
    assert!(client.is_as_it_was_found());
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn a_sealed_server_that_stops_is_told_at_the_prompt_and_hears_a_proper_end() {
    let keys = Keys::new();
    let mut server = keys.server(&[]);
    let mut client = Terminal::sealed(&server, &keys);
    client.until("vpn: sealed session with ");
    client.until("Enter message: ");
    server.process.signal("TERM");
    client.until("vpn: the server closed the connection");
    assert_eq!(client.process.wait().code(), Some(7));
    assert!(client.is_as_it_was_found());
    // Both have said that it is the end: nothing was cut.
    server.log.until("closed, the server is stopping");
    assert_eq!(server.process.wait().code(), Some(0));
}
