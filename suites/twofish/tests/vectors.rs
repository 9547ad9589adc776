//! Vectors of the paper, "Twofish: A 128-Bit Block Cipher" (1998), Appendix A.1 and A.2.

use vpn_suite::testkit;
use vpn_suite_twofish::Twofish;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "00000000000000000000000000000000";

#[test]
fn twofish128_matches_the_paper() {
    testkit::check_vector(
        &Twofish,
        "00000000000000000000000000000000",
        IV,
        "00000000000000000000000000000000",
        "9f589f5cf6122c32b6bfec2f2ae8c35a",
    );
}

#[test]
fn twofish192_matches_the_paper() {
    testkit::check_vector(
        &Twofish,
        "0123456789abcdeffedcba98765432100011223344556677",
        IV,
        "00000000000000000000000000000000",
        "cfd1d2e5a9be9cdf501f13b892bd2248",
    );
}

#[test]
fn twofish256_matches_the_paper() {
    testkit::check_vector(
        &Twofish,
        "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
        IV,
        "00000000000000000000000000000000",
        "37527be0052334b89f0cfccae87cfa20",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Twofish);
}
