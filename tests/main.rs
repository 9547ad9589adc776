//! Integration tests of the program and its library, one binary (see `[[test]]` in vpn/Cargo.toml).

// rustc links only crates that are named; without this line the registry is empty.
use vpn_suites as _;

mod adversary;
#[cfg(target_os = "linux")]
mod bad_files;
mod bad_input;
mod checks;
mod cli;
mod config;
#[cfg(target_os = "linux")]
mod differential;
mod e2e;
mod explain;
#[cfg(target_os = "linux")]
mod flood;
mod fuzz;
mod interop;
mod pair;
#[cfg(unix)]
mod pipe_close;
#[cfg(unix)]
mod pipe_promise;
mod properties;
mod registry;
mod sealed;
#[cfg(unix)]
mod sealed_cli;
mod sealed_downgrade;
#[cfg(unix)]
mod sealed_interop;
#[cfg(target_os = "linux")]
mod sealed_memory;
#[cfg(unix)]
mod sealed_net;
mod sealed_peers;
#[cfg(unix)]
mod sealed_refusals;
mod sealed_sessions;
#[cfg(unix)]
mod suites;
mod support;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(unix)]
mod trust;
#[cfg(target_os = "linux")]
mod unread;
mod vectors;
mod wycheproof;
