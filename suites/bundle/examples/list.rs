//! Prints the names of the linked suites, one per line.

use vpn_suite::Registry;
use vpn_suites as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for name in Registry::linked()?.names() {
        println!("{name}");
    }
    Ok(())
}
