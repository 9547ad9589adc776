//! Names and their addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::limits::CONNECT;
use crate::output::Reason;

/// The most lookups at once. Each takes a thread for as long as the resolver likes, also when nobody waits
/// for it any more, and the computations of handshakes need threads of the same pool.
const LOOKUPS: usize = 64;

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no host of this name.
    #[error("there is no host of this name")]
    NoSuchName,
    /// The name server does not answer in time.
    #[error("the name server does not answer")]
    NoAnswer,
    /// The lookup failed on this machine.
    #[error("{}", Reason(.0))]
    Failed(io::Error),
}

/// The addresses of `host`, in the order of the resolver. They have the port `port`. `host` is a name
/// or an address without brackets. The lookup takes [`CONNECT`] at most, and so does the wait while too
/// many others are under way.
///
/// Cancel safety: the resolver may keep a thread busy for a while if the future is dropped.
///
/// # Errors
///
/// [`LookupError`] if there is no address.
pub async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    static TURNS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let turns = TURNS.get_or_init(|| Arc::new(Semaphore::new(LOOKUPS)));
    let found = timeout(CONNECT, resolve(host.to_owned(), port, turns.clone())).await;
    match found.map_err(|_| LookupError::NoAnswer)? {
        Ok(addresses) => Ok(addresses),
        Err(error) => {
            log::debug!("{host}: {error}");
            Err(LookupError::of(error))
        }
    }
}

/// Asks the resolver when it is our turn.
async fn resolve(host: String, port: u16, turns: Arc<Semaphore>) -> io::Result<Vec<SocketAddr>> {
    // The semaphore is never closed.
    let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
    let found = spawn_blocking(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // The turn ends with the lookup, not with the wait for it.
        drop(turn);
        found
    });
    Ok(found.await.map_err(io::Error::other)??.collect())
}

impl LookupError {
    /// The error of the resolver in plain words. Its own are for programmers.
    fn of(error: io::Error) -> Self {
        let words = error.to_string();
        if words.contains("emporary failure") {
            Self::NoAnswer
        } else if words.contains("lookup address information") {
            Self::NoSuchName
        } else {
            Self::Failed(error)
        }
    }
}

impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NoSuchName => Self::new(io::ErrorKind::NotFound, error.to_string()),
            LookupError::NoAnswer => Self::other(error.to_string()),
            LookupError::Failed(inner) => Self::new(inner.kind(), Reason(&inner).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_resolver_are_told_apart() {
        let words = |text: &str| LookupError::of(io::Error::other(text)).to_string();
        let failed = "failed to lookup address information: ";
        let no_such = "there is no host of this name";
        assert_eq!(words(&format!("{failed}Name or service not known")), no_such);
        assert_eq!(words(&format!("{failed}No address associated with hostname")), no_such);
        let silent = "the name server does not answer";
        assert_eq!(words(&format!("{failed}Temporary failure in name resolution")), silent);
        let full = io::Error::from_raw_os_error(24);
        assert_eq!(LookupError::of(full).to_string(), "too many open files");
    }

    #[tokio::test]
    async fn an_address_is_its_own_lookup() {
        let found = lookup("127.0.0.1", 80).await.unwrap();
        assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
        let found = lookup("::1", 80).await.unwrap();
        assert_eq!(found, ["[::1]:80".parse().unwrap()]);
    }
}
