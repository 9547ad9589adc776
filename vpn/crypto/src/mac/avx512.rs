//! SHA-256 (FIPS 180-4) of sixteen messages at once, one in each 32-bit lane of AVX-512 vectors.
//!
//! One SHA instruction does two rounds of one message. With AVX-512 one round of sixteen messages
//! takes about 25 instructions, and the processor starts several of them in each cycle.
#![expect(
    unsafe_code,
    reason = "vector instructions may be called only after the processor was checked for them"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set_epi64,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::sha256::{BLOCK, Block, ROUND_CONSTANTS, State};

/// How many messages are hashed at once.
pub(super) const WIDTH: usize = 16;
/// The number of 32-bit words in a block.
const WORDS: usize = BLOCK / size_of::<u32>();
/// The number of 32-bit words in a state.
const STATE: usize = 8;

/// Truth tables of three operands, in the form of the instruction `vpternlogd`.
const CHOOSE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;
const PARITY: i32 = 0x96;

/// Proof that this processor has the instructions. A value exists only if it has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Checks the processor.
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        has_all.then_some(Self(()))
    }

    /// Compresses runs of blocks, each into its state, up to the end of the shortest run.
    pub(super) fn compress(self, states: &mut [State; WIDTH], blocks: &[&[Block]; WIDTH]) {
        // SAFETY: `detect` found the instructions that the function is compiled for.
        unsafe { compress(states, blocks) }
    }
}

/// One round (FIPS 180-4 §6.2.2) on the eight words of the state. The caller rotates the names, so
/// no word moves to another register.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $word:expr) => {
        let choice = _mm512_ternarylogic_epi32::<CHOOSE>($e, $f, $g);
        let sigma = _mm512_ternarylogic_epi32::<PARITY>(
            _mm512_ror_epi32::<6>($e),
            _mm512_ror_epi32::<11>($e),
            _mm512_ror_epi32::<25>($e),
        );
        // The next round waits for `e` of this round, so `d` is computed with the fewest steps.
        let early = _mm512_add_epi32($h, $word);
        $d = _mm512_add_epi32(_mm512_add_epi32(_mm512_add_epi32($d, early), choice), sigma);
        let one = _mm512_add_epi32(_mm512_add_epi32(early, choice), sigma);
        let sigma = _mm512_ternarylogic_epi32::<PARITY>(
            _mm512_ror_epi32::<2>($a),
            _mm512_ror_epi32::<13>($a),
            _mm512_ror_epi32::<22>($a),
        );
        let two = _mm512_add_epi32(sigma, _mm512_ternarylogic_epi32::<MAJORITY>($a, $b, $c));
        $h = _mm512_add_epi32(one, two);
    };
}

/// Sixteen rounds. `$word` gives the sum of the word and the constant of a round.
///
/// The rounds are written out: only constant indices keep the words in registers.
macro_rules! sixteen_rounds {
    ($word:ident: $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        round!($a $b $c $d $e $f $g $h, $word!(0));
        round!($h $a $b $c $d $e $f $g, $word!(1));
        round!($g $h $a $b $c $d $e $f, $word!(2));
        round!($f $g $h $a $b $c $d $e, $word!(3));
        round!($e $f $g $h $a $b $c $d, $word!(4));
        round!($d $e $f $g $h $a $b $c, $word!(5));
        round!($c $d $e $f $g $h $a $b, $word!(6));
        round!($b $c $d $e $f $g $h $a, $word!(7));
        round!($a $b $c $d $e $f $g $h, $word!(8));
        round!($h $a $b $c $d $e $f $g, $word!(9));
        round!($g $h $a $b $c $d $e $f, $word!(10));
        round!($f $g $h $a $b $c $d $e, $word!(11));
        round!($e $f $g $h $a $b $c $d, $word!(12));
        round!($d $e $f $g $h $a $b $c, $word!(13));
        round!($c $d $e $f $g $h $a $b, $word!(14));
        round!($b $c $d $e $f $g $h $a, $word!(15));
    };
}

