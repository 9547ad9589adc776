//! Outgoing connections.

use std::io;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::limits::CONNECT;
use super::listen::{endpoint, unbracketed};

/// Connects to the first address of `host` that answers.
///
/// # Errors
///
/// [`DialError`] carries the reason of the last address tried.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let failed = |source| DialError { to: endpoint(host, port), source };
    let addresses = lookup_host((unbracketed(host), port)).await.map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                log::debug!("connected to {address}");
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Ok(Err(error)) => {
                log::debug!("{address}: {error}");
                last = error;
            }
            Err(_) => {
                log::debug!("{address}: no answer");
                last = io::ErrorKind::TimedOut.into();
            }
        }
    }
    Err(failed(last))
}

/// No address of a host can be connected to.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {to}")]
pub struct DialError {
    /// The host and port as asked for.
    pub to: String,
    /// Why the last address failed.
    pub source: io::Error,
}
