#![no_main]

// rustc links only crates that are named; without this line there are no suites.
use vpn_suites as _;

#[allow(dead_code, reason = "each target uses one of the checks")]
#[path = "../../tests/any_bytes/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::channel_session(data));
