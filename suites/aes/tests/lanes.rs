//! Each kernel that this processor can run encrypts and decrypts lanes as the portable code does
//! one by one.

use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use vpn_suite::testkit::report_kernels;
use vpn_suite::{
    CbcDecryptor, CbcEncryptor, CipherSuite, Lane, SuiteError, force_portable, lacking,
};
use vpn_suite_aes::Aes;

type Keyed = (Box<dyn CbcEncryptor>, Box<dyn CbcDecryptor>);

/// Guards the switch for portable code: it is global, and tests run in parallel.
static SWITCH: Mutex<()> = Mutex::new(());

fn keyed(key: &[u8], is_portable: bool) -> Result<Keyed, SuiteError> {
    let _guard = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    force_portable(is_portable);
    Ok((Aes.encryptor(key)?, Aes.decryptor(key)?))
}

#[test]
fn each_kernel_is_used_where_it_can_run() {
    let wide = lacking!("aes", "vaes", "avx512f");
    for key in [[7; 32].as_slice(), &[7; 24], &[7; 16]] {
        let (portable, _) = keyed(key, true).unwrap();
        let (encryptor, decryptor) = keyed(key, false).unwrap();
        let best = if wide.is_empty() { "vaes x16" } else { "generic" };
        let kernels = [portable.kernel(), encryptor.kernel(), decryptor.kernel()];
        assert_eq!(kernels, ["generic", best, best]);
    }
    report_kernels("AES", &[("vaes x16", wide), ("generic", vec![])]);
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
        texts in prop::collection::vec(
            (any::<[u8; 16]>(), prop_oneof![0..4usize, 0..100usize, Just(64)], any::<u8>()),
            0..=40,
        ),
    ) {
        let (reference, _) = keyed(&key, true).unwrap();
        let (encryptor, decryptor) = keyed(&key, false).unwrap();
        let plain: Vec<(Vec<u8>, Vec<u8>)> = texts
            .into_iter()
            .map(|(iv, blocks, salt)| {
                let bytes = (0..=255u8).map(|byte| byte.wrapping_mul(salt | 1) ^ salt);
                (iv.to_vec(), bytes.cycle().take(16 * blocks).collect())
            })
            .collect();
        let mut expected = plain.clone();
        for (iv, blocks) in &mut expected {
            reference.encrypt(iv, blocks).unwrap();
        }
        let mut buffers = plain.clone();
        let lanes = |buffers: &mut [(Vec<u8>, Vec<u8>)], f: &dyn Fn(&mut [Lane<'_>])| {
            let mut lanes: Vec<_> =
                buffers.iter_mut().map(|(iv, blocks)| Lane { iv, blocks }).collect();
            f(&mut lanes);
        };
        lanes(&mut buffers, &|lanes| encryptor.encrypt_lanes(lanes).unwrap());
        prop_assert_eq!(&buffers, &expected);

        for ((iv, _), (first_iv, _)) in buffers.iter_mut().zip(&plain) {
            iv.clone_from(first_iv);
        }
        lanes(&mut buffers, &|lanes| decryptor.decrypt_lanes(lanes).unwrap());
        for (((iv, text), (last_iv, _)), (_, plain)) in buffers.iter().zip(&expected).zip(&plain) {
            prop_assert_eq!(iv, last_iv);
            prop_assert_eq!(text, plain);
        }
    }
}
