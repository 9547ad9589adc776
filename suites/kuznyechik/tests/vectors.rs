//! The vector of RFC 7801, Section 5.5.

use vpn_suite::testkit;
use vpn_suite_kuznyechik::Kuznyechik;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "00000000000000000000000000000000";

#[test]
fn kuznyechik_matches_the_rfc() {
    testkit::check_vector(
        &Kuznyechik,
        "8899aabbccddeeff0011223344556677fedcba98765432100123456789abcdef",
        IV,
        "1122334455667700ffeeddccbbaa9988",
        "7f679d90bebc24305a468d42b9d4edcd",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Kuznyechik);
}
