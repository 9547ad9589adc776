//! Measures whether the time of operations on secrets depends on the secrets.
//!
//! Each bench times one operation on inputs of two classes in random order. Welch's t-test shows
//! whether the times of the classes differ: |t| above 5 is suspicious, and above 10 it is a leak.
//! Both classes are copied into the same buffer before the clock starts. `naive_compare` is the
//! control: it leaks on purpose. If a run does not show this leak, the run proves nothing.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::sync::Arc;

use dudect_bencher::rand::{Rng, RngExt};
use dudect_bencher::{BenchRng, Class, CtRunner, ctbench_main};
use subtle::ConstantTimeEq;
use vpn_proto::sealed::{
    ClientConfig, Gated, HelloSent, Identity, Kex, KexKeyPair, Limits, Psk, RecordOpener,
    RecordSealer, ServerConfig, TrafficSecret,
};
use vpn_proto::{EnabledSuite, SuiteId};
use vpn_suite::{KeySize, Registry};
use vpn_suites as _;
use zeroize::Zeroizing;

/// Comparisons in one measurement. A single one is shorter than the resolution of the clock.
const REPEATS: usize = 64;

/// A random class.
fn class(rng: &mut BenchRng) -> Class {
    if rng.random() { Class::Left } else { Class::Right }
}

/// Compares a tag with an equal one, and with one whose first byte differs.
fn compare(runner: &mut CtRunner, rng: &mut BenchRng, equals: fn(&[u8; 32], &[u8; 32]) -> bool) {
    let mut tag = [0; 32];
    for _ in 0..200_000 {
        rng.fill_bytes(&mut tag);
        let mut other = tag;
        let class = class(rng);
        other[0] ^= u8::from(matches!(class, Class::Right));
        runner.run_one(class, || {
            (0..REPEATS).filter(|_| equals(black_box(&tag), black_box(&other))).count()
        });
    }
}

/// The control: stops at the first byte that differs.
fn naive_compare(runner: &mut CtRunner, rng: &mut BenchRng) {
    compare(runner, rng, |a, b| a.iter().zip(b).all(|(a, b)| black_box(a) == black_box(b)));
}

/// The comparison of tags, of gates and of PSKs.
fn tag_compare(runner: &mut CtRunner, rng: &mut BenchRng) {
    compare(runner, rng, |a, b| a.ct_eq(b).into());
}

/// A ClientHello with a right gate, and one with a gate in which a random byte is wrong. The gate
/// is optional and right gates are not remembered, so that everything else is the same.
fn gate(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (config, good) = server_and_hello(rng);
    gates(runner, rng, &config, &good, |rng, hello, class| {
        let byte = hello.len() - 1 - rng.random_range(0..32);
        hello[byte] ^= u8::from(matches!(class, Class::Right));
    });
}

/// A gate whose first byte is wrong, and a gate whose last byte is wrong.
fn gate_position(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (config, good) = server_and_hello(rng);
    gates(runner, rng, &config, &good, |_, hello, class| {
        let from_end = if matches!(class, Class::Left) { 32 } else { 1 };
        let byte = hello.len() - from_end;
        hello[byte] ^= 1;
    });
}

fn gates(
    runner: &mut CtRunner,
    rng: &mut BenchRng,
    config: &Arc<ServerConfig>,
    good: &[u8],
    alter: impl Fn(&mut BenchRng, &mut [u8], Class),
) {
    let mut hello = good.to_vec();
    for _ in 0..100_000 {
        hello.copy_from_slice(good);
        let class = class(rng);
        alter(rng, &mut hello, class);
        runner.run_one(class, || Gated::on_hello(config.clone(), black_box(&hello)).is_ok());
    }
}

