//! The Python peers of tests/interop/.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of the peers; tests that use it are marked `#[needs(python)]`.
pub(crate) fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop");
    let python = std::env::var_os("VPN_INTEROP_PYTHON")
        .map_or_else(|| folder.join(".venv/bin/python"), PathBuf::from);
    let import = ["-c", "import Crypto, cryptography, diffiehellman"];
    let probe = Command::new(&python).args(import).output();
    assert!(
        probe.as_ref().is_ok_and(|output| output.status.success()),
        "{} lacks packages; pip install -r tests/interop/requirements.txt: {probe:?}",
        python.display()
    );
    python
}

/// A script of tests/interop/ with these arguments.
pub(crate) fn peer(python: &Path, script: &str, args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop").join(script);
    let mut command = Command::new(python);
    command.arg(script).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

pub(crate) fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// Whether the cells are wanted that take too long for every run.
pub(crate) fn is_full() -> bool {
    std::env::var_os("VPN_INTEROP_FULL").is_some()
}
