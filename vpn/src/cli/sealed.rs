//! Turns the flags and settings of the sealed profile into its configuration, for server and
//! client.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use super::args::{ClientArgs, SealedServerArgs};
use super::failure::{Exit, Failure};
use super::keygen::DEFAULT_NAME;
use crate::config::{Settings, Source};
use crate::files::shown;
use crate::service;
use crate::session::{Clients, Offer, Resources, ServerTrust, Untrusted};
use crate::trust::{
    AuthorizedClients, Grant, KnownServers, ServerName, ServiceNames, config_folder, fingerprint,
    read_identity, read_psk,
};
use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{ClientConfig, Identity, Kex, Limits, PeerIdentity, ServerConfig};

/// The sealed profile of a server.
pub(super) struct SealedService {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Clients,
    /// What a client with a PSK and no key may do.
    pub(super) psk_grant: Grant,
    pub(super) offer: Offer,
    /// Whether the server does not speak the classic profile.
    pub(super) is_sealed_only: bool,
}

/// The sealed profile of a server, if an identity or a PSK turns it on.
pub(super) fn server(
    args: &SealedServerArgs,
    settings: &Settings,
) -> Result<Option<SealedService>, Failure> {
    is_trusted(settings)?;
    let table = &settings.sealed;
    let identity = args.identity.as_ref().or(table.identity.as_ref());
    let psks = if args.psk.is_empty() { &table.psk } else { &args.psk };
    if identity.is_none() && psks.is_empty() {
        // With such an option, the user expects a server that refuses strangers.
        return match sealed_only(args, settings) {
            Some(what) => Err(Failure::new(
                Exit::Usage,
                format_args!(
                    "{what} is for the sealed profile, and without --identity or --psk there is none"
                ),
            )
            .hint("name the server's private key with --identity; `vpn keygen --out FILE` makes one")),
            None => Ok(None),
        };
    }
    let classic = args.classic || (table.classic == Some(true) && !args.no_classic);
    let offer = offer(args.service.as_deref().or(table.service), settings)?;
    let known = service_names();
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
    let psk_grant = Grant::usual(&known);
    let clients = match clients {
        Some(path) => Clients::File(AuthorizedClients::open(path, known)?),
        None => Clients::Nobody,
    };
    let config = Arc::new(config);
    Ok(Some(SealedService { config, clients, psk_grant, offer, is_sealed_only: !classic }))
}

/// The services that lines of `authorized_clients` may permit.
fn service_names() -> ServiceNames {
    ServiceNames::new(service::usual().name(), service::names())
}

/// The service that a server offers, by the name of its server's end.
fn offer(end: Option<&str>, settings: &Settings) -> Result<Offer, Failure> {
    let end_name = end.unwrap_or_else(|| service::usual().name()).to_owned();
    // The command line and the configuration have checked the name.
    let service = service::with_end(&end_name).ok_or_else(|| {
        Failure::new(Exit::Usage, format_args!("there is no service '{end_name}'"))
    })?;
    let resources =
        Resources { limits: settings.limits.net, commands: settings.exec.commands.clone() };
    Ok(Offer {
        service: service.name().to_owned(),
        end: service.serve(&end_name, &resources),
        always: service::always(&resources),
        end_name,
        known: service::names().map(str::to_owned).collect(),
    })
}

/// One line about the profiles of a server, and the clients that it lets in.
pub(super) fn spoken(sealed: Option<&SealedService>) -> String {
    let Some(sealed) = sealed else {
        return "the classic profile only: everybody is let in, and replies are in the clear"
            .to_owned();
    };
    let key = match &sealed.config.identity {
        Some(identity) => {
            format!("the sealed profile, key {}", fingerprint(&identity.public_key()))
        }
        None => "the sealed profile, by PSK".to_owned(),
    };
    let key = match sealed.config.is_gate_required {
        true => format!("{key}, for clients that know it or a PSK beforehand"),
        false => key,
    };
    match sealed.is_sealed_only {
        true => format!("{key}; not the classic one"),
        false => format!("{key}; and the classic one, which lets everybody in"),
    }
}