/// Compresses runs of blocks, each into its state, up to the end of the shortest run.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(states: &mut [State; WIDTH], blocks: &[&[Block]; WIDTH]) {
    let count = blocks.iter().map(|run| run.len()).min().unwrap_or(0);
    let blocks = blocks.map(|run| &run[..count]);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = gather(states);
    for at in 0..count {
        let before = [a, b, c, d, e, f, g, h];
        let mut words = load(&blocks, at);
        let [first, rest @ ..] = &ROUND_CONSTANTS;
        let constants = first.as_flattened();
        macro_rules! first_word {
            ($at:literal) => {
                _mm512_add_epi32(words[$at], _mm512_set1_epi32(constants[$at].cast_signed()))
            };
        }
        sixteen_rounds!(first_word: a b c d e f g h);
        for constants in rest {
            let constants = constants.as_flattened();
            macro_rules! next {
                ($at:literal) => {{
                    words[$at] = next_word(&words, $at);
                    _mm512_add_epi32(words[$at], _mm512_set1_epi32(constants[$at].cast_signed()))
                }};
            }
            sixteen_rounds!(next: a b c d e f g h);
        }
        a = _mm512_add_epi32(a, before[0]);
        b = _mm512_add_epi32(b, before[1]);
        c = _mm512_add_epi32(c, before[2]);
        d = _mm512_add_epi32(d, before[3]);
        e = _mm512_add_epi32(e, before[4]);
        f = _mm512_add_epi32(f, before[5]);
        g = _mm512_add_epi32(g, before[6]);
        h = _mm512_add_epi32(h, before[7]);
    }
    scatter([a, b, c, d, e, f, g, h], states);
}

/// The next word of the message schedule (FIPS 180-4 §6.2.2), from the last sixteen words. They are
/// in a ring; the oldest is at `at`.
#[target_feature(enable = "avx512f")]
fn next_word(ring: &[__m512i; WORDS], at: usize) -> __m512i {
    let [fifteen_ago, seven_ago, two_ago] =
        [ring[(at + 1) % WORDS], ring[(at + 9) % WORDS], ring[(at + 14) % WORDS]];
    let small_zero = _mm512_ternarylogic_epi32::<PARITY>(
        _mm512_ror_epi32::<7>(fifteen_ago),
        _mm512_ror_epi32::<18>(fifteen_ago),
        _mm512_srli_epi32::<3>(fifteen_ago),
    );
    let small_one = _mm512_ternarylogic_epi32::<PARITY>(
        _mm512_ror_epi32::<17>(two_ago),
        _mm512_ror_epi32::<19>(two_ago),
        _mm512_srli_epi32::<10>(two_ago),
    );
    let old = _mm512_add_epi32(ring[at], seven_ago);
    _mm512_add_epi32(old, _mm512_add_epi32(small_zero, small_one))
}

/// Loads one block of each message: one vector for each word, one lane for each message.
#[target_feature(enable = "avx512f,avx512bw")]
fn load(blocks: &[&[Block]; WIDTH], at: usize) -> [__m512i; WORDS] {
    let swap = _mm512_set_epi64(
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
    );
    let rows = blocks.map(|run| {
        let block: &Block = &run[at];
        // SAFETY: a block has 64 bytes, and the instruction takes any address.
        let row = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        // The words of a block are big-endian.
        _mm512_shuffle_epi8(row, swap)
    });
    transpose(rows)
}

/// Transposes a matrix of sixteen by sixteen words.
#[target_feature(enable = "avx512f")]
fn transpose(mut rows: [__m512i; WIDTH]) -> [__m512i; WORDS] {
    // First within each quarter of the vectors: four rows by four words.
    for four in rows.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Then the quarters themselves.
    let mut columns = [_mm512_setzero_si512(); WORDS];
    for at in 0..4 {
        let [a, b, c, d] = [rows[at], rows[4 + at], rows[8 + at], rows[12 + at]];
        let (ab_low, ab_high) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
        );
        let (cd_low, cd_high) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
        );
        columns[at] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_low, cd_low);
        columns[4 + at] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high);
        columns[8 + at] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_low, cd_low);
        columns[12 + at] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high);
    }
    columns
}

/// Loads the states: one vector for each of the eight words.
#[target_feature(enable = "avx512f")]
fn gather(states: &[State; WIDTH]) -> [__m512i; STATE] {
    let mut columns = [[0; WIDTH]; STATE];
    for (lane, state) in states.iter().enumerate() {
        for (column, word) in columns.iter_mut().zip(state) {
            column[lane] = *word;
        }
    }
    // SAFETY: a column has 64 bytes, and the instruction takes any address.
    columns.map(|column| unsafe { _mm512_loadu_si512(column.as_ptr().cast()) })
}

/// Stores the states again, the reverse of [`gather`].
#[target_feature(enable = "avx512f")]
fn scatter(words: [__m512i; STATE], states: &mut [State; WIDTH]) {
    for (at, word) in words.into_iter().enumerate() {
        let mut column = [0; WIDTH];
        // SAFETY: a column has 64 bytes, and the instruction takes any address.
        unsafe { _mm512_storeu_si512(column.as_mut_ptr().cast(), word) }
        for (state, word) in states.iter_mut().zip(column) {
            state[at] = word;
        }
    }
}
