//! SHA-256 (FIPS 180-4) of two messages side by side, with the processor's own instructions.
#![expect(
    unsafe_code,
    reason = "only after a look at the processor may its instructions be called"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use super::{Block, State};

/// Messages side by side.
const WIDTH: usize = 2;

/// That this processor has the instructions: there is no value where it does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShaNi(());

impl ShaNi {
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        has_all.then_some(Self(()))
    }

    /// Compresses runs of equal length into the state of each.
    pub(super) fn compress_pair(self, states: &mut [State; WIDTH], blocks: [&[Block]; WIDTH]) {
        // SAFETY: `detect` found the instructions that the function is compiled for.
        unsafe { compress(states, blocks) }
    }
}

/// Compresses runs into the state of each, as far as the shortest goes.
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
            // Numbers known to the compiler index the ring, so that it stays in registers.
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

/// The next four words of the message schedule, from the last sixteen of them; those lie in a ring,
/// the oldest at `at`.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn next_words(ring: &[__m128i; 4], at: usize) -> __m128i {
    let [sixteen_ago, twelve_ago, eight_ago, four_ago] =
        [ring[at], ring[(at + 1) % 4], ring[(at + 2) % 4], ring[(at + 3) % 4]];
    let seven_ago = _mm_alignr_epi8::<4>(four_ago, eight_ago);
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(sixteen_ago, twelve_ago), seven_ago);
    _mm_sha256msg2_epu32(sum, four_ago)
}

/// A block as sixteen numbers, most significant byte first.
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

/// FIPS 180-4 §4.2.2: the first 32 bits of the fractions of the cube roots of the first 64 primes.
const ROUND_CONSTANTS: [[[u32; 4]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];
