//! Every suite against other people's code (interop/differential.py): random keys, IVs and texts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::RngExt;
use vpn_suite::Registry;
use vpn_suite::testkit::unhex;

use crate::interop::{peer, python};
use crate::support::finish;

/// Messages of each suite and size; VPN_DIFFERENTIAL=10000 for more.
fn messages() -> usize {
    let wanted = std::env::var("VPN_DIFFERENTIAL").ok();
    wanted.map_or(200, |n| n.parse().expect("VPN_DIFFERENTIAL is a number"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn other_peoples_code_makes_the_same_ciphertext() {
    let Some(python) = python("cryptography") else { return };
    let registry = Registry::linked().unwrap();
    let mut rng = rand::rng();
    let (mut input, mut expected) = (String::new(), Vec::new());
    for suite in registry.iter() {
        // Of a long range the usual sizes; what the other side does not know it says.
        let usual = |bits: u32| [56, 128, 192, 256].contains(&bits);
        for size in suite.key_sizes().iter().filter(|size| usual(size.bits())) {
            for _ in 0..messages() {
                let mut bytes = |count: usize| {
                    let mut bytes = vec![0; count];
                    rng.fill(&mut bytes[..]);
                    bytes
                };
                let (key, iv) = (bytes(size.bytes()), bytes(suite.block_size()));
                let blocks = 1 + usize::from(bytes(1)[0]) % 20;
                let text = bytes(suite.block_size() * blocks);
                let line = [hex(&key), hex(&iv), hex(&text)].join(" ");
                input.push_str(&format!("{} {line}\n", suite.name()));
                let (mut chain, mut ours) = (iv, text);
                suite.encryptor(&key).unwrap().encrypt(&mut chain, &mut ours).unwrap();
                expected.push((format!("{}:{}", suite.name(), size.bits()), line, ours));
            }
        }
    }
    let ended = finish(peer(&python, "differential.py", &[]), input.as_bytes());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let answers = ended.lines();
    assert_eq!(answers.len(), expected.len());
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    for ((which, line, ours), answer) in expected.iter().zip(answers) {
        if answer != "-" {
            assert_eq!(unhex(answer), *ours, "{which}: {line}");
            *compared.entry(which).or_default() += 1;
        }
    }
    assert!(compared.values().all(|count| *count == messages()), "{compared:?}");
    for suite in ["AES:256", "ARIA:256", "Camellia:256", "CAST5:128", "IDEA:128", "Serpent:192"] {
        assert!(compared.contains_key(suite), "{suite} is not in {compared:?}");
    }
    // Nobody else has Kuznyechik, DES of seven bytes, DES3 with two keys and Twofish with 192 bits.
    assert!(compared.len() >= 18, "{compared:?}");
}
