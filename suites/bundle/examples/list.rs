//! Prints the names of the suites that this program links, one a line.

use vpn_suite::Registry;
use vpn_suites as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for name in Registry::linked()?.names() {
        println!("{name}");
    }
    Ok(())
}
