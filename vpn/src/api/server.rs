//! A server of sealed sessions.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::channel::Channel;
use super::client::{built_in, configured, sealed_suites};
use super::error::Error;
use super::identity::{Identity, Psk};
use super::served::{Custom, Multiplexed};
use crate::config::Settings;
use crate::net::{self, AdmissionControl, DEFAULT_PORT, DhPool, Shutdown};
use crate::service::CHANNELS;
use crate::session::{Blame, Clients, Offer, SealedServer, ServiceFuture, SessionServer};
use crate::term::Console;
use crate::trust::{AuthorizedClients, ClientList, Grant, Host, PublicKey, ServiceNames};
use vpn_proto::sealed::{Limits, ServerConfig};

/// A server of sealed sessions. It has one service, which the program implements.
///
/// It needs a key for itself: [`identity`](Self::identity) or [`psk`](Self::psk). It also needs
/// clients that may come in: [`allow`](Self::allow),
/// [`authorized_clients`](Self::authorized_clients) or the PSK.
///
/// The program must link suites: `use vpn_suites as _;` in its `main.rs`.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    settings: Settings,
    service: String,
    identity: Option<Identity>,
    psks: Vec<Psk>,
    allowed: Vec<PublicKey>,
    file: Option<AuthorizedClients>,
}

impl Server {
    /// Listens on an address, with `:PORT` if the port is not 4600. With port 0 the system chooses
    /// one. `service` is the name of the service. The ciphers are those of the built-in
    /// configuration.
    ///
    /// # Errors
    ///
    /// If the address is wrong or in use, the name of the service is wrong, or no suite is linked.
    pub async fn bind(address: &str, service: &str) -> Result<Self, Error> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if service.is_empty() || service.len() > 255 || !service.bytes().all(is_name) {
            let words = "a service's name has 1 to 255 letters, digits and hyphens";
            return Err(Error::new(Blame::Usage, words));
        }
        let (host, port) = Host::parse(address)?;
        let listeners = net::bind(Some(host.as_str()), port.unwrap_or(DEFAULT_PORT))?;
        Ok(Self {
            listeners,
            settings: built_in()?,
            service: service.to_owned(),
            identity: None,
            psks: Vec::new(),
            allowed: Vec::new(),
            file: None,
        })
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port())
    }

    /// Uses the ciphers and limits of a `server_cipher.toml`, and `kex`, `allow_64bit` and `gate` of its
    /// table `[sealed]`. Keys, clients and the service are what this program says.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is wrong; the error names the line. If it has a table `[sealed]`
    /// and others can write it.
    pub fn config(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        self.settings = configured(path.as_ref())?;
        Ok(self)
    }

    /// Shows this key to clients.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Lets in the client with this key.
    #[must_use]
    pub fn allow(mut self, key: PublicKey) -> Self {
        self.allowed.push(key);
        self
    }

    /// Lets in the clients of this file, and ignores the keys of [`allow`](Self::allow). A change
    /// of the file counts for the next client.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, others may write it, or a line is wrong.
    pub fn authorized_clients(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        self.file = Some(AuthorizedClients::open(path.as_ref(), self.names())?);
        Ok(self)
    }

    /// Lets in clients with this shared key.
    #[must_use]
    pub fn psk(mut self, psk: Psk) -> Self {
        self.psks.push(psk);
        self
    }

    fn names(&self) -> ServiceNames {
        ServiceNames::new(&self.service, [])
    }

    /// The clients that may come in by their keys. Each key of a list gets `grant`.
    fn clients(&self, grant: &Grant) -> Result<Clients, Error> {
        match &self.file {
            Some(_) if !self.allowed.is_empty() => {
                let words =
                    "allow() and authorized_clients() exclude each other: list the key in the file";
                Err(Error::new(Blame::Usage, words))
            }
            Some(file) => Ok(Clients::File(file.clone())),
            None if self.allowed.is_empty() && self.psks.is_empty() => {
                Err(Error::new(Blame::Usage, "nobody could come in"))
            }
            None => {
                let keys = self.allowed.iter().map(|key| key.bytes);
                Ok(Clients::List(Arc::new(ClientList::of(keys, grant))))
            }
        }
    }

    /// Serves clients until `stop` resolves. Channels that are open then get two and a half seconds; what
    /// is left is cut. Handlers get five seconds.
    ///
    /// It calls `handler` with each channel of each client; many handlers run at the same time. A
    /// handler should end with [`Channel::finish`]. If it drops the channel without that, the
    /// channel is cut.
    ///
    /// # Errors
    ///
    /// If the server has no identity and no PSK, or if no client could come in.
    pub async fn serve<F, Fut>(
        self,
        handler: F,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error>
    where
        F: Fn(Channel) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if self.identity.is_none() && self.psks.is_empty() {
            return Err(Error::new(Blame::Usage, "the server has no identity and no PSK"));
        }
        let grant = Grant::usual(&self.names());
        let clients = self.clients(&grant)?;
        let config = ServerConfig {
            enabled: sealed_suites(&self.settings)?,
            kex: self.settings.sealed.key_exchanges(&[]),
            identity: self.identity.map(|identity| identity.0),
            psks: self.psks.into_iter().map(|psk| psk.0).collect(),
            is_gate_required: self.settings.sealed.is_gate_required,
            limits: Limits::default(),
        };
        let limits = self.settings.limits.net;
        let handle = move |channel| -> ServiceFuture<'static, ()> { Box::pin(handler(channel)) };
        let custom = Custom { service: self.service.clone().into(), handle: Arc::new(handle) };
        let offer = Offer {
            service: self.service.clone(),
            end_name: self.service.clone(),
            end: Arc::new(custom.clone()),
            always: vec![(CHANNELS.to_owned(), Arc::new(Multiplexed::new(custom, &limits)))],
            known: vec![self.service],
        };
        let (switch, shutdown) = Shutdown::new();
        let sealed = SealedServer::new(
            Arc::new(config),
            (clients, grant),
            offer,
            limits,
            DhPool::for_server(limits.dh_workers),
            Console::nowhere(),
            shutdown.clone(),
        );
        let sessions = Arc::new(SessionServer::new(None, Some(sealed), limits.first_byte));
        let control = AdmissionControl::new(limits.sources, self.settings.limits.exempt.clone());
        let server = net::Server::new(self.listeners, limits.sessions).controlled_by(Some(control));
        let serving = server.run(shutdown, move |stream, peer, admission| {
            sessions.clone().serve(stream, peer, admission)
        });
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => return Ok(()),
            () = stop => {}
        }
        // An error means that the server has stopped already.
        let _ = switch.send(true);
        serving.await;
        Ok(())
    }
}
