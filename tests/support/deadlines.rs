//! How long a test waits.

use std::time::{Duration, Instant};

/// No wait of a test is longer than this. It is there for what hangs: on a machine with much else to do,
/// a second of work may take a minute.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Asks again until something is true; fails with `what` if it takes too long.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "{what}: not in time");
        // There is nothing to wait for but time: this polls, it does not synchronise.
        std::thread::sleep(Duration::from_millis(2));
    }
}
