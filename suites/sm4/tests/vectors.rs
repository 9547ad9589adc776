//! The vector of GB/T 32907-2016, Appendix A.1. It is also in the drafts of RFC 8998.

use vpn_suite::testkit;
use vpn_suite_sm4::Sm4;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "00000000000000000000000000000000";

#[test]
fn sm4_matches_the_standard() {
    testkit::check_vector(
        &Sm4,
        "0123456789abcdeffedcba9876543210",
        IV,
        "0123456789abcdeffedcba9876543210",
        "681edf34d206965e86b3e94f536e4246",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Sm4);
}
