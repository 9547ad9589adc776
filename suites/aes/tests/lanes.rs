//! Each kernel that this processor can run encrypts and decrypts lanes as the portable code does
//! one by one.

use proptest::prelude::*;
use vpn_suite::testkit::{keyed_with, report_kernels};
use vpn_suite::{CipherSuite, Lane, SuiteError, lacking};
use vpn_suite_aes::Aes;

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
        for at in 0..20 {
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

proptest! {
    // Miri is a thousand times slower.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn kernels_agree_on_lanes_of_all_lengths(
        key in prop_oneof![
            prop::collection::vec(any::<u8>(), 16),
            prop::collection::vec(any::<u8>(), 24),
            prop::collection::vec(any::<u8>(), 32),
        ],
        texts in prop_oneof![
            prop::collection::vec(
                (any::<[u8; 16]>(), prop_oneof![0..4usize, 0..100usize, Just(64)], any::<u8>()),
                0..=40,
            ),
            // Lanes of equal lengths have code of their own.
            (0..100usize).prop_flat_map(|blocks| {
                prop::collection::vec((any::<[u8; 16]>(), Just(blocks), any::<u8>()), 0..=40)
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
