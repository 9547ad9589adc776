//! What the flags of the sealed profile mean, for server and client.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{ClientArgs, SealedServerArgs};
use super::failure::{Exit, Failure};
use super::keygen::DEFAULT_NAME;
use crate::config::{PipeEnd, Settings};
use crate::identity::{
    AuthorizedClients, KnownServers, Standing, fingerprint, folder, read_identity, read_psk,
};
use crate::proto::EnabledSuite;
use crate::proto::sealed::{ClientConfig, Identity, Kex, Limits, PeerIdentity, ServerConfig};
use crate::service::{Untrusted, Verdict};

/// The sealed profile of a server.
pub(super) struct SealedService {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Option<AuthorizedClients>,
    pub(super) pipe: PipeEnd,
    /// Whether the classic profile is not spoken.
    pub(super) is_sealed_only: bool,
}

/// The sealed profile of a server, if something turns it on.
pub(super) fn server(
    args: &SealedServerArgs,
    settings: &Settings,
) -> Result<Option<SealedService>, Failure> {
    let table = &settings.sealed;
    let identity = args.identity.as_ref().or(table.identity.as_ref());
    let psks = if args.psk.is_empty() { &table.psk } else { &args.psk };
    let is_sealed_only = args.no_classic || (table.is_sealed_only && !args.classic);
    let named = args.service.as_deref().and_then(PipeEnd::from_name);
    let pipe = named.unwrap_or(table.pipe);
    if identity.is_none() && psks.is_empty() {
        if pipe != PipeEnd::None {
            return Err(Failure::new(Exit::Usage, "a pipe needs the sealed profile: --identity"));
        }
        if is_sealed_only {
            let problem = "without --identity or --psk there is no profile but the classic one";
            return Err(Failure::new(Exit::Usage, problem));
        }
        return Ok(None);
    }
    let clients = args.authorized_clients.as_ref().or(table.authorized_clients.as_ref());
    if clients.is_none() && psks.is_empty() {
        return Err(Failure::new(Exit::Usage, "nobody could come in")
            .hint("name --authorized-clients or a --psk"));
    }
    let config = ServerConfig {
        enabled: suites(settings, args.allow_64bit)?,
        kex: kex(&args.kex, settings),
        identity: identity.map(|path| own_key(path)).transpose()?,
        psks: psks.iter().map(|path| read_psk(path)).collect::<Result<_, _>>()?,
        is_gate_required: args.gate.as_deref().map_or(table.is_gate_required, |g| g == "required"),
        limits: Limits::default(),
    };
    let clients = clients.map(|path| AuthorizedClients::open(path)).transpose()?;
    Ok(Some(SealedService { config: Arc::new(config), clients, pipe, is_sealed_only }))
}

/// The suites of the configuration; those with 64-bit blocks only if somebody said so.
fn suites(settings: &Settings, allow_64bit: bool) -> Result<Arc<[EnabledSuite]>, Failure> {
    let allow_64bit = allow_64bit || settings.sealed.allow_64bit;
    let is_allowed = |e: &&EnabledSuite| allow_64bit || e.suite.block_size() > 8;
    let enabled: Arc<[EnabledSuite]> =
        settings.enabled.iter().filter(is_allowed).cloned().collect();
    if enabled.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "every cipher of the configuration has 64-bit blocks",
        )
        .hint("list AES, or allow them with --allow-64bit"));
    }
    Ok(enabled)
}

/// The key exchanges: the command line's, or else the configuration's, or else all of them.
fn kex(names: &[String], settings: &Settings) -> Vec<Kex> {
    let named: Vec<Kex> = names.iter().filter_map(|name| Kex::from_name(name)).collect();
    [named, settings.sealed.kex.clone()]
        .into_iter()
        .find(|list| !list.is_empty())
        .unwrap_or_else(|| Kex::ALL.to_vec())
}

fn own_key(path: &Path) -> Result<Identity, Failure> {
    let ask = || rpassword::prompt_password(format!("Passphrase of {}: ", path.display()));
    Ok(read_identity(path, ask)?)
}

/// The sealed profile of a client.
pub(super) struct SealedClient {
    config: Arc<ClientConfig>,
    known: KnownServers,
    host: String,
    port: u16,
    pinned: Option<String>,
    accepts_new: bool,
    /// The key of an unknown server that the user has accepted.
    accepted: Option<[u8; 32]>,
}

