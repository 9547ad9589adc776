//! Outgoing connections.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::limits::CONNECT;
use super::listen::{endpoint, unbracketed};
use super::lookup::lookup;
use crate::output::Reason;

/// How long one attempt may take before the next address is tried too: the Connection Attempt Delay of
/// RFC 8305 §5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the address of `host` that answers first (Happy Eyeballs, RFC 8305).
///
/// Addresses of the two families alternate. Each attempt begins 250 ms after the one before, or as soon
/// as that one has failed, and takes [`CONNECT`] at most. So does the lookup of the name.
///
/// Cancel safety: all attempts end if the future is dropped.
///
/// # Errors
///
/// [`DialError`] with the most informative error of all attempts.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let failed = |source| DialError { to: endpoint(host, port), source };
    let addresses = lookup(unbracketed(host), port).await.map_err(|e| failed(e.into()))?;
    connect_addresses(addresses).await.map_err(failed)
}

/// Connects to the address that answers first, as [`connect`] does. The addresses are tried in their
/// order, but the two families alternate. Small messages are sent at once (TCP_NODELAY).
///
/// Cancel safety: all attempts end if the future is dropped.
///
/// # Errors
///
/// The most informative error of all attempts.
pub async fn connect_addresses(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    dial(addresses, TcpStream::connect).await
}

/// As [`connect_addresses`], for a connection that must not look cleanly closed if it is given up: from
/// its first moment, its peer gets a reset when it is dropped.
///
/// # Errors
///
/// As [`connect_addresses`].
pub async fn connect_resetting(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    dial(addresses, |address| async move {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        socket.connect(address).await
    })
    .await
}

/// Connects to the address that answers first. Small messages are sent at once (TCP_NODELAY).
async fn dial<F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<TcpStream>
where
    F: Future<Output = io::Result<TcpStream>> + Send + 'static,
{
    let stream = match addresses[..] {
        // A single address needs no race.
        [address] => {
            let late = |_| Err(io::ErrorKind::TimedOut.into());
            timeout(CONNECT, connect(address)).await.unwrap_or_else(late)?
        }
        _ => race(interleaved(addresses), connect).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Tries addresses one after the other until one connects.
async fn race<T, F>(
    mut addresses: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut failure: Option<io::Error> = None;
    let mut next = Instant::now();
    loop {
        let (address, result) = tokio::select! {
            biased;
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(attempt) => attempt,
                // Attempts do not panic and are not aborted.
                Err(_) => continue,
            },
            () = sleep_until(next), if !addresses.is_empty() => {
                if let Some(address) = addresses.pop_front() {
                    let attempt = connect(address);
                    attempts.spawn(async move {
                        let late = |_| Err(io::ErrorKind::TimedOut.into());
                        (address, timeout(CONNECT, attempt).await.unwrap_or_else(late))
                    });
                }
                next = Instant::now() + ATTEMPT_DELAY;
                continue;
            }
            else => break,
        };
        match result {
            Ok(connected) => {
                log::debug!("connected to {address}");
                return Ok(connected);
            }
            Err(error) => {
                log::debug!("{address}: {}", Reason(&error));
                if failure
                    .as_ref()
                    .is_none_or(|last| informativeness(&error) >= informativeness(last))
                {
                    failure = Some(error);
                }
                next = Instant::now();
            }
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    Err(failure.unwrap_or_else(none))
}

/// How much an error tells about the server. That our machine has no IPv6 tells nothing.
fn informativeness(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::Unsupported => 0,
        io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => 1,
        _ => 2,
    }
}

/// The addresses with alternating families, beginning with the family of the first one (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_v6);
    let mut second = second.into_iter();
    let mut all = VecDeque::new();
    for address in first {
        all.push_back(address);
        all.extend(second.next());
    }
    all.extend(second);
    all
}

/// No address of a host accepts a connection.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {to}")]
pub struct DialError {
    /// The host and port that were asked for.
    pub to: String,
    /// The most informative error of all attempts.
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &[&str]) -> VecDeque<SocketAddr> {
        text.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate() {
        let all = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let expected = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleaved(all.into()), expected);
        let all = addresses(&["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"]);
        let expected = addresses(&["10.0.0.1:1", "[::1]:1", "10.0.0.2:1"]);
        assert_eq!(interleaved(all.into()), expected);
        assert!(interleaved(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_delays_the_next_one_by_a_quarter_of_a_second() {
        let start = Instant::now();
        let connected = race(addresses(&["[::1]:1", "127.0.0.1:1"]), |address| async move {
            if address.is_ipv6() {
                std::future::pending::<()>().await;
            }
            Ok(address)
        });
        assert_eq!(connected.await.unwrap(), "127.0.0.1:1".parse().unwrap());
        // The first attempt has not timed out yet.
        assert!(start.elapsed() >= ATTEMPT_DELAY && start.elapsed() < CONNECT / 2);
    }

    #[tokio::test]
    async fn a_list_of_addresses_is_dialled_until_one_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // The test holds the port without listening, so that nobody else does.
        let taken = TcpSocket::new_v4().unwrap();
        taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = taken.local_addr().unwrap();
        let stream = connect_addresses(vec![refused, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(stream.nodelay().unwrap());
        let error = connect_addresses(vec![refused]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = connect_addresses(Vec::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "the name has no address");
    }

    #[tokio::test]
    async fn every_address_is_tried_in_order_even_if_the_first_ones_never_answer() {
        let all = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "10.0.0.3:1"]);
        let tried = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = tried.clone();
        let start = Instant::now();
        let connected = race(all.clone(), move |address| {
            seen.lock().unwrap().push(address);
            async move {
                // The attempts after the first two fail at once.
                if ["::1", "10.0.0.1"].contains(&&*address.ip().to_string()) {
                    std::future::pending::<()>().await;
                }
                match address.ip().to_string().as_str() {
                    "10.0.0.3" => Ok(address),
                    _ => Err(io::ErrorKind::ConnectionRefused.into()),
                }
            }
        });
        assert_eq!(connected.await.unwrap(), "10.0.0.3:1".parse().unwrap());
        assert_eq!(*tried.lock().unwrap(), Vec::from(all));
        // Only the two silent ones cost a delay.
        assert!(start.elapsed() >= 2 * ATTEMPT_DELAY && start.elapsed() < CONNECT / 2);
    }

    #[tokio::test]
    async fn an_address_that_refuses_delays_nothing_and_the_most_informative_error_is_returned() {
        let unreachable = io::ErrorKind::NetworkUnreachable;
        let all = addresses(&["127.0.0.1:1", "[::1]:1"]);
        let failed = race(all.clone(), |address| async move {
            Err::<(), _>(
                if address.is_ipv6() { unreachable } else { io::ErrorKind::ConnectionRefused }
                    .into(),
            )
        });
        assert_eq!(failed.await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let connected = race(all, |address| async move {
            if address.is_ipv6() {
                Ok(address)
            } else {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        });
        assert!(connected.await.unwrap().is_ipv6());
        let none = race(VecDeque::new(), |_| async { Ok(()) }).await.unwrap_err();
        assert_eq!(none.to_string(), "the name has no address");
    }
}
