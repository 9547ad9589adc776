//! A client of sealed sessions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::channel::Channel;
use super::error::Error;
use super::identity::{Identity, Psk};
use super::session::Session;
use crate::config::{Overrides, Settings};
use crate::service::{CHANNELS, CHANNELS_VERSION};
use crate::session::{Blame, ClientOptions, Connected, Output, ServerTrust, connect_sealed_client};
use crate::trust::{KnownServers, Pin, ServerName};
use vpn_proto::EnabledSuite;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{ClientConfig, Limits};
use vpn_suite::Registry;

/// A client of sealed sessions with one server.
///
/// It needs a key for itself: [`identity`](Self::identity) or [`psk`](Self::psk). It also needs a
/// way to check the server: [`server_key`](Self::server_key),
/// [`known_servers`](Self::known_servers) or the PSK.
///
/// The program must link suites: `use vpn_suites as _;` in its `main.rs`.
#[derive(Clone, Debug)]
pub struct Client {
    server: ServerName,
    settings: Arc<Settings>,
    identity: Option<Identity>,
    psk: Option<Psk>,
    server_key: Option<Pin>,
    known_servers: Option<PathBuf>,
}

impl Client {
    /// Makes a client of a server. `server` is a name or an address, and `:PORT` after it if the port
    /// is not 4600. The ciphers are those of the built-in configuration.
    ///
    /// # Errors
    ///
    /// If `server` has another form, or no suite is linked.
    pub fn new(server: &str) -> Result<Self, Error> {
        Ok(Self {
            server: ServerName::parse(server, None)?,
            settings: Arc::new(built_in()?),
            identity: None,
            psk: None,
            server_key: None,
            known_servers: None,
        })
    }

    /// Uses the ciphers of a `server_cipher.toml`, and `kex` and `allow_64bit` of its table `[sealed]`.
    /// Keys are what this program says.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is wrong; the error names the line. If it has a table `[sealed]`
    /// and others can write it.
    pub fn config(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        self.settings = Arc::new(configured(path.as_ref())?);
        Ok(self)
    }

    /// Shows this key to the server.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Uses this shared key.
    #[must_use]
    pub fn psk(mut self, psk: Psk) -> Self {
        self.psk = Some(psk);
        self
    }

    /// Trusts this key of the server, and no other key.
    #[must_use]
    pub fn server_key(mut self, key: impl Into<Pin>) -> Self {
        self.server_key = Some(key.into());
        self
    }

    /// Trusts the server's keys in this file, a `known_servers` (PROTOCOL.md §4.8).
    #[must_use]
    pub fn known_servers(mut self, path: impl AsRef<Path>) -> Self {
        self.known_servers = Some(path.as_ref().to_owned());
        self
    }

    /// Connects, shakes hands and opens a service on the server, in a session of its own.
    ///
    /// # Errors
    ///
    /// [`Error::blame`] says what failed: the network, the server's key, its permission, and so on.
    pub async fn open(&self, service: &str) -> Result<Channel, Error> {
        let session = self.session(service, b"").await?;
        let never = std::future::pending();
        let (channel, work) =
            Channel::whole(session.connection, session.server, Role::Client, never);
        tokio::spawn(work);
        Ok(channel)
    }