/// The sealed profile of a client, if it is asked for. Without it, a server that is known to have a
/// key is not talked to in the clear by accident.
pub(super) fn client(
    args: &ClientArgs,
    settings: &Settings,
) -> Result<Option<SealedClient>, Failure> {
    let known = match &args.sealed.known_servers {
        Some(path) => Some(path.clone()),
        None => folder().map(|folder| folder.join("known_servers")),
    };
    let known = known.map(|path| KnownServers::read(&path)).transpose();
    if !args.sealed.sealed {
        let standing = match &known {
            Ok(Some(known)) => known.standing(&args.host, args.port()),
            _ => Standing::Unknown,
        };
        if standing != Standing::Unknown && !args.sealed.insecure_classic {
            let problem = format!(
                "{} is known for the sealed profile; the classic one would authenticate nobody",
                args.host
            );
            return Err(Failure::new(Exit::Policy, problem)
                .hint("use --sealed, or --insecure-classic if you mean it"));
        }
        return Ok(None);
    }
    if args.common.explain.is_some() {
        return Err(Failure::new(Exit::Usage, "--explain explains the classic profile only"));
    }
    let known = known?.ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no home folder")
            .hint("name a file with --known-servers")
    })?;
    let own: Option<PathBuf> = match &args.sealed.identity {
        Some(path) => Some(path.clone()),
        None => folder().map(|f| f.join(DEFAULT_NAME)).filter(|path| path.exists()),
    };
    let identity = own.as_deref().map(own_key).transpose()?;
    let psk = args.sealed.psk.as_deref().map(read_psk).transpose()?;
    if identity.is_none() && psk.is_none() {
        return Err(Failure::new(Exit::Usage, "we have no key to show")
            .hint("make one with `vpn keygen`, or name one with --identity or --psk"));
    }
    let server_key = match known.standing(&args.host, args.port()) {
        Standing::Known { key, .. } => Some(key),
        Standing::Unknown => None,
    };
    let config = ClientConfig {
        enabled: suites(settings, args.sealed.allow_64bit)?,
        kex: kex(&args.sealed.kex, settings),
        identity,
        server_key,
        psk,
        limits: Limits::default(),
    };
    Ok(Some(SealedClient {
        config: Arc::new(config),
        known,
        host: args.host.clone(),
        port: args.port(),
        pinned: args.sealed.server_key.clone(),
        accepts_new: args.sealed.accept_new,
        accepted: None,
    }))
}

impl SealedClient {
    /// What the handshake needs, and who decides about the server.
    pub(super) fn parts(mut self) -> (Arc<ClientConfig>, impl FnMut(PeerIdentity) -> Verdict) {
        (self.config.clone(), move |peer| self.judge(peer))
    }

    fn judge(&mut self, peer: PeerIdentity) -> Verdict {
        let key = match peer {
            PeerIdentity::Key(key) => key,
            // The handshake allows this with a PSK only, and then the PSK has proved the server.
            PeerIdentity::PskOnly if self.pinned.is_none() => return Ok(()),
            PeerIdentity::PskOnly => {
                return Err(untrusted("the server shows no key", "--server-key wants one"));
            }
        };
        let shown = fingerprint(&key);
        if let Some(pinned) = &self.pinned {
            if *pinned == shown {
                return Ok(());
            }
            let reason = format!("the server's key is {shown}, and --server-key says {pinned}");
            return Err(untrusted(reason, "is this the right server?"));
        }
        match self.known.standing(&self.host, self.port) {
            Standing::Known { key: known, .. } if known == key => Ok(()),
            Standing::Known { key: known, line } => Err(untrusted(
                format!(
                    "the key of {} has changed: it was {} and is {shown}",
                    self.host,
                    fingerprint(&known)
                ),
                format!(
                    "somebody may sit in between; if the change is right, take out {}:{line}",
                    self.known.path().display()
                ),
            )),
            // Accepted a moment ago, on a connection that did not wait for that.
            Standing::Unknown if self.accepted == Some(key) => Ok(()),
            Standing::Unknown if self.accepts_new || self.asks(&shown) => {
                self.accepted = Some(key);
                let remembered = self.known.remember(&self.host, self.port, key);
                remembered
                    .map_err(|error| untrusted(error.to_string(), "the server was not remembered"))
            }
            Standing::Unknown => Err(untrusted(
                format!("{} is unknown; its key is {shown}", self.host),
                format!("compare it, then pin it with --server-key {shown}, or use --accept-new"),
            )),
        }
    }

    /// Asks at a terminal.
    fn asks(&self, shown: &str) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        let mut err = io::stderr();
        let question = format!(
            "{} is unknown. Its key is {shown}\nDo you trust it and want it remembered (yes/no)? ",
            self.host
        );
        let mut answer = String::new();
        err.write_all(question.as_bytes()).and_then(|()| err.flush()).is_ok()
            && io::stdin().lock().read_line(&mut answer).is_ok()
            && answer.trim() == "yes"
    }
}

fn untrusted(reason: impl Into<String>, hint: impl Into<String>) -> Untrusted {
    Untrusted { reason: reason.into(), hint: hint.into() }
}
