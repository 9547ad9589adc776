//! The Jacobi symbol of public numbers, in variable time.
//!
//! The binary algorithm halves and subtracts long numbers thousands of times. This module works
//! like Lehmer's version of Euclid's algorithm: it decides about sixty steps from the first and the
//! last word of both numbers. Then it applies these steps to all words in one pass.

use num_bigint::BigUint;

/// The most halvings in one pass. Then the last word still shows the number modulo 8.
const HALVINGS: u32 = u64::BITS - 3;
/// The size of a first word in bits. The longer number uses all of these bits.
const HEAD: u32 = 62;
/// If two first words differ by this much, the larger one is certain. The error of a first word is
/// less than 1 at the start, and each halving adds at most 1/2.
const CERTAIN: u64 = 128;

/// The Jacobi symbol (top/bottom): 1 or -1, or 0 if the two numbers have a common factor.
///
/// `bottom` must be odd. The time depends on both numbers, so they must be public. For a prime
/// `bottom` the symbol is 1 exactly if `top` is a square modulo `bottom` and not zero.
///
/// # Examples
///
/// ```
/// use num_bigint::BigUint;
/// use vpn_crypto::jacobi::jacobi;
///
/// // The squares modulo 7 are 1, 2 and 4.
/// let symbols = [1u8, 2, 3, 4, 5, 6].map(|n| jacobi(&BigUint::from(n), &BigUint::from(7u8)));
/// assert_eq!(symbols, [1, 1, -1, 1, -1, -1]);
/// ```
pub fn jacobi(top: &BigUint, bottom: &BigUint) -> i8 {
    let reduced = (top % bottom).to_u64_digits();
    let mut pair = Pair { top: reduced, bottom: bottom.to_u64_digits(), negative: false };
    pair.level();
    while pair.bottom.len() > 1 {
        if pair.top.iter().all(|&word| word == 0) {
            // The common factor is longer than a word.
            return 0;
        }
        let steps = pair.plan();
        if steps.halvings == 0 {
            pair.subtract();
        } else {
            pair.take(&steps);
        }
        pair.level();
    }
    pair.finish()
}

/// Two numbers with the same number of words, least significant word first, and a sign.
struct Pair {
    top: Vec<u64>,
    bottom: Vec<u64>,
    negative: bool,
}

/// Decided steps: each new number is a sum of multiples of the two old ones, divided by 2^halvings.
struct Steps {
    halvings: u32,
    top: [i64; 2],
    bottom: [i64; 2],
}

impl Pair {
    /// Cuts both numbers to the length of the longer one, at least one word.
    fn level(&mut self) {
        let used = |words: &[u64]| words.iter().rposition(|&w| w != 0).map_or(1, |last| last + 1);
        let length = used(&self.top).max(used(&self.bottom));
        self.top.resize(length, 0);
        self.bottom.resize(length, 0);
    }

    /// Decides the next steps and updates the sign.
    fn plan(&mut self) -> Steps {
        let (mut top_head, mut bottom_head) = self.heads();
        let (mut top_end, mut bottom_end) = (self.top[0], self.bottom[0]);
        let (mut top, mut bottom) = ([1, 0], [0, 1]);
        let mut halvings = 0;
        loop {
            let twos = top_end.trailing_zeros().min(HALVINGS - halvings);
            if twos > 0 {
                top_end >>= twos;
                top_head >>= twos;
                bottom = bottom.map(|factor: i64| factor << twos);
                halvings += twos;
                self.negative ^= twos % 2 == 1 && is_minus_for_two(bottom_end);
            }
            if halvings == HALVINGS || top_head.abs_diff(bottom_head) < CERTAIN {
                return Steps { halvings, top, bottom };
            }
            if top_head < bottom_head {
                std::mem::swap(&mut top_head, &mut bottom_head);
                std::mem::swap(&mut top_end, &mut bottom_end);
                std::mem::swap(&mut top, &mut bottom);
                self.negative ^= is_minus_for_swapping(top_end, bottom_end);
            }
            top_head -= bottom_head;
            top_end = top_end.wrapping_sub(bottom_end);
            top = [top[0] - bottom[0], top[1] - bottom[1]];
        }
    }

