//! A connection that answers: an echo, or our message service.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vpn::net::{DhPool, HandshakeContext, SealedConnection, SealedIoError, Source, connect_sealed};
use vpn::trust::{read_identity, read_public_key};
use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{ClientConfig, Event, Kex, Limits};
use vpn_suite::{KeySize, Registry};

use crate::{DEADLINE, Peer};

/// The bytes of a message. They are not a palindrome, so a reply shows whether it is an echo.
pub(crate) const MESSAGE: &[u8; 16] = b"0123456789abcde\n";

/// Makes connections to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    port: u16,
    sealed: Option<Arc<ClientConfig>>,
    pool: DhPool,
}

impl Dialler {
    pub(crate) fn new(peer: &Peer) -> io::Result<Self> {
        let sealed = peer.keys.as_ref().map(|folder| {
            let identity = read_identity(&folder.join("client"), || {
                Err(io::Error::other("it has a passphrase"))
            });
            let server = read_public_key(&folder.join("server.pub"));
            let config = ClientConfig {
                enabled: aes256()?,
                kex: vec![Kex::X25519MlKem768],
                identity: Some(identity.map_err(io::Error::other)?),
                server_key: Some(server.map_err(io::Error::other)?.bytes),
                psk: None,
                limits: Limits::default(),
            };
            Ok::<_, io::Error>(Arc::new(config))
        });
        Ok(Self { port: peer.port, sealed: sealed.transpose()?, pool: DhPool::new(1) })
    }

    /// A connection that has answered once.
    pub(crate) async fn dial(&self) -> io::Result<Channel> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.set_nodelay(true)?;
        let mut channel = match &self.sealed {
            None => Channel::Plain(stream),
            Some(config) => {
                let deadline = Instant::now() + DEADLINE;
                let place = HandshakeContext { pool: &self.pool, source: Source::SELF, deadline };
                let shaken = connect_sealed::<SealedIoError>(
                    stream,
                    config.clone(),
                    Kex::X25519MlKem768,
                    place,
                    |_| Ok(()),
                    &|_| {},
                );
                let (mut connection, ready) = shaken.await.map_err(io::Error::other)?;
                let silence = ready.keepalive.map(|s| Duration::from_secs(s.max(1).into()));
                connection.ping_every(silence);
                open(&mut connection).await?;
                Channel::Sealed(Box::new(connection))
            }
        };
        channel.round_trip().await?;
        Ok(channel)
    }
}

/// Enables only the suite of the peers.
fn aes256() -> io::Result<Arc<[EnabledSuite]>> {
    let registry = Registry::linked().map_err(io::Error::other)?;
    let suite = registry.find("AES").ok_or_else(|| io::Error::other("AES is not linked"))?;
    let size = KeySize::from_bits(256).ok_or_else(|| io::Error::other("256 is no size"))?;
    Ok(Arc::new([EnabledSuite { suite, wire_name: suite.name(), sizes: vec![size] }]))
}

async fn open(connection: &mut SealedConnection) -> io::Result<()> {
    connection.session().open("message", b"").map_err(io::Error::other)?;
    match connection.next().await.map_err(io::Error::other)? {
        Event::OpenReply { status: 0, .. } => Ok(()),
        other => Err(io::Error::other(format!("{other:?} where a yes was expected"))),
    }
}

/// A connection to an echo or to our message service.
#[derive(Debug)]
pub(crate) enum Channel {
    Plain(TcpStream),
    Sealed(Box<SealedConnection>),
}

impl Channel {
    /// Sends a message, waits for the reply, and checks it.
    pub(crate) async fn round_trip(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                stream.write_all(MESSAGE).await?;
                let mut reply = [0; MESSAGE.len()];
                stream.read_exact(&mut reply).await?;
                right(&reply, MESSAGE)
            }
            Self::Sealed(connection) => {
                let mut frame = [0; 4 + MESSAGE.len()];
                frame[3] = 16;
                frame[4..].copy_from_slice(MESSAGE);
                connection.session().send(&frame).map_err(io::Error::other)?;
                frame[4..].reverse();
                let mut got = 0;
                while got < frame.len() {
                    match connection.next().await.map_err(io::Error::other)? {
                        Event::Data(data) => {
                            let expected = frame.get(got..got + data.len()).unwrap_or_default();
                            right(&data, expected)?;
                            got += data.len();
                        }
                        other => {
                            let words = format!("{other:?} where a reply was expected");
                            return Err(io::Error::other(words));
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Waits until the peer ends the session. That is an error.
    pub(crate) async fn idle(&mut self) -> io::Error {
        match self {
            Self::Plain(stream) => match stream.read_u8().await {
                Ok(_) => io::Error::other("the peer spoke unasked"),
                Err(error) => error,
            },
            Self::Sealed(connection) => match connection.next().await {
                Ok(event) => io::Error::other(format!("{event:?}, unasked")),
                Err(error) => io::Error::other(error),
            },
        }
    }
}

pub(crate) fn right(reply: &[u8], expected: &[u8]) -> io::Result<()> {
    if reply == expected { Ok(()) } else { Err(io::Error::other("the reply is a wrong one")) }
}
