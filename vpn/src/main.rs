//! The program `vpn`: the command line, with every suite of the bundle.

use std::process::ExitCode;

// rustc links only crates that are named; without this line the registry is empty.
use vpn_suites as _;

fn main() -> ExitCode {
    vpn::cli::main()
}
