//! The `vpn` program with one cipher more.

use vpn_plugin_example as _;
use vpn_suites as _;

fn main() -> std::process::ExitCode {
    vpn::cli::main()
}
