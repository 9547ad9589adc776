//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// The default TCP port of the protocol.
pub const DEFAULT_PORT: u16 = 4600;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often a port is chosen for several addresses.
const TRIES: usize = 10;

/// Listens on every address of `host`. Without a host it listens on all interfaces, IPv4 and IPv6.
///
/// With port 0 the system chooses a port, the same for all addresses. Needs a tokio runtime. A host name
/// is looked up, which may block the thread.
///
/// # Errors
///
/// [`ListenError`] if one of the addresses cannot be listened on. Addresses that this machine does not
/// have are an error only if it has none of them.
pub fn bind(host: Option<&str>, port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let Some(host) = host else {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        // A machine without IPv6 uses IPv4.
        let listener = listen(any).or_else(|error| match is_unavailable(&error) {
            true => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            false => Err(error),
        });
        let at = || endpoint("0.0.0.0", port);
        return listener.map(|l| vec![l]).map_err(|source| ListenError { at: at(), source });
    };
    let failed = |source| ListenError { at: endpoint(host, port), source };
    let addresses = (unbracketed(host), port).to_socket_addrs().map_err(|error| {
        let no_such = error.to_string().contains("lookup address information");
        let words = || io::Error::new(io::ErrorKind::NotFound, "there is no host of this name");
        failed(if no_such { words() } else { error })
    })?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    // The port that the system chooses for the first address may be taken at the second one.
    let tries = if port == 0 && addresses.len() > 1 { TRIES } else { 1 };
    let mut last = bind_all(&addresses);
    for _ in 1..tries {
        match &last {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = bind_all(&addresses),
            _ => break,
        }
    }
    last.map_err(failed)
}

/// Listens on all addresses that this machine has, with the port of the first one.
fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for mut address in addresses.iter().copied() {
        if let Some(first) = listeners.first() {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            // On a machine without IPv6, `localhost` has the IPv4 address only.
            Err(error) if is_unavailable(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match listeners.is_empty() {
        true => Err(missing.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())),
        false => Ok(listeners),
    }
}

/// Whether this machine does not have the address, or has no address of its family.
fn is_unavailable(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) {
        return true;
    }
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
}

/// Writes `host:port`, with brackets around an IPv6 address (RFC 3986 §3.2.2).
pub fn endpoint(host: &str, port: u16) -> String {
    match unbracketed(host).parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// A host without the brackets that an IPv6 address may have.
pub(super) fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A server that is started again does not have to wait for old connections in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The server cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {at}")]
pub struct ListenError {
    /// The host and port that were asked for.
    pub at: String,
    /// The reason.
    pub source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_with_brackets_where_needed() {
        assert_eq!(endpoint("localhost", 4600), "localhost:4600");
        assert_eq!(endpoint("127.0.0.1", 1), "127.0.0.1:1");
        assert_eq!(endpoint("::1", 4600), "[::1]:4600");
        assert_eq!(endpoint("[::1]", 4600), "[::1]:4600");
    }
}
