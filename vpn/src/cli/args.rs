//! The arguments as clap sees them.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};

use super::forward_args::ForwardArgs;
use crate::config::Overrides;
use crate::service::{self, Forwards};
use crate::session::Service;
use crate::trust::Pin;
use vpn_proto::sealed::Kex;

/// Agree on a cipher, exchange a key, and talk.
#[derive(Debug, Parser)]
#[command(name = "vpn", version, about, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Log to standard error: -v what happens, -vv more, -vvv everything (or set RUST_LOG)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(super) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Wait for clients; print their messages and answer with the text reversed
    Server(ServerArgs),
    /// Connect to a server: send messages or bytes, forward connections, run a command
    Client(ClientArgs),
    /// Show what a server speaks, without showing it our key
    Probe(ProbeArgs),
    /// Make an Ed25519 key pair in OpenSSH's format
    Keygen(KeygenArgs),
    /// Show the fingerprint of a key, as OpenSSH does
    Fingerprint(FingerprintArgs),
    /// Run a server and a client against each other in this terminal
    Demo(DemoArgs),
    /// Measure ciphers and key exchanges on this machine
    Speed(SpeedArgs),
    /// List the ciphers linked into this program and what the configuration enables
    Suites(SuitesArgs),
}

/// The arguments of every command that speaks the protocol.
#[derive(Clone, Debug, Args)]
pub(super) struct Common {
    /// The ciphers to use [default: server_cipher.toml here, else a built-in list]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The dialect of a classic peer, if auto does not find it out
    #[arg(long, value_name = "NAME", value_parser = ["auto", "spec", "capture", "lines"])]
    pub(super) dialect: Option<String>,
    /// The Diffie-Hellman group of a classic peer: 14 to 18 of RFC 3526
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(14..=18))]
    pub(super) group: Option<u8>,
    /// Explain on standard error what happens and what an eavesdropper sees; with =secrets, the
    /// keys too
    #[arg(long, value_name = "secrets", num_args = 0..=1, require_equals = true,
          default_missing_value = "all", value_parser = ["all", "secrets"], hide_possible_values = true)]
    pub(super) explain: Option<String>,
    /// Append the keys of every session to this file, to read recorded traffic
    #[arg(long, value_name = "FILE")]
    pub(super) keylog: Option<PathBuf>,
}

impl Common {
    pub(super) fn overrides(&self) -> Overrides {
        Overrides { dialect: self.dialect.clone(), group: self.group }
    }
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The address to listen on [default: all interfaces, IPv4 and IPv6]
    #[arg(long, value_name = "ADDR")]
    pub(super) host: Option<String>,
    /// The port to listen on; 0 lets the system choose [default: 4600]
    #[arg(long)]
    pub(super) port: Option<u16>,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) sealed: SealedServerArgs,
}

/// The sealed profile of a server; an identity or a PSK turns it on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sealed profile (unaudited)")]
pub(super) struct SealedServerArgs {
    /// The private key of this server; it turns the sealed profile on
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// The clients that may come in: a file with lines of [OPTIONS] ssh-ed25519 KEY
    #[arg(long, value_name = "FILE")]
    pub(super) authorized_clients: Option<PathBuf>,
    /// A key that server and client share: 32 or more bytes in hexadecimal; repeat it for more keys
    #[arg(long, value_name = "FILE")]
    pub(super) psk: Vec<PathBuf>,
    /// Speak the classic profile too, which lets everybody in
    #[arg(long, conflicts_with = "no_classic")]
    pub(super) classic: bool,
    /// Do not speak the classic profile [default with --identity or --psk]
    #[arg(long)]
    pub(super) no_classic: bool,
    /// With required, answer only clients that know this server's key or a PSK beforehand
    #[arg(long, value_name = "WHEN", value_parser = ["optional", "required"])]
    pub(super) gate: Option<String>,
    /// Use suites with 64-bit blocks too
    #[arg(long)]
    pub(super) allow_64bit: bool,
    /// The key exchanges to use, best first [default: all of them]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = kex_names())]
    pub(super) kex: Vec<String>,
    /// The service of sealed sessions [default: message]
    #[arg(long, value_name = "NAME", value_parser = server_ends())]
    pub(super) service: Option<String>,
}

/// The sealed profile of a client.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sealed profile (unaudited)")]
pub(super) struct SealedClientArgs {
    /// Speak the sealed profile and no other
    #[arg(long)]
    pub(super) sealed: bool,
    /// The service to use [default: message]
    #[arg(long, value_name = "NAME", value_parser = services())]
    pub(super) service: Option<String>,
    /// Connect standard input and output to the server; short for --service pipe
    #[arg(long, conflicts_with_all = ["messages", "quiet", "service"])]
    pub(super) pipe: bool,
    /// Our private key, or none [default: id_ed25519 in ~/.config/vpn, if it exists and there is no
    /// --psk]
    #[arg(long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// The server's key: its fingerprint, or the text of its .pub file
    #[arg(long, value_name = "SHA256:...", value_parser = Pin::parse)]
    pub(super) server_key: Option<Pin>,
    /// Accept and remember the key of a new server without asking
    #[arg(long)]
    pub(super) accept_new: bool,
    /// A key that server and client share, 32 or more bytes in hexadecimal
    #[arg(long, value_name = "FILE")]
    pub(super) psk: Option<PathBuf>,
    /// Use suites with 64-bit blocks too
    #[arg(long)]
    pub(super) allow_64bit: bool,
    /// The key exchanges to offer, best first [default: all of them]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = kex_names())]
    pub(super) kex: Vec<String>,
    /// The file with known keys of servers [default: known_servers in ~/.config/vpn]
    #[arg(long, value_name = "FILE")]
    pub(super) known_servers: Option<PathBuf>,
    /// Speak the classic profile even to a server with a known key
    #[arg(long, conflicts_with = "sealed")]
    pub(super) insecure_classic: bool,
}