/// A server with a key and a PSK, and the ClientHello of a client that knows its key.
fn server_and_hello(rng: &mut BenchRng) -> (Arc<ServerConfig>, Vec<u8>) {
    let SuiteId { suite, size } = aes256();
    let enabled: Arc<[EnabledSuite]> =
        Arc::new([EnabledSuite { suite, wire_name: suite.name(), sizes: vec![size] }]);
    let identity = Identity::from_seed(&[7; 32]);
    let server_key = Some(identity.public_key());
    let client = ClientConfig {
        enabled: enabled.clone(),
        kex: vec![Kex::Ffdhe3072],
        identity: None,
        psk: None,
        server_key,
        limits: Limits::default(),
    };
    let psk = Psk::new(Zeroizing::new(vec![5; 32])).expect("it is long enough, and not zero");
    let server = ServerConfig {
        enabled,
        kex: vec![Kex::Ffdhe3072],
        identity: Some(identity),
        psks: vec![psk],
        is_gate_required: false,
        limits: Limits::default(),
    };
    let (_, hello) = HelloSent::start(Arc::new(client), Kex::Ffdhe3072, rng)
        .expect("the key exchange is the configuration's");
    (Arc::new(server), hello)
}

fn aes256() -> SuiteId {
    let registry = Registry::linked().expect("the bundle is linked");
    let suite = registry.find("AES").expect("the bundle has AES");
    SuiteId { suite, size: KeySize::from_bits(256).expect("this is a size") }
}

/// The exponents of the two classes: 1, in which all other bits are zero, and a random one.
fn exponent(rng: &mut BenchRng, class: Class, bytes: &mut [u8]) {
    match class {
        Class::Left => {
            bytes.fill(0);
            bytes[bytes.len() - 1] = 1;
        }
        Class::Right => {
            rng.fill_bytes(bytes);
            bytes[0] &= 0x07;
        }
    }
}

/// The computation of our public value, with the comb.
fn modexp_comb(runner: &mut CtRunner, rng: &mut BenchRng) {
    let mut secret = [0; 35];
    let pair = |secret: &[u8]| KexKeyPair::danger_finite_field(Kex::Ffdhe3072, secret);
    // The first values are computed without the table.
    for _ in 0..3 {
        black_box(pair(&secret));
    }
    for _ in 0..20_000 {
        let class = class(rng);
        exponent(rng, class, &mut secret);
        runner.run_one(class, || pair(black_box(&secret)));
    }
}

/// The computation of the shared secret from a peer's public value.
fn modexp_power(runner: &mut CtRunner, rng: &mut BenchRng) {
    let peer = KexKeyPair::generate(Kex::Ffdhe3072, rng);
    let mut secret = [0; 35];
    for _ in 0..6_000 {
        let class = class(rng);
        exponent(rng, class, &mut secret);
        let own = Cell::new(KexKeyPair::danger_finite_field(Kex::Ffdhe3072, &secret));
        runner.run_one(class, || own.take().map(|own| own.finish(black_box(peer.share()))));
    }
}

/// Records with a wrong first byte of the tag, and records with a wrong last byte.
fn record_open(runner: &mut CtRunner, rng: &mut BenchRng) {
    let secret = TrafficSecret::danger_from_bytes([9; 32]);
    let keys = || secret.record_keys(aes256()).expect("AES has no weak keys");
    let mut payload = [0; 200];
    rng.fill_bytes(&mut payload);
    let good = RecordSealer::new(keys()).seal(0x17, &payload, 1).expect("it is short enough");
    // A refused record does not count, so all of them have the same sequence number.
    let opener = RefCell::new(RecordOpener::new(keys()));
    let mut record = good.clone();
    for _ in 0..200_000 {
        record.copy_from_slice(&good);
        let class = class(rng);
        let from_end = if matches!(class, Class::Left) { 32 } else { 1 };
        let byte = record.len() - from_end;
        record[byte] ^= 1;
        runner.run_one(class, || opener.borrow_mut().open(black_box(&record)).is_ok());
    }
}

ctbench_main!(
    naive_compare,
    tag_compare,
    gate,
    gate_position,
    modexp_comb,
    modexp_power,
    record_open
);
