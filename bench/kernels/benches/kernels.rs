//! Encryption and decryption of each suite, and HMAC, for one record and for a batch, with
//! each kernel that this machine can run.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vpn_crypto::{kernels::MacKernel, mac::MacKey};
use vpn_suite::{KeySize, Lane, Registry, force_kernels};
use vpn_suites as _;

/// Bytes of a record.
const SIZES: [usize; 3] = [64, 1024, 16384];
/// The bytes between records in a buffer: length and tag. They also keep the beginnings of records
/// from falling on the same lines of the cache.
const GAP: usize = 34;
/// Records in a batch.
const BATCHES: [usize; 3] = [1, 8, 16];

fn suites(c: &mut Criterion) {
    let registry = Registry::linked().expect("suites are linked");
    for suite in registry.iter() {
        let Some(key_size) = suite.key_sizes().iter().max_by_key(|size| size.bytes()) else {
            continue;
        };
        let key: Vec<u8> = (1..=u8::MAX).cycle().step_by(7).take(key_size.bytes()).collect();
        for kernel in suite.kernels() {
            force_kernels(&[kernel]);
            let encryptor = suite.encryptor(&key).expect("the key is of the right length");
            let decryptor = suite.decryptor(&key).expect("the key is of the right length");
            force_kernels(&[]);
            let name = format!("{}{}, {kernel}", suite.name(), KeySize::bits(key_size));
            let mut group = c.benchmark_group(&name);
            for size in SIZES {
                for batch in BATCHES {
                    let mut buffer = vec![0; batch * (size + GAP)];
                    let mut ivs = vec![vec![0; suite.block_size()]; batch];
                    let mut lanes: Vec<Lane<'_>> = buffer
                        .chunks_mut(size + GAP)
                        .zip(&mut ivs)
                        .map(|(record, iv)| Lane { iv, blocks: &mut record[..size] })
                        .collect();
                    group.throughput(Throughput::BytesDecimal((batch * size) as u64));
                    let id = format!("{batch} x {size}");
                    group.bench_function(BenchmarkId::new("encrypt", &id), |b| {
                        b.iter(|| encryptor.encrypt_lanes(black_box(&mut lanes)));
                    });
                    group.bench_function(BenchmarkId::new("decrypt", &id), |b| {
                        b.iter(|| decryptor.decrypt_lanes(black_box(&mut lanes)));
                    });
                }
            }
        }
    }
}

fn mac(c: &mut Criterion) {
    for kernel in MacKernel::all() {
        let key = MacKey::new(&[0x6d; 32], kernel);
        let mut group = c.benchmark_group(format!("HMAC-SHA256, {}", kernel.name()));
        for size in SIZES {
            for batch in BATCHES {
                let buffer = vec![0x61; batch * (size + GAP)];
                let records = buffer.chunks(size + GAP).map(|record| &record[..size]);
                let messages: Vec<(u64, &[u8])> = (0..).zip(records).collect();
                let mut tags = vec![[0; 32]; batch];
                group.throughput(Throughput::BytesDecimal((batch * size) as u64));
                group.bench_function(format!("{batch} x {size}"), |b| {
                    b.iter(|| key.tags(black_box(&messages), &mut tags));
                });
            }
        }
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = suites, mac
}
criterion_main!(kernels);
