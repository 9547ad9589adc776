//! Looks for what tests need, each time that this may have changed. For what is missing it hands the
//! library a line that says how to get it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["PATH", "VPN_INTEROP_PYTHON", "VPN_INTEROP_REQUIRED"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // Here everything has to be there; a test that lacks something fails and says what.
    let is_required = std::env::var_os("VPN_INTEROP_REQUIRED").is_some();
    let missing = |check: fn() -> Option<String>| match is_required {
        true => None,
        false => check(),
    };
    for (name, missing) in [
        ("NEEDS_PYTHON", missing(python)),
        ("NEEDS_LIBGCRYPT", missing(libgcrypt)),
        ("NEEDS_SSH_KEYGEN", missing(ssh_keygen)),
    ] {
        println!("cargo::rustc-env={name}={}", missing.unwrap_or_default());
    }
}

/// A Python with the packages of the interop peers.
fn python() -> Option<String> {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop");
    let (python, install) = match std::env::var_os("VPN_INTEROP_PYTHON") {
        Some(python) => {
            let python = PathBuf::from(python);
            let install = format!("{} -m pip", python.display());
            (python, install)
        }
        None => {
            let install = "python3 -m venv tests/interop/.venv && tests/interop/.venv/bin/pip";
            (interop.join(".venv/bin/python"), install.to_owned())
        }
    };
    let has_all = succeeds(&python, &["-c", "import Crypto, cryptography, diffiehellman"]);
    // If it is there, it can only go away. If not, what is to be watched is where it would come.
    watch(match has_all {
        true => &python,
        false => &interop,
    });
    (!has_all).then(|| format!("{install} install -r tests/interop/requirements.txt"))
}

/// The two libraries that tests/interop/differential.py calls, and any Python to call them from.
fn libgcrypt() -> Option<String> {
    let load = "from ctypes import CDLL; CDLL('libgcrypt.so.20'); CDLL('libcrypto.so.3')";
    let has_all = succeeds(Path::new("python3"), &["-c", load]);
    if !has_all {
        watch(Path::new("/var/lib/dpkg/info"));
    }
    (!has_all).then(|| "apt-get install python3 libgcrypt20 libssl3".to_owned())
}

fn ssh_keygen() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let is_there = folders.iter().any(|folder| folder.join("ssh-keygen").is_file());
    if !is_there {
        folders.iter().for_each(|folder| watch(folder));
    }
    (!is_there).then(|| "apt-get install openssh-client".to_owned())
}

/// Cargo runs this again when a file or something in a folder changes; what does not exist counts as
/// changed every time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn succeeds(program: &Path, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
