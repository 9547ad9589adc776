//! AES (FIPS 197) on two blocks in each vector, with the instructions AVX2 and VAES. It is for
//! processors without AVX-512.
#![expect(
    unsafe_code,
    reason = "the instructions may be called only after a check that the processor has them"
)]

use std::arch::x86_64::{
    __m256i, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_castsi128_si256,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_inserti128_si256, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use crate::keys::{Block, load, store};
use crate::vectors::Vectors;

/// The number of chains that are encrypted in parallel: the records of a batch.
const WIDTH: usize = 16;
/// The number of blocks in a vector.
const BLOCKS: usize = 2;
/// The number of vectors in flight. They hide the latency of a round, and take half of the sixteen
/// registers. The round keys come from memory.
const VECTORS: usize = WIDTH / BLOCKS;

/// A value exists only if the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vaes256(());

impl Vaes256 {
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx2");
        has_all.then_some(Self(()))
    }
}

impl Vectors<WIDTH> for Vaes256 {
    const NAME: &str = "vaes-256 x16";
    const FEWEST: usize = 9;

    fn encrypt<const KEYS: usize>(
        self,
        keys: &[Block; KEYS],
        ivs: &mut [Block; WIDTH],
        chains: &mut [&mut [Block]; WIDTH],
    ) {
        // SAFETY: `detect` checked that the processor has the instructions of this function.
        unsafe { encrypt(keys, ivs, chains) }
    }

    fn decrypt<const KEYS: usize>(
        self,
        keys: &[Block; KEYS],
        iv: &mut Block,
        groups: &mut [[Block; WIDTH]],
    ) {
        // SAFETY: `detect` checked that the processor has the instructions of this function.
        unsafe { decrypt(keys, iv, groups) }
    }
}

#[target_feature(enable = "aes,vaes,avx2")]
fn encrypt<const KEYS: usize>(
    keys: &[Block; KEYS],
    ivs: &mut [Block; WIDTH],
    chains: &mut [&mut [Block]; WIDTH],
) {
    let steps = chains[0].len();
    let (ivs, _) = ivs.as_chunks_mut::<BLOCKS>();
    let (chains, _) = chains.as_chunks_mut::<BLOCKS>();
    let mut state = [twice(&keys[0]); VECTORS];
    for (state, [a, b]) in state.iter_mut().zip(&*ivs) {
        *state = gather(a, b);
    }
    for at in 0..steps {
        let key = twice(&keys[0]);
        for (state, [a, b]) in state.iter_mut().zip(&*chains) {
            let plain = gather(&a[at], &b[at]);
            *state = _mm256_xor_si256(*state, _mm256_xor_si256(plain, key));
        }
        for key in &keys[1..KEYS - 1] {
            let key = twice(key);
            for state in &mut state {
                *state = _mm256_aesenc_epi128(*state, key);
            }
        }
        let key = twice(&keys[KEYS - 1]);
        for (state, [a, b]) in state.iter_mut().zip(&mut *chains) {
            *state = _mm256_aesenclast_epi128(*state, key);
            scatter(*state, &mut a[at], &mut b[at]);
        }
    }
    for (state, [a, b]) in state.iter().zip(ivs) {
        scatter(*state, a, b);
    }
}

#[target_feature(enable = "aes,vaes,avx2")]
fn decrypt<const KEYS: usize>(keys: &[Block; KEYS], iv: &mut Block, groups: &mut [[Block; WIDTH]]) {
    for group in groups {
        let next = group[WIDTH - 1];
        let mut state = [twice(&keys[0]); VECTORS];
        for (at, state) in state.iter_mut().enumerate() {
            *state = _mm256_xor_si256(*state, load_two(group, BLOCKS * at));
        }
        for key in &keys[1..KEYS - 1] {
            let key = twice(key);
            for state in &mut state {
                *state = _mm256_aesdec_epi128(*state, key);
            }
        }
        let key = twice(&keys[KEYS - 1]);
        // From the end, so that the ciphertext before a pair of blocks is still there.
        for at in (0..VECTORS).rev() {
            let from = BLOCKS * at;
            let chaining = match from {
                0 => gather(iv, &group[0]),
                _ => load_two(group, from - 1),
            };
            let last = _mm256_xor_si256(chaining, key);
            store_two(group, from, _mm256_aesdeclast_epi128(state[at], last));
        }
        *iv = next;
    }
}

/// A round key for both blocks of a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn twice(key: &Block) -> __m256i {
    _mm256_broadcastsi128_si256(load(key))
}

#[inline]
#[target_feature(enable = "avx2")]
fn gather(a: &Block, b: &Block) -> __m256i {
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(a)), load(b))
}

#[inline]
#[target_feature(enable = "avx2")]
fn scatter(vector: __m256i, a: &mut Block, b: &mut Block) {
    store(a, _mm256_castsi256_si128(vector));
    store(b, _mm256_extracti128_si256::<1>(vector));
}

/// The blocks `from` and `from + 1`.
#[inline]
#[target_feature(enable = "avx2")]
fn load_two(group: &[Block; WIDTH], from: usize) -> __m256i {
    let blocks = &group[from..from + BLOCKS];
    // SAFETY: the slice is valid for reads of this size, and the load may be unaligned.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

/// Replaces the blocks `from` and `from + 1`.
#[inline]
#[target_feature(enable = "avx2")]
fn store_two(group: &mut [Block; WIDTH], from: usize, vector: __m256i) {
    let blocks = &mut group[from..from + BLOCKS];
    // SAFETY: the slice is valid for writes of this size, and the store may be unaligned.
    unsafe { _mm256_storeu_si256(blocks.as_mut_ptr().cast(), vector) }
}
