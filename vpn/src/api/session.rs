//! A session with many channels.

use std::sync::Arc;

use super::channel::{Channel, Peer};
use super::error::Error;
use super::held::Held;
use crate::net::limits::USER_TIMEOUT;
use crate::net::{ChannelStream, Multiplexer, OpenRefused, drive};
use crate::session::{Blame, Connected};
use vpn_proto::classic::Role;
use vpn_proto::sealed::{ChannelLimits, OpenStatus};

/// The kind of channel that connects to a target.
const FORWARD: &str = "forward";
/// The longest name of a service that a channel can have, in bytes.
const NAME: usize = 32;

/// A session with a server, for many channels. [`Client::connect`](crate::Client::connect) makes it.
///
/// Each channel is a [`Channel`], with its own ends and its own flow control. Clones are handles of
/// the same session. The session ends when all its handles and channels are dropped.
#[derive(Clone, Debug)]
pub struct Session {
    held: Arc<Held>,
    peer: Peer,
}

impl Session {
    /// Takes a session whose server has accepted channels. A task runs it.
    pub(super) fn start(session: Connected) -> Self {
        let Connected { connection, server } = session;
        connection.set_user_timeout(USER_TIMEOUT);
        let channels = Multiplexer::new(Role::Client, ChannelLimits::default());
        let held = Arc::new(Held(channels.clone()));
        tokio::spawn(async move {
            // Only this side opens channels.
            let (ended, ()) = tokio::join!(drive(connection, &channels), channels.refuse_all());
            if let Err(error) = ended {
                log::info!("the session has ended: {error}");
            }
        });
        Self { held, peer: Peer::new(server) }
    }

    /// The identity that the server has proved.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Opens a channel to a service of a [`Server`](crate::Server).
    ///
    /// # Errors
    ///
    /// If the server does not open it; [`Error::blame`] says why.
    pub async fn open(&self, service: &str) -> Result<Channel, Error> {
        let is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".@-".contains(&b);
        if service.is_empty() || service.len() > NAME || !service.bytes().all(is_allowed) {
            let words =
                "the service of a channel has 1 to 32 of the characters a-z, 0-9, '.', '@', '-'";
            return Err(Error::new(Blame::Usage, words));
        }
        self.channel(service, b"").await
    }

    /// Connects, from the server, to a target: `host:port`, `[address]:port` or the absolute path of a
    /// unix socket. The server is `vpn server`, and its `authorized_clients` permits the target.
    ///
    /// # Errors
    ///
    /// If the server does not connect to it; [`Error::blame`] says why.
    pub async fn forward(&self, target: &str) -> Result<Channel, Error> {
        self.channel(FORWARD, target.as_bytes()).await
    }

    async fn channel(&self, kind: &str, argument: &[u8]) -> Result<Channel, Error> {
        let opened = async {
            let stream: ChannelStream = self.held.0.open(kind, argument)?;
            stream.opened().await.map(|()| stream)
        };
        let stream = opened.await.map_err(refused)?;
        Ok(Channel::part(stream, self.peer.clone(), Some(self.held.clone())))
    }
}

fn refused(refused: OpenRefused) -> Error {
    let blame = match refused.status {
        OpenStatus::NotPermitted | OpenStatus::UnknownKind => Blame::Denied,
        OpenStatus::TooMany => Blame::Busy,
        OpenStatus::Refused
        | OpenStatus::Unreachable
        | OpenStatus::NoSuchName
        | OpenStatus::Timeout => Blame::Network,
        OpenStatus::Unknown(_) => Blame::Peer,
    };
    Error::new(blame, format!("the server does not open the channel: {}", refused.text))
}
