//! AES (FIPS 197) on four blocks in each vector, with the instructions AVX-512 and VAES.
#![expect(
    unsafe_code,
    reason = "the instructions may be called only after a check that the processor has them"
)]

use std::arch::x86_64::{
    __m512i, _mm512_aesdec_epi128, _mm512_aesdeclast_epi128, _mm512_aesenc_epi128,
    _mm512_aesenclast_epi128, _mm512_alignr_epi64, _mm512_broadcast_i32x4, _mm512_castsi128_si512,
    _mm512_extracti32x4_epi32, _mm512_inserti32x4, _mm512_loadu_si512, _mm512_storeu_si512,
    _mm512_xor_si512,
};

use crate::keys::{Block, load, store};
use crate::vectors::Vectors;

/// The number of chains that are encrypted in parallel: the records of a batch.
const WIDTH: usize = 16;
/// The number of blocks in a vector.
const BLOCKS: usize = 4;
/// The number of vectors in flight. They hide the latency of a round.
const VECTORS: usize = WIDTH / BLOCKS;

/// A value exists only if the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vaes512(());

impl Vaes512 {
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx512f");
        has_all.then_some(Self(()))
    }
}

impl Vectors<WIDTH> for Vaes512 {
    const NAME: &str = "vaes-512 x16";
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

#[target_feature(enable = "vaes,avx512f")]
fn encrypt<const KEYS: usize>(
    keys: &[Block; KEYS],
    ivs: &mut [Block; WIDTH],
    chains: &mut [&mut [Block]; WIDTH],
) {
    let steps = chains[0].len();
    let keys = broadcast(keys);
    let (ivs, _) = ivs.as_chunks_mut::<BLOCKS>();
    let (chains, _) = chains.as_chunks_mut::<BLOCKS>();
    let mut state = [keys[0]; VECTORS];
    for (state, four) in state.iter_mut().zip(&*ivs) {
        *state = gather(four.each_ref());
    }
    for at in 0..steps {
        for (state, [a, b, c, d]) in state.iter_mut().zip(&*chains) {
            let plain = gather([&a[at], &b[at], &c[at], &d[at]]);
            *state = _mm512_xor_si512(*state, _mm512_xor_si512(plain, keys[0]));
        }
        for key in &keys[1..KEYS - 1] {
            for state in &mut state {
                *state = _mm512_aesenc_epi128(*state, *key);
            }
        }
        for (state, four) in state.iter_mut().zip(&mut *chains) {
            *state = _mm512_aesenclast_epi128(*state, keys[KEYS - 1]);
            let [a, b, c, d] = four;
            scatter(*state, [&mut a[at], &mut b[at], &mut c[at], &mut d[at]]);
        }
    }
    for (state, four) in state.iter().zip(ivs) {
        scatter(*state, four.each_mut());
    }
}

#[target_feature(enable = "vaes,avx512f")]
fn decrypt<const KEYS: usize>(keys: &[Block; KEYS], iv: &mut Block, groups: &mut [[Block; WIDTH]]) {
    let keys = broadcast(keys);
    let mut before = _mm512_broadcast_i32x4(load(iv));
    for group in groups {
        let (fours, _) = group.as_chunks_mut::<BLOCKS>();
        let mut state = [keys[0]; VECTORS];
        let mut chaining = state;
        for at in 0..VECTORS {
            let cipher = load_four(&fours[at]);
            // The last block of the previous four, and the first three of these.
            chaining[at] = _mm512_alignr_epi64::<6>(cipher, before);
            state[at] = _mm512_xor_si512(cipher, keys[0]);
            before = cipher;
        }
        for key in &keys[1..KEYS - 1] {
            for state in &mut state {
                *state = _mm512_aesdec_epi128(*state, *key);
            }
        }
        for at in 0..VECTORS {
            let last = _mm512_xor_si512(chaining[at], keys[KEYS - 1]);
            store_four(&mut fours[at], _mm512_aesdeclast_epi128(state[at], last));
        }
    }
    store(iv, _mm512_extracti32x4_epi32::<3>(before));
}

/// Each round key, repeated four times.
#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast<const KEYS: usize>(keys: &[Block; KEYS]) -> [__m512i; KEYS] {
    let mut wide = [_mm512_broadcast_i32x4(load(&keys[0])); KEYS];
    for (wide, key) in wide.iter_mut().zip(keys) {
        *wide = _mm512_broadcast_i32x4(load(key));
    }
    wide
}

#[inline]
#[target_feature(enable = "avx512f")]
fn gather([a, b, c, d]: [&Block; BLOCKS]) -> __m512i {
    let vector = _mm512_castsi128_si512(load(a));
    let vector = _mm512_inserti32x4::<1>(vector, load(b));
    let vector = _mm512_inserti32x4::<2>(vector, load(c));
    _mm512_inserti32x4::<3>(vector, load(d))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn scatter(vector: __m512i, [a, b, c, d]: [&mut Block; BLOCKS]) {
    store(a, _mm512_extracti32x4_epi32::<0>(vector));
    store(b, _mm512_extracti32x4_epi32::<1>(vector));
    store(c, _mm512_extracti32x4_epi32::<2>(vector));
    store(d, _mm512_extracti32x4_epi32::<3>(vector));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_four(blocks: &[Block; BLOCKS]) -> __m512i {
    // SAFETY: the reference is valid for reads of this size, and the load may be unaligned.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_four(blocks: &mut [Block; BLOCKS], vector: __m512i) {
    // SAFETY: the reference is valid for writes of this size, and the store may be unaligned.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), vector) }
}
