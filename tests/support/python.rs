//! The Python peers of tests/interop/, and matrices of conversations with them.

use std::io::Write;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Cells run at once; most of their time is Python's.
const AT_ONCE: usize = 2;

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

/// Runs every cell, a few at once, and fails with those that failed.
pub(crate) fn run_all<C: Clone + std::fmt::Debug + RefUnwindSafe + Sync + Send>(
    what: &str,
    cells: &[C],
    run: impl Fn(&C) + RefUnwindSafe + Sync,
) {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // A cell that fails says why and leaves the others alone.
                    if catch_unwind(|| run(cell)).is_err() {
                        failed.lock().unwrap().push(cell.clone());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let summary = format!(
        "{what}: {} cells passed, {} failed, in {} s",
        cells.len() - failed.len(),
        failed.len(),
        start.elapsed().as_secs()
    );
    let _ = writeln!(std::io::stderr(), "{summary}");
    assert!(failed.is_empty(), "{summary}: {failed:#?}");
}
