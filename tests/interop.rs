//! Against an independent implementation: the Python peer of tests/interop/, both roles.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ended, Lines, Process, Server, TempDir, client_of, finish};

/// What every cell says; the empty text has no answer in most dialects.
const TEXTS: [&str; 4] = ["hello", "", "0123456789abcdef", "héllo 日本"];

const CELLS: [(&str, u32); 8] = [
    ("AES", 128),
    ("AES", 192),
    ("AES", 256),
    ("DES3", 128),
    ("DES3", 192),
    ("Blowfish", 112),
    ("Blowfish", 224),
    ("Blowfish", 448),
];

/// A Python with the peer's packages, or none, which is said aloud or an error if it must be there.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop");
    let python = std::env::var_os("VPN_INTEROP_PYTHON")
        .map_or_else(|| folder.join(".venv/bin/python"), PathBuf::from);
    let probe = Command::new(&python).args(["-c", "import Crypto, diffiehellman"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("VPN_INTEROP_REQUIRED").is_none(),
        "{} cannot import Crypto and diffiehellman",
        python.display()
    );
    // Not with eprintln!, which the test harness would swallow.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED interop: no Python with the packages of tests/interop/requirements.txt"
    );
    None
}

fn peer(python: &Path, args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/classic_peer.py");
    let mut command = Command::new(python);
    command.arg(script).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn config(name: &str, bits: u32, more: &str) -> String {
    format!("[[supported_cipher]]\nname = '{name}'\nkeys = [{bits}]\n{more}")
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// Our client against the Python server.
fn our_client(python: &Path, name: &str, bits: u32, theirs: &str, ours: &str) {
    let cipher = format!("{name}:{bits}");
    let mut command = peer(python, &["server", "--cipher", &cipher, "--dialect", theirs, "--once"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Process(command.spawn().unwrap());
    let out = Lines::of(server.0.stdout.take().unwrap());
    let port = out.until("PORT ").trim_start_matches("PORT ").parse().unwrap();
    let folder = TempDir::new();
    let config = folder.file("c.toml", config(name, bits, ""));
    let mut args = vec!["--config", config.to_str().unwrap(), "--dialect", ours];
    args.extend(TEXTS.iter().flat_map(|text| ["-m", text]));
    let ended = client_of(port, &args, b"");
    let cell = format!("{name}{bits}, {ours} client against {theirs} server");
    assert_eq!(ended.code, Some(0), "{cell}: {}", ended.stderr);
    let expected: Vec<String> =
        TEXTS.iter().map(|text| format!("Server says: {}", reversed(text))).collect();
    assert_eq!(ended.lines()[5..], expected, "{cell}");
    assert!(server.wait().success(), "{cell}");
}

/// The Python client against our server.
fn our_server(python: &Path, name: &str, bits: u32, theirs: &str, ours: &str, more: &str) {
    let server = Server::with_config(&config(name, bits, more), &["--dialect", ours]);
    let (port, cipher) = (server.port.to_string(), format!("{name}:{bits}"));
    let mut args = vec!["client", "--port", &port, "--cipher", &cipher, "--dialect", theirs];
    args.extend(TEXTS.iter().flat_map(|text| ["--message", text]));
    let ended: Ended = finish(peer(python, &args), b"");
    let cell = format!("{name}{bits}, {theirs} client against {ours} server");
    assert_eq!(ended.code, Some(0), "{cell}: {}{}", ended.stdout, ended.stderr);
    let events = ended.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let replies: Vec<_> = events
        .filter(|event| event["event"] == "reply")
        .map(|event| event["text"].as_str().unwrap().to_owned())
        // Whether there is a reply to an empty text is the dialect's business; the peer checks it.
        .filter(|text| !text.is_empty())
        .collect();
    let said: Vec<_> = TEXTS.iter().filter(|t| !t.is_empty()).map(|t| reversed(t)).collect();
    assert_eq!(replies, said, "{cell}");
    for text in TEXTS {
        assert_eq!(server.out.until("Received: "), format!("Received: {text}"), "{cell}");
    }
}

#[test]
fn our_client_talks_to_the_python_server_in_every_suite() {
    let Some(python) = python() else { return };
    for (name, bits) in CELLS {
        our_client(&python, name, bits, "spec", "auto");
    }
}

#[test]
fn the_python_client_talks_to_our_server_in_every_suite() {
    let Some(python) = python() else { return };
    for (name, bits) in CELLS {
        our_server(&python, name, bits, "spec", "auto", "");
    }
}

#[test]
fn the_families_of_the_field_are_understood() {
    let Some(python) = python() else { return };
    // What a client sees is enough to know the server's dialect.
    our_client(&python, "AES", 256, "capture", "auto");
    our_client(&python, "AES", 256, "field2020", "auto");
    our_client(&python, "AES", 256, "lines", "auto");
    our_client(&python, "DES3", 192, "lines", "lines");
    // A server cannot tell the 2020 family from the text.
    our_server(&python, "AES", 256, "lines", "auto", "");
    our_server(&python, "AES", 256, "capture", "capture", "");
    our_server(&python, "Blowfish", 112, "field2020", "capture", "[classic]\nreply = 'prefixed'\n");
}
