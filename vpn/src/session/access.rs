//! Access to sealed sessions: which clients may come in, which services they may use, and how many
//! sessions a key may have at once (PROTOCOL.md §4.8).

use std::net::SocketAddr;
use std::sync::Arc;

use super::key_sessions::{Counted, KeySessions};
use super::service::ServerEnd;
use crate::trust::{AuthorizedClients, ClientList, Grant};
use vpn_proto::sealed::PeerIdentity;

/// The entry of all PSKs where sessions are counted. No public key is all zeros.
const PSKS: [u8; 32] = [0; 32];
/// The reason if our own file of clients cannot be read.
const UNREADABLE: &str = "the list of authorized clients cannot be read";

/// Which clients may come in by their keys.
#[derive(Clone, Debug)]
pub enum Clients {
    /// None.
    Nobody,
    /// The clients of a file. A change of the file counts for the next client.
    File(AuthorizedClients),
    /// The clients of this list.
    List(Arc<ClientList>),
}

/// Decides about clients, and counts the sessions of each key.
#[derive(Clone, Debug)]
pub(super) struct Access {
    clients: Clients,
    /// What a client with a PSK and no key may do.
    psk_grant: Grant,
    sessions: KeySessions,
}

/// The permission for a client to come in.
#[derive(Debug)]
pub(super) struct Admitted {
    /// What it may do.
    pub(super) grant: Grant,
    /// Counts as a session of its key until it is dropped.
    pub(super) counted: Counted,
}

/// The refusal to let a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// Why, for the log.
    pub(super) reason: &'static str,
    /// Whether a file of ours is at fault.
    pub(super) is_our_fault: bool,
}

/// The clients that are listed now.
#[derive(Debug)]
pub(super) enum Listed {
    Clients(Arc<ClientList>),
    Nobody,
    Unreadable,
}

impl Access {
    pub(super) fn new(clients: Clients, psk_grant: Grant) -> Self {
        Self { clients, psk_grant, sessions: KeySessions::default() }
    }

    /// Returns the clients that are listed now. It may wait for a disk.
    pub(super) async fn listed(&self) -> Listed {
        match &self.clients {
            Clients::Nobody => Listed::Nobody,
            Clients::File(file) => file.current().await.map_or(Listed::Unreadable, Listed::Clients),
            Clients::List(list) => Listed::Clients(list.clone()),
        }
    }

    /// Decides about a client that has proved its identity and comes from the address `from`. It waits
    /// a few seconds if the key has as many sessions as it may have, and one of them may be dead.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the client is not listed, or if its key has too many sessions.
    pub(super) async fn decide(
        &self,
        listed: &Listed,
        client: PeerIdentity,
        from: SocketAddr,
    ) -> Result<Admitted, Denied> {
        let denied = |reason| Denied { reason, is_our_fault: false };
        let (key, grant) = match client {
            // The holders of PSKs count as one client, because nothing tells them apart.
            PeerIdentity::PskOnly => (PSKS, self.psk_grant.clone()),
            PeerIdentity::Key(key) => match listed {
                Listed::Clients(clients) => (key, clients.grant(&key, from.ip()).map_err(denied)?),
                Listed::Nobody => return Err(denied("no key is authorized here")),
                Listed::Unreadable => {
                    return Err(Denied { reason: UNREADABLE, is_our_fault: true });
                }
            },
        };
        match self.sessions.count(key, grant.max_sessions).await {
            Some(counted) => Ok(Admitted { grant, counted }),
            None => Err(denied("its key has as many sessions as it may have")),
        }
    }
}

/// Checks whether a client may use a service.
///
/// # Errors
///
/// The text of the refusal, for the client and the log.
pub(super) fn may_use(
    service: &str,
    end: &dyn ServerEnd,
    grant: &Grant,
    client: PeerIdentity,
) -> Result<(), String> {
    if end.is_permitted(service, grant) {
        return Ok(());
    }
    if let Some(rules) = end.rules() {
        return Err(match client {
            PeerIdentity::Key(_) => format!(
                "this key has no rule for forwards or commands: permit in its line of \
                 authorized_clients needs {rules}"
            ),
            PeerIdentity::PskOnly => format!(
                "a PSK alone permits no forwards and no commands: they take a key in \
                 authorized_clients whose permit has {rules}"
            ),
        });
    }
    let rule = end.rule(service);
    let permit = grant.permit.with(&rule);
    Err(match client {
        PeerIdentity::Key(_) => format!(
            "this key may not use the service '{service}': its line in authorized_clients needs \
             permit=\"{permit}\""
        ),
        PeerIdentity::PskOnly => format!(
            "a PSK alone does not permit the service '{service}': it takes a key in \
             authorized_clients with permit=\"{rule}\""
        ),
    })
}
