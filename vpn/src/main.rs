//! The `vpn` program: every suite of the bundle, and the command line.

use std::process::ExitCode;

// rustc links only crates that are named; without this line the registry is empty.
use vpn_suites as _;

fn main() -> ExitCode {
    vpn::cli::main()
}
