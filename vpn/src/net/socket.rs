//! Reading, writing and closing a TCP socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::limits::{CLOSE, READ};

/// The result of [`read_some`].
#[derive(Debug)]
pub enum Input {
    /// Bytes, at least one.
    Bytes(Vec<u8>),
    /// The end of the peer's stream.
    End,
    /// Nothing yet.
    Nothing,
}

/// Reads what a socket has, at most [`READ`] bytes, without waiting. The buffer exists only for the
/// call, so that an idle connection holds none.
///
/// # Errors
///
/// The error of the socket.
pub fn read_some(stream: &TcpStream) -> io::Result<Input> {
    let mut buffer = [0; READ];
    match stream.try_read(&mut buffer) {
        Ok(0) => Ok(Input::End),
        Ok(n) => Ok(Input::Bytes(buffer[..n].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Input::Nothing),
        Err(error) => Err(error),
    }
}

/// Sends all bytes within a time.
///
/// Cancel safety: none. If the future is dropped, a part of the bytes may be sent.
///
/// # Errors
///
/// The error of the socket, or [`io::ErrorKind::TimedOut`] if the peer does not take the bytes in time.
pub async fn send(stream: &mut TcpStream, bytes: &[u8], within: Duration) -> io::Result<()> {
    timeout(within, stream.write_all(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Limits the time that sent bytes may stay without an acknowledgement. After it the system ends the
/// connection with an error (TCP_USER_TIMEOUT of tcp(7), RFC 5482). Without it this takes a quarter of an
/// hour. The system counts in milliseconds; 1 ms is the shortest time.
///
/// Only Linux and Android have this. Elsewhere nothing happens.
///
/// # Errors
///
/// The system does not accept it.
pub fn set_user_timeout(stream: &TcpStream, time: Duration) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // The system takes zero for its default.
        let time = time.max(Duration::from_millis(1));
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(time))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (stream, time);
        Ok(())
    }
}

/// Closes a connection so that the last bytes sent arrive: a lingering close (RFC 9112 §9.6).
///
/// A socket that is closed with unread input resets the connection, and the peer may lose what was
/// sent. So this closes our side, then reads and discards input until the peer closes too, for
/// [`CLOSE`] at most.
pub async fn lingering_close(mut stream: TcpStream) {
    let linger = async {
        stream.shutdown().await?;
        loop {
            stream.readable().await?;
            if matches!(read_some(&stream)?, Input::End) {
                return Ok::<(), io::Error>(());
            }
        }
    };
    // An error cannot be reported to anybody.
    let _ = timeout(CLOSE, linger).await;
}

/// Sets how many bytes the system holds that are not sent yet (TCP_NOTSENT_LOWAT). Other systems than
/// Linux hold what they like.
pub(super) fn limit_unsent(stream: &TcpStream, bytes: u32) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (stream, bytes);
        Ok(())
    }
}

/// What a server knows of a peer that it does not read from, because it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerState {
    /// The peer has sent nothing more.
    Waiting,
    /// The peer has sent more. It stays unread until the computation is complete.
    HasSent,
    /// The peer has closed its side and left nothing to read. It may still read.
    Closed,
}

/// Waits until the state of a peer changes from `state`, and returns the new one. Nothing is read.
///
/// Cancel safety: nothing is lost if the future is dropped.
///
/// # Errors
///
/// The connection is broken.
pub(super) async fn watch_peer(stream: &TcpStream, state: PeerState) -> io::Result<PeerState> {
    if state == PeerState::Waiting {
        return match stream.peek(&mut [0]).await? {
            0 => Ok(PeerState::Closed),
            _ => Ok(PeerState::HasSent),
        };
    }
    Err(wait_for_error(stream).await)
}

/// Waits until the connection is broken: the peer does not even read any more.
async fn wait_for_error(stream: &TcpStream) -> io::Error {
    if let Err(error) = stream.ready(Interest::ERROR).await {
        return error;
    }
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => error,
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_gets_its_time_without_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let set = || socket2::SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_eq!(set(), None);
        for (time, expected) in [
            (Duration::from_secs(15), Duration::from_secs(15)),
            (Duration::from_micros(1500), Duration::from_millis(1)),
            (Duration::ZERO, Duration::from_millis(1)),
        ] {
            set_user_timeout(&stream, time).unwrap();
            assert_eq!(set(), Some(expected));
        }
    }
}
