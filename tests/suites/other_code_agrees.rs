//! Every suite gives the same ciphertext as other people's code (interop/differential.py), for random keys,
//! IVs and texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use rand::RngExt;
use vpn_suite::testkit::unhex;
use vpn_suite::{KeySize, Registry};
use vpn_test_needs::needs;

use crate::support::python::peer;
use crate::support::{finish, run_all};

/// Messages that one process of the other side gets: a second of work.
const BATCH: usize = 1000;

/// Messages of one suite and size.
#[derive(Clone, Copy, Debug)]
struct Batch {
    suite: &'static str,
    size: KeySize,
    messages: usize,
}

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

/// The Python of the interop peers, which has another library; without it any will do.
fn venv_or_any() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/.venv/bin/python");
    if venv.exists() { venv } else { "python3".into() }
}

impl Batch {
    /// How many the other side made, too: all of them or none.
    fn run(self) -> usize {
        let Self { suite, size, messages } = self;
        let suite = Registry::linked().unwrap().find(suite).unwrap();
        let mut rng = rand::rng();
        let mut bytes = |count: usize| {
            let mut bytes = vec![0; count];
            rng.fill(&mut bytes[..]);
            bytes
        };
        let (mut input, mut expected) = (String::new(), Vec::new());
        for _ in 0..messages {
            let (key, iv) = (bytes(size.bytes()), bytes(suite.block_size()));
            let blocks = 1 + usize::from(bytes(1)[0]) % 20;
            let text = bytes(suite.block_size() * blocks);
            let line = [hex(&key), hex(&iv), hex(&text)].join(" ");
            writeln!(input, "{} {line}", suite.name()).unwrap();
            let (mut chain, mut ours) = (iv.clone(), text.clone());
            suite.encryptor(&key).unwrap().encrypt(&mut chain, &mut ours).unwrap();
            let (mut chain, mut opened) = (iv, ours.clone());
            suite.decryptor(&key).unwrap().decrypt(&mut chain, &mut opened).unwrap();
            assert_eq!(opened, text, "{}:{}: {line}", suite.name(), size.bits());
            expected.push((line, ours));
        }
        let python = std::env::var_os("VPN_INTEROP_PYTHON").map_or_else(venv_or_any, PathBuf::from);
        let ended = finish(peer(&python, "differential.py", &[]), input.as_bytes());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let answers = ended.lines();
        assert_eq!(answers.len(), messages);
        if answers.iter().all(|answer| *answer == "-") {
            return 0;
        }
        for ((line, ours), answer) in expected.iter().zip(answers) {
            assert_eq!(unhex(answer), *ours, "{}:{}: {line}", suite.name(), size.bits());
        }
        messages
    }
}

#[needs(libgcrypt)]
#[test]
fn other_peoples_code_makes_the_same_ciphertext() {
    let start = Instant::now();
    let registry = Registry::linked().unwrap();
    // Of a long range the usual sizes; what the other side does not know it says.
    let usual = |size: &KeySize| [56, 128, 192, 256].contains(&size.bits());
    let batches: Vec<Batch> = registry
        .iter()
        .flat_map(|suite| suite.key_sizes().iter().filter(usual).map(move |size| (suite, size)))
        .flat_map(|(suite, size)| {
            let all = messages();
            let starts = (0..all).step_by(BATCH);
            starts.map(move |done| Batch {
                suite: suite.name(),
                size,
                messages: BATCH.min(all - done),
            })
        })
        .collect();
    let compared: Mutex<BTreeMap<String, usize>> = Mutex::default();
    run_all("differential, batches", &batches, |batch| {
        let count = batch.run();
        let which = format!("{}:{}", batch.suite, batch.size.bits());
        *compared.lock().unwrap().entry(which).or_default() += count;
    });
    let compared = compared.into_inner().unwrap();
    let (without, with): (BTreeMap<_, _>, _) = compared.iter().partition(|(_, n)| **n == 0);
    let with: BTreeMap<&String, &usize> = with;
    let _ = writeln!(
        std::io::stderr(),
        "differential: {} messages each of {:?}; nobody else has {:?}; {} s",
        messages(),
        with.keys().collect::<Vec<_>>(),
        without.keys().collect::<Vec<_>>(),
        start.elapsed().as_secs()
    );
    assert!(with.values().all(|count| **count == messages()), "{compared:?}");
    for suite in ["AES:256", "ARIA:256", "Camellia:256", "CAST5:128", "IDEA:128", "Serpent:192"] {
        assert!(with.contains_key(&suite.to_owned()), "{suite} is not in {compared:?}");
    }
    // Nobody else has Kuznyechik and Twofish with 192 bits; short keys of old ciphers PyCryptodome has.
    assert!(with.len() >= 18, "{compared:?}");
}
