//! Local sockets of forwards: TCP, and on Unix also sockets with a path.

use std::io;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// A connected socket. If it is dropped before it is closed, its peer gets a reset, never a
/// clean end.
#[derive(Debug)]
pub struct LocalSocket(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl LocalSocket {
    /// Takes a TCP connection.
    pub fn tcp(stream: TcpStream) -> Self {
        // A reset is what the kernel sends then, even if this process is killed. If it cannot be set,
        // the peer sees an early end.
        let _ = set_reset(&stream, true);
        let _ = stream.set_nodelay(true);
        Self(Kind::Tcp(stream))
    }

    /// Takes a connection of a socket with a path. It has no reset: its peer sees an early end.
    #[cfg(unix)]
    pub fn unix(stream: UnixStream) -> Self {
        Self(Kind::Unix(stream))
    }

    /// The TCP connection, which is reset if it is dropped; `None` if it is no TCP.
    pub fn into_tcp(self) -> Option<TcpStream> {
        match self.0 {
            Kind::Tcp(stream) => Some(stream),
            #[cfg(unix)]
            Kind::Unix(_) => None,
        }
    }

    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Kind::Tcp(stream) => stream.poll_read_ready(context),
            #[cfg(unix)]
            Kind::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Kind::Tcp(stream) => stream.poll_write_ready(context),
            #[cfg(unix)]
            Kind::Unix(stream) => stream.poll_write_ready(context),
        }
    }

    /// Appends what there is to `buffer`, at most `most` bytes.
    pub(super) fn try_read(&self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let mut limited = buffer.limit(most);
        match &self.0 {
            Kind::Tcp(stream) => stream.try_read_buf(&mut limited),
            #[cfg(unix)]
            Kind::Unix(stream) => stream.try_read_buf(&mut limited),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Tcp(stream) => stream.try_write(bytes),
            #[cfg(unix)]
            Kind::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Ends our direction.
    pub(super) fn shutdown(&self) -> io::Result<()> {
        let how = std::net::Shutdown::Write;
        let ended = match &self.0 {
            Kind::Tcp(stream) => socket2::SockRef::from(stream).shutdown(how),
            #[cfg(unix)]
            Kind::Unix(stream) => socket2::SockRef::from(stream).shutdown(how),
        };
        match ended {
            // Linux says so only after a reset. Other systems also say it if the peer has closed.
            Err(error)
                if error.kind() == io::ErrorKind::NotConnected && !cfg!(target_os = "linux") =>
            {
                Ok(())
            }
            ended => ended,
        }
    }

    /// Closes it without a reset.
    pub(super) fn close(self) {
        if let Kind::Tcp(stream) = &self.0 {
            let _ = set_reset(stream, false);
        }
    }
}

/// Says how a TCP connection ends that is moved elsewhere. Without [`CleanEnd::allow`] its peer gets a
/// reset.
#[derive(Debug)]
pub struct CleanEnd(socket2::Socket);

impl CleanEnd {
    /// From now on the connection is reset when it is dropped.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        set_reset(stream, true)?;
        Ok(Self(socket2::SockRef::from(stream).try_clone()?))
    }

    /// The connection may be closed without a reset.
    pub fn allow(self) {
        let _ = self.0.set_linger(None);
    }
}

fn set_reset(stream: &TcpStream, is_reset: bool) -> io::Result<()> {
    let linger = is_reset.then_some(std::time::Duration::ZERO);
    socket2::SockRef::from(stream).set_linger(linger)
}

/// A local socket that waits for connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A socket with a path. The path is removed before the socket is closed, so that it is not one of a
    /// later socket.
    #[cfg(unix)]
    Unix(SocketPath, UnixListener),
}

/// Removes the file of a socket when it is dropped.
#[cfg(unix)]
#[derive(Debug)]
pub struct SocketPath(std::path::PathBuf);

#[cfg(unix)]
impl std::fmt::Display for SocketPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

#[cfg(unix)]
impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens at a path. Only the user may connect. A socket that is left over from a program that has
    /// ended is replaced; one that answers is not.
    ///
    /// # Errors
    ///
    /// As `bind(2)`; [`io::ErrorKind::AddrInUse`] if there is a file or a live socket.
    #[cfg(unix)]
    pub fn unix(path: &std::path::Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let bind = || -> io::Result<Self> {
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(Self::Unix(SocketPath(path.to_owned()), listener))
        };
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let is_socket = path.symlink_metadata()?.file_type().is_socket();
                let is_dead = std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                if !is_socket || !is_dead {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                bind()
            }
            bound => bound,
        }
    }

    /// The port; 0 for a path.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or(0, |address| address.port()),
            #[cfg(unix)]
            Self::Unix(..) => 0,
        }
    }

    /// Waits for a connection. Returns it and the text of its peer's address.
    ///
    /// # Errors
    ///
    /// As `accept(2)`.
    pub async fn accept(&self) -> io::Result<(LocalSocket, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((LocalSocket::tcp(stream), peer.to_string()))
            }
            #[cfg(unix)]
            Self::Unix(_, listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((LocalSocket::unix(stream), "unix".to_owned()))
            }
        }
    }
}
