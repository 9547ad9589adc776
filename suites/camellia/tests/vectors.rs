//! Vectors of RFC 3713, Appendix A.

use vpn_suite::testkit;
use vpn_suite_camellia::Camellia;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "00000000000000000000000000000000";

#[test]
fn camellia128_matches_the_rfc() {
    testkit::check_vector(
        &Camellia,
        "0123456789abcdeffedcba9876543210",
        IV,
        "0123456789abcdeffedcba9876543210",
        "67673138549669730857065648eabe43",
    );
}

#[test]
fn camellia192_matches_the_rfc() {
    testkit::check_vector(
        &Camellia,
        "0123456789abcdeffedcba98765432100011223344556677",
        IV,
        "0123456789abcdeffedcba9876543210",
        "b4993401b3e996f84ee5cee7d79b09b9",
    );
}

#[test]
fn camellia256_matches_the_rfc() {
    testkit::check_vector(
        &Camellia,
        "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
        IV,
        "0123456789abcdeffedcba9876543210",
        "9acc237dff16d76c20ef7c919e3a7509",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Camellia);
}
