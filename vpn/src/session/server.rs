//! Serves connections. The first byte of a connection decides its profile (PROTOCOL.md §4.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::classic_server::ClassicServer;
use super::sealed_server::SealedServer;
use crate::net::{Admission, lingering_close};
use crate::output::log::SESSION;
use vpn_proto::Profile;

/// A server of one profile, or of both.
#[derive(Clone, Debug)]
pub struct SessionServer {
    classic: Option<ClassicServer>,
    sealed: Option<SealedServer>,
    /// How long the server waits for a client's first byte.
    first_byte: Duration,
}

impl SessionServer {
    /// A server of these profiles. It waits for a client's first byte for at most `first_byte`.
    pub fn new(
        classic: Option<ClassicServer>,
        sealed: Option<SealedServer>,
        first_byte: Duration,
    ) -> Self {
        Self { classic, sealed, first_byte }
    }

    /// Serves one connection to its end. Errors are logged here.
    ///
    /// The future of each profile is boxed, so that a task does not have the memory of both.
    pub async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, admission: Admission) {
        // Without the sealed profile there is nothing to decide, and the classic server has a
        // timeout of its own for the proposal.
        let profile = match &self.sealed {
            None => Some(Profile::Classic),
            Some(_) => match self.first_byte(&stream, peer, &admission).await {
                Some(first) => Profile::of_first_byte(first),
                None => return,
            },
        };
        match profile {
            Some(Profile::Sealed) if let Some(sealed) = &self.sealed => {
                Box::pin(sealed.serve(stream, peer, &admission)).await;
            }
            Some(Profile::Classic) if let Some(classic) = &self.classic => {
                Box::pin(classic.serve(stream, peer, &admission)).await;
            }
            profile => {
                match profile {
                    None => log::info!("{peer}: closed, it speaks no profile"),
                    Some(_) => {
                        log::info!(
                            target: SESSION,
                            "{peer}: turned away: it does not speak the sealed profile"
                        );
                    }
                }
                lingering_close(stream).await;
            }
        }
    }

    /// Returns the first byte, which stays in the socket. The server sends nothing before it.
    async fn first_byte(
        &self,
        stream: &TcpStream,
        peer: SocketAddr,
        admission: &Admission,
    ) -> Option<u8> {
        let mut first = [0];
        match timeout(self.first_byte, stream.peek(&mut first)).await {
            Ok(Ok(1)) => {
                admission.advance(false);
                return Some(first[0]);
            }
            Ok(Ok(_)) => log::info!("{peer}: closed by the client before it said anything"),
            Ok(Err(error)) => log::debug!("{peer}: {error}"),
            Err(_) => log::info!("{peer}: closed, it says nothing"),
        }
        None
    }
}