/// The first option or setting that has no meaning without the sealed profile.
fn sealed_only(args: &SealedServerArgs, settings: &Settings) -> Option<String> {
    let flags = [
        ("--authorized-clients", args.authorized_clients.is_some()),
        ("--gate", args.gate.is_some()),
        ("--service", args.service.is_some()),
        ("--no-classic", args.no_classic),
        ("--allow-64bit", args.allow_64bit),
        ("--kex", !args.kex.is_empty()),
    ];
    let flag = flags.iter().find(|(_, is_given)| *is_given).map(|(flag, _)| (*flag).to_owned());
    let Source::File(path) = &settings.source else { return flag };
    let is_harmless =
        |key: &str| key == "psk" || (key == "classic" && settings.sealed.classic == Some(true));
    let set = settings.sealed.lines.iter().find(|set| !is_harmless(&set.key));
    let set = set.map(|set| (set.line, set.key.as_str()));
    let set = set.or_else(|| settings.exec.line.map(|line| (line, "exec")));
    flag.or_else(|| set.map(|(line, key)| format!("{}:{line}: {key}", shown(path))))
}

/// Refuses tables `[sealed]` and `[exec.NAME]` in a file that others may write.
fn is_trusted(settings: &Settings) -> Result<(), Failure> {
    match &settings.distrust {
        Some(error) => Err(error.clone().into()),
        None => Ok(()),
    }
}

/// The suites of the configuration. Those with 64-bit blocks need `--allow-64bit` or its setting.
fn suites(settings: &Settings, allow_64bit: bool) -> Result<Arc<[EnabledSuite]>, Failure> {
    let enabled = settings.sealed.suites(&settings.ciphers.enabled, allow_64bit);
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
    settings.sealed.key_exchanges(&named)
}

fn own_key(path: &Path) -> Result<Identity, Failure> {
    let ask = || rpassword::prompt_password(format!("Passphrase of {}: ", shown(path)));
    Ok(read_identity(path, ask)?)
}

/// The sealed profile of a client.
pub(super) struct SealedClient {
    config: Arc<ClientConfig>,
    trust: ServerTrust,
}

/// The sealed profile of a client, if the user asks for it. Otherwise the server must not be one
/// with a known key: the classic profile would be a downgrade.
pub(super) fn client(
    args: &ClientArgs,
    server: &ServerName,
    settings: &Settings,
) -> Result<Option<SealedClient>, Failure> {
    if args.sealed.insecure_classic {
        return Ok(None);
    }
    let known = match &args.sealed.known_servers {
        Some(path) => Some(path.clone()),
        None => config_folder().map(|folder| folder.join("known_servers")),
    };
    // The classic profile needs this file, too: it has the servers that must not be spoken to in
    // the clear.
    let known = match known {
        Some(path) => KnownServers::read(&path)?,
        None => KnownServers::without_file(),
    };
    if !args.sealed.sealed {
        if known.may_know(server) {
            let problem = format!(
                "{server} is known for the sealed profile; the classic one would authenticate nobody"
            );
            return Err(Failure::new(Exit::Policy, problem)
                .hint("use --sealed, or --insecure-classic if you mean it"));
        }
        return Ok(None);
    }
    is_trusted(settings)?;
    let has_channels = !args.forwards().is_empty() || args.forwards.exec.is_some();
    if args.common.explain.is_some() && !has_channels {
        let problem =
            "--explain explains the classic profile, and the channels of -L, -R, -D and --exec";
        return Err(Failure::new(Exit::Usage, problem));
    }
    let psk = args.sealed.psk.as_deref().map(read_psk).transpose()?;
    let identity = client_identity(args.sealed.identity.as_deref(), psk.is_some())?;
    if identity.is_none() && psk.is_none() {
        return Err(Failure::new(Exit::Usage, "we have no key to show")
            .hint("make one with `vpn keygen`, or name one with --identity or --psk"));
    }
    let trust = ServerTrust::new(server.clone(), known)
        .pinned(args.sealed.server_key)
        .accepting_new(args.sealed.accept_new);
    let trust = match io::stdin().is_terminal() {
        true => trust.asking(Box::new(|server, shown| {
            ask(server, shown, &mut io::stdin().lock(), &mut io::stderr())
        })),
        false => trust,
    };
    let config = ClientConfig {
        enabled: suites(settings, args.sealed.allow_64bit)?,
        kex: kex(&args.sealed.kex, settings),
        identity,
        server_key: trust.likely_key(),
        psk,
        limits: Limits::rekeying(settings.limits.net.rekey.0, settings.limits.net.rekey.1),
    };
    Ok(Some(SealedClient { config: Arc::new(config), trust }))
}

