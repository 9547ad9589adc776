//! SHA-256 (FIPS 180-4) of two messages at once, with the SHA instructions of the processor.
#![expect(
    unsafe_code,
    reason = "vector instructions may be called only after the processor was checked for them"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use super::sha256::{Block, ROUND_CONSTANTS, State};

/// How many messages are hashed at once.
const WIDTH: usize = 2;

/// Proof that this processor has the instructions. A value exists only if it has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShaNi(());

impl ShaNi {
    /// Checks the processor.
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        has_all.then_some(Self(()))
    }

    /// Compresses two runs of blocks, each into its state. Both runs have the same length.
    pub(super) fn compress_pair(self, states: &mut [State; WIDTH], blocks: [&[Block]; WIDTH]) {
        // SAFETY: `detect` found the instructions that the function is compiled for.
        unsafe { compress(states, blocks) }
    }
}

/// Compresses two runs of blocks, each into its state, up to the end of the shorter run.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress(states: &mut [State; WIDTH], blocks: [&[Block]; WIDTH]) {
    let mut abef = [zero(); WIDTH];
    let mut cdgh = [zero(); WIDTH];
    for lane in 0..WIDTH {
        let [a, b, c, d, e, f, g, h] = states[lane].map(u32::cast_signed);
        abef[lane] = _mm_set_epi32(a, b, e, f);
        cdgh[lane] = _mm_set_epi32(c, d, g, h);
    }
    let constants = ROUND_CONSTANTS.map(|four| {
        four.map(|words| {
            let [a, b, c, d] = words.map(u32::cast_signed);
            _mm_set_epi32(d, c, b, a)
        })
    });
    let [left, right] = blocks;
    for pair in left.iter().zip(right) {
        let mut words = [load(pair.0), load(pair.1)];
        let (abef_before, cdgh_before) = (abef, cdgh);
        for (sixteenth, constants) in constants.iter().enumerate() {
            // The indices are constants for the compiler, so the ring stays in registers.
            for at in 0..4 {
                for lane in 0..WIDTH {
                    if sixteenth > 0 {
                        words[lane][at] = next_words(&words[lane], at);
                    }
                    let sums = _mm_add_epi32(words[lane][at], constants[at]);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sums);
                    let sums = _mm_shuffle_epi32::<0b00_00_11_10>(sums);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], sums);
                }
            }
        }
        for lane in 0..WIDTH {
            abef[lane] = _mm_add_epi32(abef[lane], abef_before[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], cdgh_before[lane]);
        }
    }
    for lane in 0..WIDTH {
        let [f, e, b, a] = words(abef[lane]);
        let [h, g, d, c] = words(cdgh[lane]);
        states[lane] = [a, b, c, d, e, f, g, h];
    }
}

/// The next four words of the message schedule (FIPS 180-4 §6.2.2), from the last sixteen words.
/// They are in a ring; the oldest four are at `at`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn next_words(ring: &[__m128i; 4], at: usize) -> __m128i {
    let [sixteen_ago, twelve_ago, eight_ago, four_ago] =
        [ring[at], ring[(at + 1) % 4], ring[(at + 2) % 4], ring[(at + 3) % 4]];
    let seven_ago = _mm_alignr_epi8::<4>(four_ago, eight_ago);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(sixteen_ago, twelve_ago), seven_ago);
    _mm_sha256msg2_epu32(sum, four_ago)
}

/// A block as sixteen big-endian 32-bit words.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(block: &Block) -> [__m128i; 4] {
    let swap_bytes = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (halves, _) = block.as_chunks::<8>();
    let half = |at: usize| i64::from_le_bytes(halves[at]);
    [
        _mm_shuffle_epi8(_mm_set_epi64x(half(1), half(0)), swap_bytes),
        _mm_shuffle_epi8(_mm_set_epi64x(half(3), half(2)), swap_bytes),
        _mm_shuffle_epi8(_mm_set_epi64x(half(5), half(4)), swap_bytes),
        _mm_shuffle_epi8(_mm_set_epi64x(half(7), half(6)), swap_bytes),
    ]
}

#[target_feature(enable = "sse4.1")]
fn words(vector: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<0>(vector).cast_unsigned(),
        _mm_extract_epi32::<1>(vector).cast_unsigned(),
        _mm_extract_epi32::<2>(vector).cast_unsigned(),
        _mm_extract_epi32::<3>(vector).cast_unsigned(),
    ]
}

#[target_feature(enable = "sse2")]
fn zero() -> __m128i {
    _mm_set_epi64x(0, 0)
}
