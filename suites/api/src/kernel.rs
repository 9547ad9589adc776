//! The choice between portable code and code for certain processors.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_PORTABLE_FORCED: AtomicBool = AtomicBool::new(false);

/// Forces suites to use portable code, or lets them choose the fastest code again. Takes effect
/// with the next key.
///
/// It is for tests and measurements. The results are the same.
pub fn force_portable(is_forced: bool) {
    IS_PORTABLE_FORCED.store(is_forced, Ordering::Relaxed);
}

/// Returns whether a suite must use portable code when it keys a cipher.
pub fn is_portable_forced() -> bool {
    IS_PORTABLE_FORCED.load(Ordering::Relaxed)
}
