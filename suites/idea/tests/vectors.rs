//! The vector of Lai, "On the Design and Security of Block Ciphers" (1992).

use vpn_suite::testkit;
use vpn_suite_idea::Idea;

/// The source has single blocks. With a zero IV, CBC of one block is ECB.
const IV: &str = "0000000000000000";

#[test]
fn idea_matches_its_authors() {
    testkit::check_vector(
        &Idea,
        "00010002000300040005000600070008",
        IV,
        "0000000100020003",
        "11fbed2b01986de5",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Idea);
}
