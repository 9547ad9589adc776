//! Which code does the work, where there is more than one choice.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_PORTABLE_FORCED: AtomicBool = AtomicBool::new(false);

/// Makes suites choose the code that runs on every machine, from the next key on, or lets them choose
/// again what suits this one best.
///
/// For tests and measurements: results are the same, only slower.
pub fn force_portable(is_forced: bool) {
    IS_PORTABLE_FORCED.store(is_forced, Ordering::Relaxed);
}

/// Whether a suite that is given a key has to leave its special code alone.
pub fn is_portable_forced() -> bool {
    IS_PORTABLE_FORCED.load(Ordering::Relaxed)
}
