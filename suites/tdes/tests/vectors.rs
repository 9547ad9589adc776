//! Vectors of NIST's "Examples with Intermediate Values" for TDES-CBC, with two and three keys.

use vpn_suite::{CipherSuite, SuiteError, testkit};
use vpn_suite_tdes::Des3;

const K1: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
const K2: [u8; 8] = [0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01];
const K3: [u8; 8] = [0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23];

const IV: &str = "f69f2445df4f9b17";

const PLAINTEXT: &str = "6bc1bee22e409f96 e93d7e117393172a ae2d8a571e03ac9c 9eb76fac45af8e51";

#[test]
fn two_keys_match_nist() {
    testkit::check_vector(
        &Des3,
        "0123456789abcdef 23456789abcdef01",
        IV,
        PLAINTEXT,
        "7401ce1eab6d003c aff84bf47b36cc21 54f0238f9ffecd8f 6acf118392b45581",
    );
}

#[test]
fn three_keys_match_nist() {
    testkit::check_vector(
        &Des3,
        "0123456789abcdef 23456789abcdef01 456789abcdef0123",
        IV,
        PLAINTEXT,
        "2079c3d53aa763e1 93b79e2569ab5262 516570481f25b50f 73c0bda85c8e0da7",
    );
}

#[test]
fn suite_keeps_its_promises() {
    testkit::check(&Des3);
}

#[test]
fn equal_neighbours_are_refused_whatever_their_parity() {
    for parity in [0x00, 0x01, 0x02, 0x80, 0xff] {
        for keys in [
            vec![K1, with_parity(K1, parity)],
            vec![with_parity(K1, parity), K1, K3],
            vec![K1, with_parity(K2, parity), K2],
            vec![K1, K1, with_parity(K1, parity)],
        ] {
            let key = keys.concat();
            for error in [Des3.encryptor(&key).err(), Des3.decryptor(&key).err()] {
                assert!(matches!(error, Some(SuiteError::WeakKey { suite: "DES3", .. })));
            }
        }
    }
}

#[test]
fn first_and_third_key_may_be_equal() {
    let (two, three) = ([K1, K2].concat(), [K1, K2, K1].concat());
    let encrypt = |key: &[u8]| {
        let (mut iv, mut blocks) = ([7; 8], [9; 32]);
        Des3.encryptor(key).unwrap().encrypt(&mut iv, &mut blocks).unwrap();
        blocks
    };
    assert_eq!(encrypt(&two), encrypt(&three));
}

#[test]
fn keys_that_differ_beyond_parity_are_accepted() {
    for bit in 1..8 {
        for byte in 0..8 {
            let mut other = K1;
            other[byte] ^= 1 << bit;
            assert!(Des3.encryptor(&[K1, other].concat()).is_ok());
            assert!(Des3.decryptor(&[K2, K1, other].concat()).is_ok());
        }
    }
}

#[test]
fn refusal_says_which_keys_are_equal() {
    let error = Des3.encryptor(&[K1, K2, K2].concat()).unwrap_err();
    assert_eq!(error.to_string(), "DES3 refuses a weak key: its last two DES keys are equal");
}

/// Flips the parity bit of byte `i` if bit `i` of `pattern` is set.
fn with_parity(mut key: [u8; 8], pattern: u8) -> [u8; 8] {
    for (i, byte) in key.iter_mut().enumerate() {
        *byte ^= (pattern >> i) & 1;
    }
    key
}
