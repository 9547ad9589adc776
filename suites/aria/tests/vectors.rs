//! Vectors of RFC 5794, Appendix A.

use vpn_suite::testkit;
use vpn_suite_aria::Aria;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "00000000000000000000000000000000";

#[test]
fn aria128_matches_the_rfc() {
    testkit::check_vector(
        &Aria,
        "000102030405060708090a0b0c0d0e0f",
        IV,
        "00112233445566778899aabbccddeeff",
        "d718fbd6ab644c739da95f3be6451778",
    );
}

#[test]
fn aria192_matches_the_rfc() {
    testkit::check_vector(
        &Aria,
        "000102030405060708090a0b0c0d0e0f1011121314151617",
        IV,
        "00112233445566778899aabbccddeeff",
        "26449c1805dbe7aa25a468ce263a9e79",
    );
}

#[test]
fn aria256_matches_the_rfc() {
    testkit::check_vector(
        &Aria,
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        IV,
        "00112233445566778899aabbccddeeff",
        "f92bd7c79fb72e2f2b8f80c1972d24fc",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Aria);
}
