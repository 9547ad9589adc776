//! The program `vpn` with one more cipher.

use own_cipher as _;
use vpn_suites as _;

fn main() -> std::process::ExitCode {
    vpn::cli::main()
}
