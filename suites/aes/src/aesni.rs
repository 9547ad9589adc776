//! AES (FIPS 197) on eight blocks, one in each vector, with the instructions AES-NI. It is for
//! processors without VAES.
#![expect(
    unsafe_code,
    reason = "the instructions may be called only after a check that the processor has them"
)]

use std::arch::x86_64::{
    _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_xor_si128,
};

use crate::keys::{Block, load, store};
use crate::vectors::Vectors;

/// The number of chains that are encrypted in parallel. They hide the latency of a round, and take
/// half of the sixteen registers. The round keys come from memory.
pub(crate) const WIDTH: usize = 8;

/// A value exists only if the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AesNi(());

impl AesNi {
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("aes") && is_x86_feature_detected!("sse2");
        has_all.then_some(Self(()))
    }
}

impl Vectors<WIDTH> for AesNi {
    const NAME: &str = "aes-ni x8";
    const FEWEST: usize = 2;

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

#[target_feature(enable = "aes,sse2")]
fn encrypt<const KEYS: usize>(
    keys: &[Block; KEYS],
    ivs: &mut [Block; WIDTH],
    chains: &mut [&mut [Block]; WIDTH],
) {
    let steps = chains[0].len();
    let mut state = [load(&keys[0]); WIDTH];
    for (state, iv) in state.iter_mut().zip(&*ivs) {
        *state = load(iv);
    }
    for at in 0..steps {
        let key = load(&keys[0]);
        for (state, chain) in state.iter_mut().zip(&*chains) {
            *state = _mm_xor_si128(*state, _mm_xor_si128(load(&chain[at]), key));
        }
        for key in &keys[1..KEYS - 1] {
            let key = load(key);
            for state in &mut state {
                *state = _mm_aesenc_si128(*state, key);
            }
        }
        let key = load(&keys[KEYS - 1]);
        for (state, chain) in state.iter_mut().zip(&mut *chains) {
            *state = _mm_aesenclast_si128(*state, key);
            store(&mut chain[at], *state);
        }
    }
    for (state, iv) in state.iter().zip(ivs) {
        store(iv, *state);
    }
}

#[target_feature(enable = "aes,sse2")]
fn decrypt<const KEYS: usize>(keys: &[Block; KEYS], iv: &mut Block, groups: &mut [[Block; WIDTH]]) {
    for group in groups {
        let next = group[WIDTH - 1];
        let mut state = [load(&keys[0]); WIDTH];
        for (state, block) in state.iter_mut().zip(&*group) {
            *state = _mm_xor_si128(*state, load(block));
        }
        for key in &keys[1..KEYS - 1] {
            let key = load(key);
            for state in &mut state {
                *state = _mm_aesdec_si128(*state, key);
            }
        }
        let key = load(&keys[KEYS - 1]);
        // From the end, so that the ciphertext before a block is still there.
        for at in (0..WIDTH).rev() {
            let chaining = if at == 0 { load(iv) } else { load(&group[at - 1]) };
            let last = _mm_xor_si128(chaining, key);
            store(&mut group[at], _mm_aesdeclast_si128(state[at], last));
        }
        *iv = next;
    }
}