    /// The first bits of both numbers, from the same position. The numbers have two words or more.
    fn heads(&self) -> (u64, u64) {
        let last = self.top.len() - 1;
        let zeros = (self.top[last] | self.bottom[last]).leading_zeros();
        let head = |words: &[u64]| {
            let both = u128::from(words[last]) << 64 | u128::from(words[last - 1]);
            low_word((both << zeros) >> (u128::BITS - HEAD))
        };
        (head(&self.top), head(&self.bottom))
    }

    /// Applies decided steps.
    fn take(&mut self, steps: &Steps) {
        let (mut top_carry, mut bottom_carry) = (0, 0);
        let (mut top_word, mut bottom_word) = (0, 0);
        for i in 0..self.top.len() {
            let words = [self.top[i], self.bottom[i]];
            let next_top = combine(steps.top, words, &mut top_carry);
            let next_bottom = combine(steps.bottom, words, &mut bottom_carry);
            if i > 0 {
                self.top[i - 1] = join(top_word, next_top, steps.halvings);
                self.bottom[i - 1] = join(bottom_word, next_bottom, steps.halvings);
            }
            (top_word, bottom_word) = (next_top, next_bottom);
        }
        let last = self.top.len() - 1;
        self.top[last] = join(top_word, low_word(top_carry.cast_unsigned()), steps.halvings);
        self.bottom[last] =
            join(bottom_word, low_word(bottom_carry.cast_unsigned()), steps.halvings);
    }

    /// Does one subtraction without halving, for numbers with equal first words. Both must be odd.
    fn subtract(&mut self) {
        if self.top.iter().rev().lt(self.bottom.iter().rev()) {
            std::mem::swap(&mut self.top, &mut self.bottom);
            self.negative ^= is_minus_for_swapping(self.top[0], self.bottom[0]);
        }
        let mut borrow = false;
        for (top, &bottom) in self.top.iter_mut().zip(&self.bottom) {
            let (difference, first) = top.overflowing_sub(bottom);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            (*top, borrow) = (difference, first || second);
        }
    }

    /// The symbol when both numbers have become one word.
    fn finish(mut self) -> i8 {
        let (mut top, mut bottom) = (self.top[0], self.bottom[0]);
        while top != 0 {
            let twos = top.trailing_zeros();
            top >>= twos;
            self.negative ^= twos % 2 == 1 && is_minus_for_two(bottom);
            if top < bottom {
                std::mem::swap(&mut top, &mut bottom);
                self.negative ^= is_minus_for_swapping(top, bottom);
            }
            top -= bottom;
        }
        match (bottom, self.negative) {
            (1, false) => 1,
            (1, true) => -1,
            _ => 0,
        }
    }
}

/// Whether (2/n) is -1. It is for n = 3 and n = 5 modulo 8.
fn is_minus_for_two(n: u64) -> bool {
    matches!(n % 8, 3 | 5)
}

/// Whether (m/n) = -(n/m). By quadratic reciprocity it is if both are 3 modulo 4.
fn is_minus_for_swapping(m: u64, n: u64) -> bool {
    m & n & 3 == 3
}

/// One word of a sum of two multiples.
fn combine(factors: [i64; 2], words: [u64; 2], carry: &mut i128) -> u64 {
    // A factor is at most 2^61, so the sum is below 2^127.
    let sum = i128::from(factors[0]) * i128::from(words[0])
        + i128::from(factors[1]) * i128::from(words[1])
        + *carry;
    *carry = sum >> u64::BITS;
    low_word(sum.cast_unsigned())
}

/// The word at bit `shift` of the number `high || low`.
fn join(low: u64, high: u64, shift: u32) -> u64 {
    low_word((u128::from(high) << u64::BITS | u128::from(low)) >> shift)
}

