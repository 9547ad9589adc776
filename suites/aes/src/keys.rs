//! The round keys of AES (FIPS 197), made with the instructions AES-NI, and what the kernels share.
#![expect(
    unsafe_code,
    reason = "the instructions may be called only after a check that the processor has them"
)]

use std::arch::x86_64::{
    __m128i, _mm_aesenclast_si128, _mm_aesimc_si128, _mm_cvtsi128_si32, _mm_loadu_si128,
    _mm_set1_epi32, _mm_setzero_si128, _mm_storeu_si128,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

pub(crate) type Block = [u8; 16];

/// The `KEYS` round keys of AES: 11, 13 or 15. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct RoundKeys<const KEYS: usize> {
    /// The keys in the order of their use.
    pub(crate) encryption: [Block; KEYS],
    /// The keys of the equivalent inverse cipher in the order of their use.
    pub(crate) decryption: [Block; KEYS],
}

impl<const KEYS: usize> RoundKeys<KEYS> {
    /// Expands a key. Returns `None` if the processor lacks AES-NI, or if the length does not match
    /// `KEYS`.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        if !is_x86_feature_detected!("aes") || key.len() != 4 * (KEYS - 7) {
            return None;
        }
        // SAFETY: the processor has the instructions that the function is compiled for.
        Some(unsafe { expand(key) })
    }
}

/// The key expansion of FIPS 197 §5.2, and that of the equivalent inverse cipher of §5.3.5.
#[target_feature(enable = "aes")]
fn expand<const KEYS: usize>(key: &[u8]) -> RoundKeys<KEYS> {
    let mut keys = RoundKeys { encryption: [[0; 16]; KEYS], decryption: [[0; 16]; KEYS] };
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

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn load(block: &Block) -> __m128i {
    // SAFETY: the reference is valid for reads of this size, and the load may be unaligned.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn store(block: &mut Block, vector: __m128i) {
    // SAFETY: the reference is valid for writes of this size, and the store may be unaligned.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), vector) }
}
