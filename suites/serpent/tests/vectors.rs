//! Vectors of NESSIE (2000), Serpent-128, -192 and -256: "verified test vectors", set 1, vector 0.

use vpn_suite::testkit;
use vpn_suite_serpent::Serpent;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "00000000000000000000000000000000";

#[test]
fn serpent128_matches_nessie() {
    testkit::check_vector(
        &Serpent,
        "80000000000000000000000000000000",
        IV,
        "00000000000000000000000000000000",
        "264e5481eff42a4606abda06c0bfda3d",
    );
}

#[test]
fn serpent192_matches_nessie() {
    testkit::check_vector(
        &Serpent,
        "800000000000000000000000000000000000000000000000",
        IV,
        "00000000000000000000000000000000",
        "9e274ead9b737bb21efcfca548602689",
    );
}

#[test]
fn serpent256_matches_nessie() {
    testkit::check_vector(
        &Serpent,
        "8000000000000000000000000000000000000000000000000000000000000000",
        IV,
        "00000000000000000000000000000000",
        "a223aa1288463c0e2be38ebd825616c0",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Serpent);
}
