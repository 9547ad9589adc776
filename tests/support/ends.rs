//! The ends of forwarded connections: TCP, or unix sockets.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sockets::with_deadlines;
use super::{DEADLINE, accept, wait_until};

/// Where something listens. Its text is what stands in a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    pub(crate) fn parse(text: &str) -> Self {
        match text.starts_with('/') {
            true => Self::Unix(text.into()),
            false => Self::Tcp(text.parse().unwrap_or_else(|_| panic!("'{text}' is no address"))),
        }
    }

    pub(crate) fn connect(&self) -> Socket {
        self.try_connect().unwrap()
    }

    pub(crate) fn try_connect(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(address) => Socket::tcp(TcpStream::connect_timeout(address, DEADLINE)?),
            Self::Unix(path) => Socket::unix(UnixStream::connect(path)?),
        })
    }

    /// Connections are accepted and reset.
    pub(crate) fn resets(&self) {
        match self.try_connect() {
            Ok(mut socket) => socket.is_reset(),
            // So soon that the system reports it as a failure to connect.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A program that listens at a place of its own.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listening {
    /// At a free port of 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// At a free port of an address, with port 0.
    pub(crate) fn at(address: &str) -> Self {
        Self::Tcp(TcpListener::bind(address).unwrap())
    }

    pub(crate) fn unix(path: &Path) -> Self {
        Self::Unix(UnixListener::bind(path).unwrap(), path.to_owned())
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Tcp(listener) => Place::Tcp(listener.local_addr().unwrap()),
            Self::Unix(_, path) => Place::Unix(path.clone()),
        }
    }

    /// The next connection; fails if there is none in time.
    pub(crate) fn accept(&self) -> Socket {
        match self {
            Self::Tcp(listener) => Socket::tcp(accept(listener)),
            Self::Unix(listener, _) => {
                listener.set_nonblocking(true).unwrap();
                let mut accepted = None;
                wait_until("a connection", || {
                    accepted = listener.accept().ok();
                    accepted.is_some()
                });
                let (stream, _) = accepted.unwrap();
                stream.set_nonblocking(false).unwrap();
                Socket::unix(stream)
            }
        }
    }

    /// Whether nobody has connected.
    pub(crate) fn is_alone(&self) -> bool {
        let Self::Tcp(listener) = self else { panic!("this is for TCP") };
        listener.set_nonblocking(true).unwrap();
        listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends back what comes, on every connection, until the test ends.
    pub(crate) fn echo(self) -> Place {
        let place = self.place();
        let Self::Tcp(listener) = self else { panic!("this is for TCP") };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                std::thread::spawn(move || {
                    // The other side may reset it.
                    let _ = io::copy(&mut &stream, &mut &stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        place
    }
}

/// One end of a connection. Its reads and writes have a deadline.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::Tcp(with_deadlines(stream))
    }

    fn unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self::Unix(stream)
    }

    /// The same connection once more.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
        }
    }

    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.write_all(bytes).unwrap();
    }

    /// The next bytes are these.
    pub(crate) fn hears(&mut self, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        self.read_exact(&mut heard).unwrap();
        assert!(heard == bytes, "{} other bytes than expected", bytes.len());
    }

    /// Writes without an end, until the other side has read so many bytes. The way there is full then.
    pub(crate) fn pours(&mut self, to: &mut Self, count: usize) {
        self.set_nonblocking(true);
        let (mut heard, mut piece) = (0, vec![0; 65_536]);
        loop {
            while self.write(&[7; 10_000]).is_ok() {}
            if heard >= count {
                break;
            }
            heard += to.read(&mut piece).unwrap();
        }
        self.set_nonblocking(false);
    }

    fn set_nonblocking(&self, is_nonblocking: bool) {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(is_nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(is_nonblocking),
        }
        .unwrap();
    }

    /// Ends the direction from here.
    pub(crate) fn ends(&self) {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .unwrap();
    }

    /// Everything up to a clean end.
    pub(crate) fn hears_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.read_to_end(&mut all).unwrap_or_else(|e| panic!("after {} bytes: {e}", all.len()));
        all
    }

    /// Resets the connection, as the system does for a program that was killed.
    pub(crate) fn reset(self) {
        let Self::Tcp(stream) = &self else { panic!("only TCP has resets") };
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads to the end: how many bytes there were, and the error, if it was no clean end.
    pub(crate) fn fate(&mut self) -> (usize, Option<ErrorKind>) {
        let (mut count, mut piece) = (0, vec![0; 65_536]);
        loop {
            match self.read(&mut piece) {
                Ok(0) => return (count, None),
                Ok(length) => count += length,
                Err(error) => return (count, Some(error.kind())),
            }
        }
    }

    /// How long it waits for bytes; `None` is as long as all others.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) {
        let Self::Tcp(stream) = self else { panic!("this is for TCP") };
        stream.set_read_timeout(patience.or(Some(DEADLINE))).unwrap();
    }

    /// Waits until the connection is reset; nothing more may come before that.
    pub(crate) fn is_reset(&mut self) {
        assert_eq!(self.fate(), (0, Some(ErrorKind::ConnectionReset)));
    }

    /// Waits for the reset of a connection whose other direction has ended.
    pub(crate) fn is_broken(&self) {
        let Self::Tcp(stream) = self else { panic!("only TCP has resets") };
        let mut error = None;
        wait_until("a reset", || {
            error = stream.take_error().unwrap();
            error.is_some()
        });
        // The end that came before makes it this error (Linux, tcp_reset).
        let kind = error.unwrap().kind();
        let is_reset = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&kind);
        assert!(is_reset, "{kind:?}");
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