/// The names of the server's ends of all services.
fn server_ends() -> PossibleValuesParser {
    let value = |(name, about)| PossibleValue::new(name).help(about);
    PossibleValuesParser::new(service::ends().map(value))
}

/// The names of all services.
fn services() -> PossibleValuesParser {
    let value = |service: &dyn Service| PossibleValue::new(service.name()).help(service.about());
    PossibleValuesParser::new(service::chosen().map(value))
}

/// The names of all key exchanges.
fn kex_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Kex::ALL.map(Kex::name))
}

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The server's name or address, or its name in client.toml in ~/.config/vpn
    pub(super) host: String,
    /// The server's port [default: 4600]
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// The ciphers to propose [default: as for server and client]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// The private key's file; the public one gets .pub [default: id_ed25519 in ~/.config/vpn]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// A name for the key
    #[arg(long, value_name = "TEXT")]
    pub(super) comment: Option<String>,
    /// Replace existing files
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct FingerprintArgs {
    /// A public or private key in OpenSSH's format
    pub(super) file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ClientArgs {
    /// The server, as with --host
    #[arg(value_name = "NAME", conflicts_with = "host")]
    pub(super) name: Option<String>,
    /// The server's name or address, or its name in client.toml in ~/.config/vpn [default: localhost]
    #[arg(long)]
    pub(super) host: Option<String>,
    /// The server's port [default: 4600]
    #[arg(long)]
    pub(super) port: Option<u16>,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) texts: TextArgs,
    #[command(flatten)]
    pub(super) sealed: SealedClientArgs,
    #[command(flatten)]
    pub(super) forwards: ForwardArgs,
}

impl ClientArgs {
    /// The server, as the user named it.
    pub(super) fn host(&self) -> &str {
        self.name.as_deref().or(self.host.as_deref()).unwrap_or("localhost")
    }

    /// The forwards of the session.
    pub(super) fn forwards(&self) -> Forwards {
        self.forwards.forwards()
    }

    /// Whether the session is for something else than forwards.
    pub(super) fn has_other_use(&self) -> bool {
        let (sealed, forwards) = (&self.sealed, &self.forwards);
        self.texts_only().is_some()
            || sealed.pipe
            || sealed.service.is_some()
            || forwards.stdio.is_some()
            || forwards.exec.is_some()
    }

    /// The service of the session.
    pub(super) fn service(&self) -> &'static dyn Service {
        let name = if self.sealed.pipe { Some("pipe") } else { self.sealed.service.as_deref() };
        name.and_then(service::find).unwrap_or_else(service::usual)
    }

    /// A flag that has no meaning for a service of bytes, if one is given.
    pub(super) fn texts_only(&self) -> Option<&'static str> {
        let flags = [("--message", !self.texts.messages.is_empty()), ("--quiet", self.texts.quiet)];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// A flag that has no meaning without the sealed profile, if one is given.
    pub(super) fn sealed_only(&self) -> Option<&'static str> {
        let sealed = &self.sealed;
        [
            ("--pipe", sealed.pipe),
            ("--service", sealed.service.is_some()),
            ("--identity", sealed.identity.is_some()),
            ("--server-key", sealed.server_key.is_some()),
            ("--accept-new", sealed.accept_new),
            ("--psk", sealed.psk.is_some()),
            ("--allow-64bit", sealed.allow_64bit),
            ("--kex", !sealed.kex.is_empty()),
        ]
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
        .or_else(|| self.forwards.given())
    }
}

/// The texts to send, and the output.
#[derive(Clone, Debug, Args)]
pub(super) struct TextArgs {
    /// Send this text without a prompt; may be given several times
    #[arg(long = "message", short, value_name = "TEXT")]
    pub(super) messages: Vec<String>,
    /// Print replies only, one on each line
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Send this text without a prompt; may be given several times
    #[arg(long = "message", short, value_name = "TEXT")]
    pub(super) messages: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct SpeedArgs {
    /// Measure only this suite, or only one of its key sizes; may be given several times
    #[arg(long, value_name = "NAME[:BITS]")]
    pub(super) suite: Vec<String>,
    /// Measure only records with this many bytes of payload [default: 64, 1024 and 16384]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..=16384))]
    pub(super) size: Vec<u16>,
    /// How long to measure each, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(super) time: u64,
    /// Measure without the vector code of this program
    #[arg(long, conflicts_with = "kernel")]
    pub(super) portable: bool,
    /// Measure with this kernel instead of the fastest one for its work; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) kernel: Vec<String>,
    /// Leave out the key exchanges
    #[arg(long)]
    pub(super) no_kex: bool,
    /// Do not show on the terminal what is measured now
    #[arg(long)]
    pub(super) no_progress: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SuitesArgs {
    /// The configuration to show [default: as for server and client]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
    /// Print the built-in configuration instead, as a start for your own
    #[arg(long, conflicts_with_all = ["config", "json"])]
    pub(super) show_config: bool,
}
