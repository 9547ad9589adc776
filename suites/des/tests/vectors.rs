//! Vectors of NIST SP 800-17 (1998), variable key known answer test.
//!
//! They are those that vary the first and the seventh key byte. Their eighth byte is 01, which is
//! only a parity bit. DES ignores it, so the padded key is equivalent to the published one.

use vpn_suite::{CipherSuite, testkit};
use vpn_suite_des::Des;

const ZERO: &str = "0000000000000000";

/// The first seven key bytes, and the ciphertext of the zero block.
const VARIABLE_KEY: [[&str; 2]; 14] = [
    ["80010101010101", "95a8d72813daa94d"],
    ["40010101010101", "0eec1487dd8c26d5"],
    ["20010101010101", "7ad16ffb79c45926"],
    ["10010101010101", "d3746294ca6a6cf3"],
    ["08010101010101", "809f5f873c1fd761"],
    ["04010101010101", "c02faffec989d1fc"],
    ["02010101010101", "4615aa1d33e72f10"],
    ["01010101010180", "d1399712f99bf02e"],
    ["01010101010140", "14c1d7c1cffec79e"],
    ["01010101010120", "1de5279dae3bed6f"],
    ["01010101010110", "e941a33f85501303"],
    ["01010101010108", "da99dbbc9a03f379"],
    ["01010101010104", "b7fc92f91d8e92e9"],
    ["01010101010102", "ae8e5caa3ca04e85"],
];

#[test]
fn single_blocks_match_nist() {
    for [key, cipher] in VARIABLE_KEY {
        testkit::check_vector(&Des, key, ZERO, ZERO, cipher);
    }
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Des);
}

#[test]
fn the_lowest_bit_of_a_key_byte_does_not_count() {
    let encrypt = |key: [u8; 7]| {
        let (mut iv, mut blocks) = ([7; 8], [9; 32]);
        Des.encryptor(&key).unwrap().encrypt(&mut iv, &mut blocks).unwrap();
        blocks
    };
    let key = *b"3fc9a02";
    for byte in 0..key.len() {
        let mut other = key;
        other[byte] ^= 1;
        assert_eq!(encrypt(key), encrypt(other));
        other[byte] ^= 2;
        assert_ne!(encrypt(key), encrypt(other));
    }
}
