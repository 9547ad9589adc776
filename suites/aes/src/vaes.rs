//! AES (FIPS 197) on many blocks at once, with the vector instructions AVX-512 and VAES.
#![expect(
    unsafe_code,
    reason = "the instructions may be called only after a check that the processor has them"
)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_aesenclast_si128, _mm_aesimc_si128, _mm_cvtsi128_si32, _mm_loadu_si128,
    _mm_set1_epi32, _mm_setzero_si128, _mm_storeu_si128, _mm512_aesdec_epi128,
    _mm512_aesdeclast_epi128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_alignr_epi64,
    _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_extracti32x4_epi32, _mm512_inserti32x4,
    _mm512_loadu_si512, _mm512_storeu_si512, _mm512_xor_si512,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The number of chains that are encrypted in parallel.
pub(crate) const WIDTH: usize = 16;
/// The number of blocks in a vector.
const BLOCKS: usize = 4;
/// The number of vectors in flight. They hide the latency of a round.
const VECTORS: usize = WIDTH / BLOCKS;

pub(crate) type Block = [u8; 16];

/// AES with `KEYS` round keys: 11, 13 or 15. A value exists only if the processor has VAES.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Vaes<const KEYS: usize> {
    /// Round keys in the order of their use.
    encryption: [Block; KEYS],
    decryption: [Block; KEYS],
}

impl<const KEYS: usize> Vaes<KEYS> {
    /// Expands a key. Returns `None` if the processor lacks the instructions, or if the length does
    /// not match `KEYS`.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let has_all = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx512f");
        if !has_all || key.len() != 4 * (KEYS - 7) {
            return None;
        }
        // SAFETY: the processor has the instructions that the function is compiled for.
        Some(unsafe { expand(key) })
    }

    /// Encrypts the first `steps` blocks of each chain and replaces the chaining values. A chain
    /// may be empty; its chaining value is then meaningless.
    pub(crate) fn encrypt(
        &self,
        ivs: &mut [Block; WIDTH],
        chains: &mut [&mut [Block]; WIDTH],
        steps: usize,
    ) {
        // SAFETY: `new` checked that the processor has the instructions of these functions.
        unsafe {
            if chains.iter().all(|chain| chain.len() == steps) {
                encrypt::<KEYS, true>(&self.encryption, ivs, chains, steps);
            } else {
                encrypt::<KEYS, false>(&self.encryption, ivs, chains, steps);
            }
        }
    }

    /// Decrypts as many blocks of a chain as fill whole groups, and returns the rest.
    pub(crate) fn decrypt<'a>(&self, iv: &mut Block, blocks: &'a mut [Block]) -> &'a mut [Block] {
        let (groups, rest) = blocks.as_chunks_mut();
        if !groups.is_empty() {
            // SAFETY: `new` checked that the processor has the instructions of this function.
            unsafe { decrypt(&self.decryption, iv, groups) }
        }
        rest
    }
}

/// The key expansion of FIPS 197 §5.2, and that of the equivalent inverse cipher of §5.3.5.
#[target_feature(enable = "aes")]
fn expand<const KEYS: usize>(key: &[u8]) -> Vaes<KEYS> {
    let mut keys = Vaes { encryption: [[0; 16]; KEYS], decryption: [[0; 16]; KEYS] };
    let (words, _) = keys.encryption.as_flattened_mut().as_chunks_mut::<4>();
    let (key, _) = key.as_chunks::<4>();
    let (first, _) = words.split_at_mut(key.len());
    first.copy_from_slice(key);
    let mut round_constant = 1u8;
    for at in key.len()..words.len() {
        let mut word = u32::from_le_bytes(words[at - 1]);
        if at % key.len() == 0 {
            word = substitute(word.rotate_right(8)) ^ u32::from(round_constant);
            // Multiply by x in the field of AES.
            round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x1b);
        } else if key.len() > 6 && at % key.len() == 4 {
            word = substitute(word);
        }
        words[at] = (u32::from_le_bytes(words[at - key.len()]) ^ word).to_le_bytes();
    }
    for (at, key) in keys.encryption.iter().rev().enumerate() {
        let is_inner = (1..KEYS - 1).contains(&at);
        let key = if is_inner { _mm_aesimc_si128(load(key)) } else { load(key) };
        store(&mut keys.decryption[at], key);
    }
    keys
}

/// The S-box on four bytes, without a table.
#[target_feature(enable = "aes")]
fn substitute(word: u32) -> u32 {
    // All four columns are equal, so ShiftRows has no effect.
    let columns = _mm_set1_epi32(word.cast_signed());
    _mm_cvtsi128_si32(_mm_aesenclast_si128(columns, _mm_setzero_si128())).cast_unsigned()
}

#[target_feature(enable = "vaes,avx512f")]
fn encrypt<const KEYS: usize, const IS_FULL: bool>(
    keys: &[Block; KEYS],
    ivs: &mut [Block; WIDTH],
    chains: &mut [&mut [Block]; WIDTH],
    steps: usize,
) {
    let keys = broadcast(keys);
    let (ivs, _) = ivs.as_chunks_mut::<BLOCKS>();
    let (chains, _) = chains.as_chunks_mut::<BLOCKS>();
    let mut state = [keys[0]; VECTORS];
    for (state, four) in state.iter_mut().zip(&*ivs) {
        *state = gather(four.each_ref());
    }
    for at in 0..steps {
        for (state, [a, b, c, d]) in state.iter_mut().zip(&*chains) {
            let plain = if IS_FULL {
                gather([&a[at], &b[at], &c[at], &d[at]])
            } else {
                let of = |chain: &'_ &mut [Block]| chain.get(at).copied().unwrap_or_default();
                gather([&of(a), &of(b), &of(c), &of(d)])
            };
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
            if IS_FULL {
                scatter(*state, [&mut a[at], &mut b[at], &mut c[at], &mut d[at]]);
            } else {
                let mut spare = [[0; 16]; BLOCKS];
                let [s, t, u, v] = &mut spare;
                let a = a.get_mut(at).unwrap_or(s);
                let b = b.get_mut(at).unwrap_or(t);
                let c = c.get_mut(at).unwrap_or(u);
                scatter(*state, [a, b, c, d.get_mut(at).unwrap_or(v)]);
            }
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
#[target_feature(enable = "sse2")]
fn load(block: &Block) -> __m128i {
    // SAFETY: the reference is valid for reads of this size, and the load may be unaligned.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(block: &mut Block, vector: __m128i) {
    // SAFETY: the reference is valid for writes of this size, and the store may be unaligned.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), vector) }
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
