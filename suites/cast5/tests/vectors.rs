//! Vectors of RFC 2144, Appendix B.1.

use vpn_suite::testkit;
use vpn_suite_cast5::Cast5;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "0000000000000000";

#[test]
fn cast5_128_matches_the_rfc() {
    testkit::check_vector(
        &Cast5,
        "0123456712345678234567893456789a",
        IV,
        "0123456789abcdef",
        "238b4fe5847e44b2",
    );
}

#[test]
fn cast5_80_matches_the_rfc() {
    testkit::check_vector(
        &Cast5,
        "01234567123456782345",
        IV,
        "0123456789abcdef",
        "eb6a711a2c02271b",
    );
}

#[test]
fn cast5_40_matches_the_rfc() {
    testkit::check_vector(&Cast5, "0123456712", IV, "0123456789abcdef", "7ac816d16e9b302e");
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Cast5);
}
