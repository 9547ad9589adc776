//! Matrices of conversations.

use std::io::Write;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Cells run at once; much of their time two programs wait for each other.
const AT_ONCE: usize = 2;

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