    /// Connects and shakes hands. The session has any number of channels, to services of a
    /// [`Server`](crate::Server) or to targets of `vpn server`.
    ///
    /// ```
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # use vpn::{Channel, Client, Identity, Server};
    /// # use vpn_suites as _;
    /// # async fn upper(mut channel: Channel) {
    /// #     let mut text = String::new();
    /// #     channel.read_to_string(&mut text).await.unwrap();
    /// #     channel.write_all(text.to_uppercase().as_bytes()).await.unwrap();
    /// #     channel.finish().await.unwrap();
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (client_key, server_key) = (Identity::generate(), Identity::generate());
    /// # let server_public = server_key.public_key();
    /// # let server = Server::bind("127.0.0.1:0", "upper").await?
    /// #     .identity(server_key)
    /// #     .allow(client_key.public_key());
    /// # let address = format!("127.0.0.1:{}", server.port());
    /// # tokio::spawn(server.serve(upper, std::future::pending()));
    /// let client = Client::new(&address)?.identity(client_key).server_key(server_public);
    /// let session = client.connect().await?;
    /// let (mut one, mut two) = (session.open("upper").await?, session.open("upper").await?);
    /// one.write_all(b"one").await?;
    /// two.write_all(b"two").await?;
    /// for (channel, answer) in [(&mut two, "TWO"), (&mut one, "ONE")] {
    ///     channel.shutdown().await?;
    ///     let mut text = String::new();
    ///     channel.read_to_string(&mut text).await?;
    ///     assert_eq!(text, answer);
    /// }
    /// one.finish().await?;
    /// two.finish().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Client::open`].
    pub async fn connect(&self) -> Result<Session, Error> {
        Ok(Session::start(self.session(CHANNELS, CHANNELS_VERSION).await?))
    }

    /// Connects, shakes hands and opens a service with an argument.
    async fn session(&self, service: &str, argument: &[u8]) -> Result<Connected, Error> {
        if self.identity.is_none() && self.psk.is_none() {
            return Err(Error::new(Blame::Usage, "the client has no identity and no PSK to show"));
        }
        if self.server_key.is_none() && self.known_servers.is_none() && self.psk.is_none() {
            let words = "the client has no server key, known servers or PSK to know the server by";
            return Err(Error::new(Blame::Usage, words));
        }
        let known = match &self.known_servers {
            Some(path) => KnownServers::read(path)?,
            None => KnownServers::without_file(),
        };
        let mut trust = ServerTrust::new(self.server.clone(), known).pinned(self.server_key);
        let limits = self.settings.limits.net;
        let config = ClientConfig {
            enabled: sealed_suites(&self.settings)?,
            kex: self.settings.sealed.key_exchanges(&[]),
            identity: self.identity.as_ref().map(|identity| identity.0.clone()),
            server_key: trust.likely_key(),
            psk: self.psk.as_ref().map(|psk| psk.0.clone()),
            limits: Limits::rekeying(limits.rekey.0, limits.rekey.1),
        };
        let options = ClientOptions {
            host: self.server.host().to_string(),
            port: self.server.port(),
            is_quiet: true,
            is_interactive: false,
            shows_progress: false,
            observers: Default::default(),
        };
        let check_server = move |peer| trust.check(peer);
        let out = Output::nowhere();
        let connecting =
            connect_sealed_client(&options, Arc::new(config), limits, &out, check_server);
        let mut session = Box::pin(connecting).await?;
        session.open(service, argument).await?;
        Ok(session)
    }
}

/// The built-in configuration, for the suites that are linked.
pub(super) fn built_in() -> Result<Settings, Error> {
    let registry = Registry::linked().map_err(Error::registry)?;
    Ok(Settings::built_in(&registry)?)
}

/// Reads a configuration. One that others can write is refused if it says whom to trust.
pub(super) fn configured(path: &Path) -> Result<Settings, Error> {
    let registry = Registry::linked().map_err(Error::registry)?;
    let settings = Settings::load(Some(path), &registry, &Overrides::default())?;
    match settings.distrust {
        Some(error) => Err(error.into()),
        None => Ok(settings),
    }
}

/// The suites that sealed sessions may use.
pub(super) fn sealed_suites(settings: &Settings) -> Result<Arc<[EnabledSuite]>, Error> {
    let suites = settings.sealed.suites(&settings.ciphers.enabled, false);
    if suites.is_empty() {
        let words = "every cipher of the configuration has 64-bit blocks";
        return Err(Error::new(Blame::Usage, words));
    }
    Ok(suites)
}
