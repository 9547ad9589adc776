//! The client's decision about a server's key: it is pinned, known, new, or another one than
//! expected (PROTOCOL.md §4.8).

use super::error::Untrusted;
use crate::trust::{KnownServers, Pin, ServerName, fingerprint};
use vpn_proto::sealed::PeerIdentity;

/// Asks the user whether a server has this fingerprint. Returns the answer.
pub type Ask = Box<dyn FnMut(&ServerName, &str) -> bool + Send>;

/// Decides about the key of one server.
pub struct ServerTrust {
    server: ServerName,
    known: KnownServers,
    pinned: Option<Pin>,
    accepts_new: bool,
    ask: Option<Ask>,
    /// The key of a new server that the user has accepted.
    accepted: Option<[u8; 32]>,
}

impl std::fmt::Debug for ServerTrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTrust")
            .field("server", &self.server)
            .field("pinned", &self.pinned)
            .field("accepts_new", &self.accepts_new)
            .finish_non_exhaustive()
    }
}

impl ServerTrust {
    /// Trusts the keys that `known` has for this server, and no other key.
    pub fn new(server: ServerName, known: KnownServers) -> Self {
        Self { server, known, pinned: None, accepts_new: false, ask: None, accepted: None }
    }

    /// Trusts this key only, if there is one.
    #[must_use]
    pub fn pinned(mut self, pin: Option<Pin>) -> Self {
        self.pinned = pin;
        self
    }

    /// Accepts and remembers the key of a new server without asking.
    #[must_use]
    pub fn accepting_new(mut self, accepts_new: bool) -> Self {
        self.accepts_new = accepts_new;
        self
    }

    /// Asks the user about the key of a new server.
    #[must_use]
    pub fn asking(mut self, ask: Ask) -> Self {
        self.ask = Some(ask);
        self
    }

    /// The key that the server probably has, for the gate of the first message. Of several known
    /// keys it is the last one in the file.
    pub fn likely_key(&self) -> Option<[u8; 32]> {
        match self.pinned {
            Some(Pin::Key(key)) => Some(key),
            pin => self
                .known
                .keys(&self.server)
                .into_iter()
                .map(|known| known.key)
                .rfind(|key| pin.is_none_or(|pin| pin.accepts(key))),
        }
    }

    /// Checks the identity that a server has proved. The key of a new server may be remembered
    /// here.
    ///
    /// # Errors
    ///
    /// [`Untrusted`] says why the server is not trusted, and what to do.
    pub fn check(&mut self, peer: PeerIdentity) -> Result<(), Untrusted> {
        let key = match peer {
            PeerIdentity::Key(key) => key,
            // The server has proved that it has the PSK; the handshake checks that.
            PeerIdentity::PskOnly if self.pinned.is_none() => return Ok(()),
            PeerIdentity::PskOnly => {
                return Err(untrusted("the server shows no key", "--server-key wants one"));
            }
        };
        let shown = fingerprint(&key);
        if let Some(pinned) = &self.pinned {
            if pinned.accepts(&key) {
                return Ok(());
            }
            let reason = format!("the server's key is {shown}, and --server-key says {pinned}");
            return Err(untrusted(reason, "is this the right server?"));
        }
        let known = self.known.keys(&self.server);
        if known.iter().any(|known| known.key == key) {
            return Ok(());
        }
        if let Some(other) = known.last() {
            return Err(untrusted(
                format!(
                    "the key of {} has changed: it was {} and is {shown}",
                    self.server.host(),
                    fingerprint(&other.key)
                ),
                format!(
                    "an attacker may be in between; if the change is right, remove {}:{}",
                    self.known.shown(),
                    other.line
                ),
            ));
        }
        // The user has accepted it on the connection before, which the server closed meanwhile.
        if self.accepted == Some(key) {
            return Ok(());
        }
        if !self.accepts_new {
            let answer = self.ask.as_mut().map(|ask| ask(&self.server, &shown));
            if answer != Some(true) {
                let reason = match answer {
                    None => format!("{} is unknown; its key is {shown}", self.server),
                    Some(_) => format!("the key of {} was not accepted", self.server),
                };
                let hint = format!(
                    "compare it, then pin it with --server-key {shown}, or use --accept-new"
                );
                return Err(untrusted(reason, hint));
            }
        }
        self.accepted = Some(key);
        if let Err(error) = self.known.add(&self.server, key) {
            // The session goes on, as with ssh: the user has accepted the key.
            log::warn!("{error}; {} is not remembered", self.server);
        }
        Ok(())
    }
}

fn untrusted(reason: impl Into<String>, hint: impl Into<String>) -> Untrusted {
    Untrusted { reason: reason.into(), hint: hint.into() }
}
