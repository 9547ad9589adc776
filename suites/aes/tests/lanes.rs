//! Each kernel that this processor can run encrypts and decrypts lanes as the portable code does
//! one by one.

use proptest::prelude::*;
use vpn_suite::testkit::{keyed_with, report_kernels};
use vpn_suite::{CipherSuite, Lane, SuiteError, lacking};
use vpn_suite_aes::Aes;

// The interpreter Miri is a thousand times slower. It still gets more lanes than a kernel has, and
// chains that are longer than the spare blocks of `vectors.rs`.
const CASES: u32 = if cfg!(miri) { 2 } else { 64 };
const MOST_LANES: usize = if cfg!(miri) { 18 } else { 40 };
const MOST_BLOCKS: usize = if cfg!(miri) { 36 } else { 100 };

#[test]
fn each_kernel_is_there_where_it_can_run() {
    let known = [
        ("vaes-512 x16", lacking!("aes", "vaes", "avx512f")),
        ("vaes-256 x16", lacking!("aes", "vaes", "avx2")),
        ("aes-ni x8", lacking!("aes", "sse2")),
        ("generic", vec![]),
    ];
    let can_run = known.iter().filter(|(_, lacking)| lacking.is_empty());
    let can_run: Vec<_> = can_run.map(|(name, _)| *name).collect();
    assert_eq!(Aes.kernels(), can_run);
    for key in [[7; 32].as_slice(), &[7; 24], &[7; 16]] {
        for kernel in Aes.kernels() {
            // It checks the names of both.
            keyed_with(&Aes, kernel, key).unwrap();
        }
    }
    report_kernels("AES", &known);
}

#[test]
fn lane_at_fault_leaves_all_alone() {
    for kernel in Aes.kernels() {
        let (encryptor, _) = keyed_with(&Aes, kernel, &[7; 32]).unwrap();
        for at in (0..20).step_by(if cfg!(miri) { 19 } else { 1 }) {
            let mut buffers = vec![(vec![1; 16], vec![2; 64]); 20];
            buffers[at].1.push(3);
            let given = buffers.clone();
            let mut lanes: Vec<_> =
                buffers.iter_mut().map(|(iv, blocks)| Lane { iv, blocks }).collect();
            let error = SuiteError::Misaligned { len: 65, block_size: 16 };
            assert_eq!(encryptor.encrypt_lanes(&mut lanes), Err(error), "{kernel}");
            assert_eq!(buffers, given, "{kernel}");
        }
    }
}

#[test]
fn each_number_of_lanes_is_encrypted_as_one_by_one() {
    let numbers = if cfg!(miri) { vec![2, 9, 17] } else { (0..=40).collect() };
    let (reference, _) = keyed_with(&Aes, "generic", &[7; 32]).unwrap();
    for number in numbers {
        for blocks in [1, 9] {
            let lane = |at: u8| (vec![at; 16], vec![at ^ 0x5a; 16 * blocks]);
            let plain: Vec<_> = (0..number).map(lane).collect();
            let mut expected = plain.clone();
            for (iv, blocks) in &mut expected {
                reference.encrypt(iv, blocks).unwrap();
            }
            for kernel in Aes.kernels() {
                let (encryptor, _) = keyed_with(&Aes, kernel, &[7; 32]).unwrap();
                let mut buffers = plain.clone();
                encryptor.encrypt_lanes(&mut lanes(&mut buffers)).unwrap();
                assert_eq!(buffers, expected, "{kernel}: {number} lanes of {blocks} blocks");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn kernels_agree_on_lanes_of_all_lengths(
        key in prop_oneof![
            prop::collection::vec(any::<u8>(), 16),
            prop::collection::vec(any::<u8>(), 24),
            prop::collection::vec(any::<u8>(), 32),
        ],
        texts in prop_oneof![
            prop::collection::vec(
                (any::<[u8; 16]>(), prop_oneof![0..4usize, 0..=MOST_BLOCKS, Just(32)], any::<u8>()),
                0..=MOST_LANES,
            ),
            // Lanes of equal lengths have code of their own.
            (0..=MOST_BLOCKS).prop_flat_map(|blocks| {
                prop::collection::vec((any::<[u8; 16]>(), Just(blocks), any::<u8>()), 0..=MOST_LANES)
            }),
        ],
    ) {
        let plain: Vec<(Vec<u8>, Vec<u8>)> = texts
            .into_iter()
            .map(|(iv, blocks, salt)| {
                let bytes = (0..=255u8).map(|byte| byte.wrapping_mul(salt | 1) ^ salt);
                (iv.to_vec(), bytes.cycle().take(16 * blocks).collect())
            })
            .collect();
        let (reference, _) = keyed_with(&Aes, "generic", &key).unwrap();
        let mut expected = plain.clone();
        for (iv, blocks) in &mut expected {
            reference.encrypt(iv, blocks).unwrap();
        }
        for kernel in Aes.kernels() {
            let (encryptor, decryptor) = keyed_with(&Aes, kernel, &key).unwrap();
            let mut buffers = plain.clone();
            encryptor.encrypt_lanes(&mut lanes(&mut buffers)).unwrap();
            prop_assert_eq!(&buffers, &expected, "{}", kernel);

            for ((iv, _), (first_iv, _)) in buffers.iter_mut().zip(&plain) {
                iv.clone_from(first_iv);
            }
            decryptor.decrypt_lanes(&mut lanes(&mut buffers)).unwrap();
            let both = buffers.iter().zip(&expected).zip(&plain);
            for (((iv, text), (last_iv, _)), (_, plain)) in both {
                prop_assert_eq!(iv, last_iv, "{}", kernel);
                prop_assert_eq!(text, plain, "{}", kernel);
            }
        }
    }
}

fn lanes(buffers: &mut [(Vec<u8>, Vec<u8>)]) -> Vec<Lane<'_>> {
    buffers.iter_mut().map(|(iv, blocks)| Lane { iv, blocks }).collect()
}
