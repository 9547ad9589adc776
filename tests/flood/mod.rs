//! A server under attack serves everybody else.

mod attackers;
mod established_sessions_go_on;
mod newcomers;
mod newcomers_are_served;

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The server must not need more than this.
const MEMORY_KIB: u64 = 96 * 1024;

/// For how long floods last in a long run.
fn seconds() -> Option<u64> {
    std::env::var("VPN_FLOOD_SECONDS").ok().map(|s| s.parse().unwrap())
}

/// One flood at a time, so that no test measures the flood of another.
static TURN: Mutex<()> = Mutex::new(());

/// Ends the flood, also when the test fails.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A line for people, past the capture of the test harness.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
