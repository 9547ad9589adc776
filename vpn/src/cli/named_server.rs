//! The settings of a server in client.toml. The command line comes before them.

use super::args::{ClientArgs, ProbeArgs};
use super::failure::{Exit, Failure};
use crate::config::ClientEntries;
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
    let (host, own) = Host::parse(&args.host).map_err(usage)?;
    let mut port = merge_ports(&args.host, own, args.port).map_err(usage)?;
    let entries = entries()?;
    let mut at = host.clone();
    if let Some(entry) = entries.named(&host) {
        at = entry.host.clone();
        port = port.or(entry.port);
        args.common.config = args.common.config.or_else(|| entry.config.clone());
        let sealed = &mut args.sealed;
        if !sealed.insecure_classic {
            sealed.sealed |= entry.sealed;
            if sealed.sealed {
                sealed.identity = sealed.identity.take().or_else(|| entry.identity.clone());
                sealed.psk = sealed.psk.take().or_else(|| entry.psk.clone());
                sealed.server_key = sealed.server_key.or(entry.server_key);
            }
        }
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
    Ok((args, server))
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
