//! The Python peer of tests/interop/, an independent implementation of the sealed profile, agrees with
//! us in both roles.

mod channels;
mod exchanges;
mod matrix;
mod refusals;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::python::peer;
use crate::support::{DEADLINE, Ended, Keys, Running, Server, TempDir, finish, port_in, vpn};

const HYBRID: &str = "x25519-mlkem768";
const FINITE: [&str; 3] = ["ffdhe3072", "ffdhe4096", "ffdhe8192"];
const AES256: Suite = ("AES", 256);

/// Our name of a cipher, and the bits.
type Suite = (&'static str, u32);

/// How the two know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// By their keys.
    Keys,
    /// The client takes any server's key.
    FirstContact,
    /// By a PSK alone.
    Psk,
    /// By keys and a PSK.
    Both,
}

impl Trust {
    fn has_keys(self) -> bool {
        self != Self::Psk
    }

    fn has_psk(self) -> bool {
        matches!(self, Self::Psk | Self::Both)
    }
}

/// The suite's name on the wire.
fn wire_name((name, bits): Suite) -> String {
    format!("{}-{bits}-cbc", name.to_lowercase())
}

/// A configuration with these suites, that lets the longest texts pass.
fn config(suites: &[Suite]) -> String {
    let mut tables = String::new();
    // One table a cipher.
    for name in ["AES", "DES3", "Blowfish"] {
        let sizes: Vec<u32> = suites.iter().filter(|s| s.0 == name).map(|s| s.1).collect();
        if !sizes.is_empty() {
            tables += &format!("[[supported_cipher]]\nname = '{name}'\nkeys = {sizes:?}\n");
        }
    }
    // Python takes its time, and on a busy machine much more.
    let seconds = DEADLINE.as_secs();
    format!(
        "{tables}[limits]\nmessage_bytes = 2000000\nhandshake_seconds = {seconds}\n\
         sealed_handshake_seconds = {seconds}\n"
    )
}

/// Our server.
fn our_server(keys: &Keys, suites: &[Suite], trust: Trust, more: &[&str]) -> Server {
    our_server_with(keys, suites, trust, "", more)
}

/// Our server, with more tables in its configuration.
fn our_server_with(
    keys: &Keys,
    suites: &[Suite],
    trust: Trust,
    tables: &str,
    more: &[&str],
) -> Server {
    let (identity, clients, psk) = (keys.path("server"), keys.path("authorized"), keys.path("psk"));
    let mut args = vec!["--allow-64bit", "--no-classic"];
    if trust.has_keys() {
        args.extend(["--identity", &identity, "--authorized-clients", &clients]);
    }
    if trust.has_psk() {
        args.extend(["--psk", &psk]);
    }
    args.extend(more);
    Server::with_config(&(config(suites) + tables), &args)
}

/// Our client with one text a line.
fn our_client(port: u16, suites: &[Suite], more: &[&str], texts: &[String]) -> Ended {
    let folder = TempDir::new();
    let config = folder.file("c.toml", config(suites));
    let mut command = vpn();
    // A folder without keys, so that no user's keys are found.
    command.env("XDG_CONFIG_HOME", folder.path());
    command.args(["client", "--sealed", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--allow-64bit", "--config"]).arg(config).args(more);
    let input: String = texts.iter().map(|text| format!("{text}\n")).collect();
    finish(command, input.as_bytes())
}

/// The options for our client's key and for the servers that it trusts.
fn client_args(keys: &Keys, port: u16, trust: Trust) -> Vec<String> {
    let known = keys.path(&format!("known-{port}"));
    let mut args = vec!["--known-servers".to_owned(), known.clone()];
    if trust.has_keys() {
        args.extend(["--identity".to_owned(), keys.path("client")]);
    }
    if trust == Trust::FirstContact {
        args.push("--accept-new".to_owned());
    } else if trust.has_keys() {
        let line = format!("127.0.0.1:{port} sealed {}", keys.read("server.pub"));
        std::fs::write(known, line).unwrap();
    }
    if trust.has_psk() {
        args.extend(["--psk".to_owned(), keys.path("psk")]);
    }
    args
}

/// The Python server.
fn their_server(
    keys: &Keys,
    python: &Path,
    suites: &str,
    trust: Trust,
    more: &[&str],
) -> TheirServer {
    let deadline = DEADLINE.as_secs().to_string();
    let args = ["server", "--suites", suites, "--deadline", &deadline];
    let mut command = peer(python, "sealed_peer.py", &args);
    if trust.has_keys() {
        let (identity, clients) = (keys.path("server"), keys.path("authorized"));
        command.args(["--identity", &identity, "--authorized-clients", &clients]);
    }
    if trust.has_psk() {
        command.args(["--psk", &keys.path("psk")]);
    }
    command.args(["--sessions", "1"]).args(more);
    let process = Running::start(command);
    let port = port_in(&process.out.until("PORT "));
    TheirServer { process, port }
}

/// The Python client.
fn their_client(keys: &Keys, python: &Path, port: u16, trust: Trust, texts: &[String]) -> Command {
    let (port, deadline) = (port.to_string(), DEADLINE.as_secs().to_string());
    let args = ["client", "--port", &port, "--deadline", &deadline];
    let mut command = peer(python, "sealed_peer.py", &args);
    if trust.has_keys() {
        command.args(["--identity", &keys.path("client")]);
    }
    if matches!(trust, Trust::Keys | Trust::Both) {
        command.args(["--server-key", &keys.path("server.pub")]);
    }
    if trust.has_psk() {
        command.args(["--psk", &keys.path("psk")]);
    }
    for (number, text) in texts.iter().enumerate() {
        // An argument has at most 128 KiB.
        if text.len() < 1000 {
            command.args(["--text", text]);
        } else {
            let path = keys.path(&format!("text-{port}-{number}"));
            std::fs::write(&path, text).unwrap();
            command.args(["--text-file", &path]);
        }
    }
    command
}

/// The Python server at work.
struct TheirServer {
    process: Running,
    port: u16,
}

impl TheirServer {
    fn event(&self, name: &str) -> Value {
        serde_json::from_str(&self.process.out.until(&format!("\"event\": \"{name}\""))).unwrap()
    }
}

/// The beginning, for messages.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
