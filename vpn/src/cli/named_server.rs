//! The settings of a server in client.toml. The command line comes before them.

use super::args::{ClientArgs, ProbeArgs};
use super::failure::{Exit, Failure};
use crate::config::{ClientEntries, ClientEntry};
use crate::net::DEFAULT_PORT;
use crate::trust::{Host, ServerName, config_folder, merge_ports};

/// The servers of client.toml; none if there is no such file.
fn entries() -> Result<ClientEntries, Failure> {
    match config_folder().map(|folder| folder.join("client.toml")) {
        Some(path) => Ok(ClientEntries::read(&path)?),
        None => Ok(ClientEntries::default()),
    }
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, error)
}

/// Adds the settings of client.toml to the arguments of a client. Returns the arguments and the
/// server.
pub(super) fn client(mut args: ClientArgs) -> Result<(ClientArgs, ServerName), Failure> {
    let (host, own) = Host::parse(args.host()).map_err(usage)?;
    let mut port = merge_ports(args.host(), own, args.port).map_err(usage)?;
    let entries = entries()?;
    let mut at = host.clone();
    if let Some(entry) = entries.named(&host) {
        at = entry.host.clone();
        port = port.or(entry.port);
        merge(&mut args, entry);
    }
    let server = ServerName::new(at, port.unwrap_or(DEFAULT_PORT));
    if !args.sealed.sealed
        && !args.sealed.insecure_classic
        && let Some(name) = entries.sealed(&server)
    {
        let problem = format!(
            "{server} is '{name}' of client.toml, which is for the sealed profile; the classic one \
             would authenticate nobody"
        );
        return Err(Failure::new(Exit::Policy, problem)
            .hint(format!("use --host {name}, or --insecure-classic if you mean it")));
    }
    if args.forwards.only_forward && !args.has_other_use() && args.forwards().is_empty() {
        let failure = usage("-N only forwards, and there is nothing to forward");
        return Err(failure.hint("add -L, -R or -D, or take -N out"));
    }
    Ok((args, server))
}

/// Adds the settings of an entry where the command line has none. Forwards of the entry come behind
/// those of the command line, unless the session is for something else.
fn merge(args: &mut ClientArgs, entry: &ClientEntry) {
    args.common.config = args.common.config.take().or_else(|| entry.config.clone());
    if args.sealed.insecure_classic {
        return;
    }
    let has_other_use = args.has_other_use();
    let (sealed, forwards) = (&mut args.sealed, &mut args.forwards);
    sealed.sealed |= entry.sealed;
    if !sealed.sealed {
        return;
    }
    sealed.identity = sealed.identity.take().or_else(|| entry.identity.clone());
    sealed.psk = sealed.psk.take().or_else(|| entry.psk.clone());
    sealed.server_key = sealed.server_key.or(entry.server_key);
    forwards.set_reconnect(forwards.reconnect().or(entry.reconnect));
    forwards.carriers = forwards.carriers.or(entry.carriers);
    if !has_other_use {
        forwards.add(entry.forwards.clone());
    }
}

/// The server to probe, and the path of the configuration.
pub(super) fn probe(args: &ProbeArgs) -> Result<(ServerName, Option<std::path::PathBuf>), Failure> {
    let (host, own) = Host::parse(&args.host).map_err(usage)?;
    let port = merge_ports(&args.host, own, args.port).map_err(usage)?;
    let entries = entries()?;
    let entry = entries.named(&host);
    let port = port.or_else(|| entry.and_then(|entry| entry.port)).unwrap_or(DEFAULT_PORT);
    let config = args.config.clone().or_else(|| entry?.config.clone());
    let at = entry.map_or(host, |entry| entry.host.clone());
    Ok((ServerName::new(at, port), config))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    /// The arguments of a client, merged with an entry that has these settings.
    fn merged(settings: &str, args: &[&str]) -> ClientArgs {
        let text = format!("[[server]]\nname = 'work'\n{settings}");
        let entries = ClientEntries::parse_text(&text, Path::new("/conf/client.toml")).unwrap();
        let all = ["vpn", "client", "work"].iter().chain(args);
        let Command::Client(mut args) = Cli::try_parse_from(all).unwrap().command else {
            panic!("another command");
        };
        merge(&mut args, entries.named(&Host::parse("work").unwrap().0).unwrap());
        args
    }

    fn listens(args: &ClientArgs) -> Vec<String> {
        let forwards = args.forwards();
        let local = forwards.local.iter().map(|f| format!("{} -> {}", f.listen, f.target));
        let remote = forwards.remote.iter().map(|f| format!("{} <- {}", f.listen, f.target));
        let socks = forwards.socks.iter().map(ToString::to_string);
        local.chain(remote).chain(socks).collect()
    }

    #[test]
    fn forwards_of_the_table_come_behind_those_of_the_command_line() {
        let table = "forward = ['8080:intranet:80', './s:b:1']\nremote_forward = ['9:c:2']\n\
                     socks = '1080'\n";
        let args = merged(table, &[]);
        assert!(args.sealed.sealed);
        let own = ["localhost:8080 -> intranet:80", "/conf/s -> b:1", "localhost:9 <- c:2"];
        assert_eq!(listens(&args), [&own[..], &["localhost:1080"]].concat());
        let args = merged(table, &["-L", "1:a:80", "-D", "*:1081"]);
        let all = ["localhost:1 -> a:80", own[0], own[1], own[2], "*:1081", "localhost:1080"];
        assert_eq!(listens(&args), all);
        assert_eq!(listens(&merged("socks = ['1', '2']", &[])), ["localhost:1", "localhost:2"]);
        // The session is for something else.
        for other in [
            &["-m", "x"][..],
            &["-W", "a:22"],
            &["--exec", "x"],
            &["--pipe"],
            &["--service", "echo"],
        ] {
            assert_eq!(listens(&merged(table, other)), [""; 0], "{other:?}");
        }
        let args = merged(table, &["--insecure-classic"]);
        assert!(listens(&args).is_empty() && !args.sealed.sealed);
    }

    #[test]
    fn the_command_line_comes_before_other_settings_of_the_table() {
        let table = "reconnect = false\ncarriers = 3\n";
        let args = merged(table, &[]);
        assert!(args.sealed.sealed);
        assert_eq!((args.forwards.reconnect(), args.forwards.carriers), (Some(false), Some(3)));
        let args = merged(table, &["--reconnect", "--carriers", "4"]);
        assert_eq!((args.forwards.reconnect(), args.forwards.carriers), (Some(true), Some(4)));
        let args = merged("sealed = true", &[]);
        assert_eq!((args.forwards.reconnect(), args.forwards.carriers), (None, None));
        assert!(!merged("port = 1", &[]).sealed.sealed);
    }
}