#[expect(clippy::cast_possible_truncation, reason = "the higher bits are dropped on purpose")]
fn low_word(bits: u128) -> u64 {
    bits as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::primes;

    /// The primes of RFC 3526, which the classic profile uses.
    const PRIMES: [&str; 5] = [
        primes::MODP_2048,
        primes::MODP_3072,
        primes::MODP_4096,
        primes::MODP_6144,
        primes::MODP_8192,
    ];

    fn prime(hex: &str) -> BigUint {
        BigUint::parse_bytes(hex.as_bytes(), 16).unwrap()
    }

    fn one() -> BigUint {
        BigUint::from(1u8)
    }

    /// The binary algorithm of textbooks.
    fn reference(top: &BigUint, bottom: &BigUint) -> i8 {
        let low = |n: &BigUint| n.iter_u64_digits().next().unwrap_or(0);
        let (mut top, mut bottom) = (top % bottom, bottom.clone());
        let mut sign = 1;
        while top != BigUint::ZERO {
            let twos = top.trailing_zeros().unwrap_or(0);
            top >>= twos;
            if twos % 2 == 1 && matches!(low(&bottom) % 8, 3 | 5) {
                sign = -sign;
            }
            if low(&top) % 4 == 3 && low(&bottom) % 4 == 3 {
                sign = -sign;
            }
            std::mem::swap(&mut top, &mut bottom);
            top %= &bottom;
        }
        if bottom == one() { sign } else { 0 }
    }

    fn compare(top: &BigUint, bottom: &BigUint) {
        assert_eq!(jacobi(top, bottom), reference(top, bottom), "({top:x}/{bottom:x})");
    }

    #[test]
    fn symbols_of_small_numbers_are_those_of_the_textbook() {
        for bottom in (1u32..200).step_by(2) {
            for top in 0u32..250 {
                compare(&top.into(), &bottom.into());
            }
        }
    }

    #[test]
    fn symbols_at_the_edges_are_those_of_the_textbook() {
        for hex in PRIMES {
            let p = &prime(hex);
            for near in 0u32..40 {
                compare(&near.into(), p);
                compare(&(p - near), p);
                compare(&((p >> 1u32) + near), p);
                // Numbers with the first bits of the prime, and with the last bits of it.
                compare(&(p - (one() << (near * 50))), p);
                compare(&(p >> (near * 13)), p);
                compare(&(p % (one() << (near * 50 + 1))), p);
            }
        }
    }

    #[test]
    fn a_common_factor_of_any_length_is_noticed() {
        for bits in [2u32, 31, 63, 64, 65, 127, 128, 129, 500] {
            let factor = (one() << bits) - 1u8;
            let bottom = &factor * ((one() << 900u32) + 1u8);
            for times in [0u32, 1, 2, 3, 1000] {
                assert_eq!(jacobi(&(&factor * times), &bottom), 0);
            }
        }
    }

    proptest! {
        #[test]
        fn symbols_are_those_of_the_textbook(
            top in prop::collection::vec(any::<u8>(), 0..300),
            bottom in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            compare(&BigUint::from_bytes_be(&top), &(BigUint::from_bytes_be(&bottom) | one()));
        }

        #[test]
        fn symbols_of_numbers_that_begin_alike_are_those_of_the_textbook(
            head in prop::collection::vec(any::<u8>(), 1..100),
            tops in prop::collection::vec(any::<u8>(), 0..100),
            bottoms in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let number = |tail: &[u8]| {
                BigUint::from_bytes_be(&[&head, tail].concat())
            };
            compare(&number(&tops), &(number(&bottoms) | one()));
        }

        #[test]
        fn symbols_modulo_the_primes_are_those_of_the_textbook(
            which in 0usize..5,
            value in prop::collection::vec(any::<u8>(), 1024),
        ) {
            compare(&BigUint::from_bytes_be(&value), &prime(PRIMES[which]));
        }
    }
}