/// The key that a client shows: that of `--identity`, or the default key if there is one.
fn client_identity(named: Option<&Path>, has_psk: bool) -> Result<Option<Identity>, Failure> {
    match named {
        Some(path) if path.as_os_str() == "none" => Ok(None),
        Some(path) => own_key(path).map(Some),
        // A PSK is enough, and a server without a list of clients would refuse a key.
        None if has_psk => Ok(None),
        None => {
            let path = config_folder().map(|folder| folder.join(DEFAULT_NAME));
            let path = path.filter(|path| path.symlink_metadata().is_ok());
            path.as_deref().map(own_key).transpose()
        }
    }
}

impl SealedClient {
    /// The configuration of the handshake, and the check of the server's key.
    pub(super) fn parts(
        mut self,
    ) -> (Arc<ClientConfig>, impl FnMut(PeerIdentity) -> Result<(), Untrusted> + Send) {
        (self.config, move |peer| self.trust.check(peer))
    }

    /// A hint for a server that does not answer: without its key or a PSK, the client cannot pass a
    /// required gate.
    pub(super) fn hint_at_gate(&self) -> Option<&'static str> {
        let has_gate = self.config.psk.is_some() || self.config.server_key.is_some();
        (!has_gate).then_some(
            "or its gate is required: then it answers only clients that have its whole key, and a \
             fingerprint is not enough; give --server-key the text of its .pub file, or add it to \
             known_servers",
        )
    }
}

/// Asks the user about a key until the answer is yes, no, or the fingerprint. Returns whether it is
/// accepted.
fn ask(
    server: &ServerName,
    shown: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> bool {
    let mut question = format!(
        "{server} is unknown. Its key is {shown}\nDo you trust it and want it remembered \
         (yes/no/fingerprint)? "
    );
    loop {
        let asked = output.write_all(question.as_bytes()).and_then(|()| output.flush());
        let mut answer = String::new();
        let heard = asked.and_then(|()| input.read_line(&mut answer));
        if !matches!(heard, Ok(1..)) {
            // The input has ended, so the line of the question has to end here.
            let _ = output.write_all(b"\n");
            return false;
        }
        let answer = answer.trim();
        if answer.eq_ignore_ascii_case("yes") || answer == shown {
            return true;
        }
        if answer.eq_ignore_ascii_case("no") {
            return false;
        }
        question = match answer.starts_with("SHA256:") {
            true => "That is another key. Please write yes, no or the fingerprint: ".to_owned(),
            false => "Please write yes, no or the fingerprint: ".to_owned(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_asked_again() {
        let server = ServerName::parse("example.org", None).unwrap();
        let asks = |answers: &str| {
            let mut output = Vec::new();
            let is_trusted = ask(&server, "SHA256:abc", &mut answers.as_bytes(), &mut output);
            (is_trusted, String::from_utf8(output).unwrap().matches("Please write").count())
        };
        assert_eq!(asks("yes\n"), (true, 0));
        assert_eq!(asks("YES \n"), (true, 0));
        assert_eq!(asks("no\nyes\n"), (false, 0));
        assert_eq!(asks("y\nmaybe\n\nyes\n"), (true, 3));
        assert_eq!(asks("SHA256:abd\nSHA256:abc\n"), (true, 1));
        // The input ends.
        assert_eq!(asks("maybe\n"), (false, 1));
        assert_eq!(asks(""), (false, 0));
    }
}
