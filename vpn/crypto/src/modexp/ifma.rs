//! Multiplication modulo a prime with AVX-512 IFMA: eight products of 52 by 52 bits at a time.
//!
//! Numbers are in Montgomery form with R = 2^416V, where V is the number of vectors. They are at
//! most twice the prime. R is more than four times the prime, so a product is again at most twice
//! the prime, and no comparison is needed (Gueron, "Efficient software implementations of modular
//! exponentiation", 2012).
#![expect(
    unsafe_code,
    reason = "vector instructions may be called only after the processor was checked for them; they \
              compute powers ten times as fast"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_alignr_epi64, _mm512_broadcastq_epi64,
    _mm512_castsi512_si128, _mm512_loadu_si512, _mm512_mask_blend_epi64, _mm512_maskz_srli_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512,
};
#[cfg(not(miri))]
use std::arch::x86_64::{_mm512_madd52hi_epu64, _mm512_madd52lo_epu64};

use crypto_bigint::Word;
use num_bigint::BigUint;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::arithmetic::Arithmetic;
#[cfg(miri)]
use interpreted::{_mm512_madd52hi_epu64, _mm512_madd52lo_epu64};

/// The size of a limb in bits.
const LIMB: u32 = 52;
/// The largest limb.
const MASK: u64 = (1 << LIMB) - 1;
/// The number of limbs in a vector.
const LIMBS: usize = 8;
/// The size of a vector in bits.
const VECTOR: usize = LIMBS * LIMB as usize;
/// The size of two limbs in bytes.
const PAIR: usize = 13;

type Vector = [u64; LIMBS];

/// Proof that this processor has the instructions. A value exists only if it has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Ifma(());

impl Avx512Ifma {
    /// Checks the processor.
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
        has_all.then_some(Self(()))
    }
}

/// A prime in limbs, on a processor that has the instructions.
pub(super) struct Ifma {
    prime: Box<[Vector]>,
    /// -1 / prime modulo 2^52.
    negative_inverse: u64,
    /// R^2 modulo the prime. It converts numbers to Montgomery form.
    square: Residue,
    /// The size of the prime in bytes.
    bytes: usize,
}

/// A residue in Montgomery form, as limbs below 2^52, least significant first. Wiped on drop.
#[derive(Clone)]
pub(super) struct Residue(Box<[Vector]>);

impl Zeroize for Residue {
    fn zeroize(&mut self) {
        self.0.as_flattened_mut().zeroize();
    }
}

impl Drop for Residue {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Residue {}

impl Ifma {
    /// Prepares an odd number of `bits` bits. `None` if there is no code for this length.
    pub(super) fn new(_: Avx512Ifma, modulus: &BigUint, bits: u32) -> Option<Self> {
        // R must be more than four times the prime.
        let vectors = (bits as usize + 2).div_ceil(VECTOR);
        let is_odd = modulus.bit(0);
        if !is_odd || !matches!(vectors, 5 | 8 | 10 | 15 | 20) {
            return None;
        }
        let prime = limbs(modulus, vectors);
        // Newton iteration: each step doubles the number of correct bits.
        let lowest = prime.as_flattened()[0];
        let inverse = (0..6).fold(1u64, |inverse, _| {
            inverse.wrapping_mul(2u64.wrapping_sub(lowest.wrapping_mul(inverse)))
        });
        let square = (BigUint::from(1u8) << (2 * vectors * VECTOR)) % modulus;
        Some(Self {
            negative_inverse: inverse.wrapping_neg() & MASK,
            square: Residue(limbs(&square, vectors)),
            bytes: bits.div_ceil(8) as usize,
            prime,
        })
    }

    /// The arithmetic of this prime, with its buffer.
    pub(super) fn arithmetic(&self) -> IfmaArithmetic<'_> {
        IfmaArithmetic { prime: self, product: Residue(vec![[0; LIMBS]; self.prime.len()].into()) }
    }

    fn multiply(&self, a: &Residue, b: &Residue, product: &mut Residue) {
        match self.prime.len() {
            5 => self.multiply_vectors::<5>(a, b, product),
            8 => self.multiply_vectors::<8>(a, b, product),
            10 => self.multiply_vectors::<10>(a, b, product),
            15 => self.multiply_vectors::<15>(a, b, product),
            _ => self.multiply_vectors::<20>(a, b, product),
        }
    }

    fn multiply_vectors<const V: usize>(&self, a: &Residue, b: &Residue, product: &mut Residue) {
        let all = (
            a.0.as_array::<V>(),
            b.0.as_array::<V>(),
            self.prime.as_array::<V>(),
            product.0.as_mut_array::<V>(),
        );
        let (Some(a), Some(b), Some(prime), Some(product)) = all else {
            unreachable!("all residues have the length of the prime");
        };
        // SAFETY: `new` was given the proof that the processor has the instructions.
        unsafe { multiply(a, b, prime, self.negative_inverse, product) }
        let mut carry = 0;
        for limb in product.as_flattened_mut() {
            *limb += carry;
            carry = *limb >> LIMB;
            *limb &= MASK;
        }
    }
}

/// Arithmetic modulo a prime, with a buffer for products.
pub(super) struct IfmaArithmetic<'a> {
    prime: &'a Ifma,
    product: Residue,
}

impl Arithmetic for IfmaArithmetic<'_> {
    type Residue = Residue;

    fn residue(&mut self, value: &BigUint) -> Residue {
        let mut residue = Residue(limbs(value, self.prime.prime.len()));
        self.multiply(&mut residue, &self.prime.square);
        residue
    }

    fn multiply(&mut self, a: &mut Residue, b: &Residue) {
        self.prime.multiply(a, b, &mut self.product);
        std::mem::swap(a, &mut self.product);
    }

    fn square(&mut self, a: &mut Residue) {
        self.prime.multiply(a, a, &mut self.product);
        std::mem::swap(a, &mut self.product);
    }

    fn choose(&self, chosen: &mut Residue, table: &[Residue], index: Word) {
        for (entry, number) in table.iter().zip(Word::MIN..) {
            let wanted = number.ct_eq(&index).unwrap_u8().wrapping_neg();
            // SAFETY: `new` was given the proof that the processor has the instructions.
            unsafe { choose(&mut chosen.0, &entry.0, wanted) }
        }
    }

    fn finish(&mut self, mut residue: Residue) -> Zeroizing<Vec<u8>> {
        let one = Residue(limbs(&BigUint::from(1u8), self.prime.prime.len()));
        // Outside Montgomery form the number is below the prime, or the prime itself in place of
        // zero. The power of a number that is not zero is not zero.
        self.multiply(&mut residue, &one);
        let (pairs, _) = residue.0.as_flattened().as_chunks::<2>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len() * PAIR));
        for [low, high] in pairs {
            let pair = Zeroizing::new((u128::from(*high) << LIMB | u128::from(*low)).to_le_bytes());
            bytes.extend_from_slice(&pair[..PAIR]);
        }
        bytes.truncate(self.prime.bytes);
        bytes.reverse();
        bytes
    }
}

/// A public number as limbs, least significant first. It must fit.
fn limbs(number: &BigUint, vectors: usize) -> Box<[Vector]> {
    let mut limbs = vec![[0; LIMBS]; vectors];
    let (pairs, _) = limbs.as_flattened_mut().as_chunks_mut::<2>();
    for ([low, high], bytes) in pairs.iter_mut().zip(number.to_bytes_le().chunks(PAIR)) {
        let mut pair = [0; PAIR];
        pair[..bytes.len()].copy_from_slice(bytes);
        // A limb has 52 bits: the first eight bytes hold the low limb, the last eight the high one.
        let [a, b, c, d, e, f, g, h, ..] = pair;
        *low = u64::from_le_bytes([a, b, c, d, e, f, g, h]) & MASK;
        let [.., a, b, c, d, e, f, g, h] = pair;
        *high = u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> (u64::BITS - LIMB);
    }
    limbs.into()
}

/// `product = a * b / R` modulo the prime, in limbs of up to 62 bits. `b` has at most 160 limbs,
/// and each of them adds at most four products of 52 bits to a limb of the sum.
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiply<const V: usize>(
    a: &[Vector; V],
    b: &[Vector; V],
    prime: &[Vector; V],
    negative_inverse: u64,
    product: &mut [Vector; V],
) {
    let zero = _mm512_setzero_si512();
    let negative_inverse = _mm512_set1_epi64(negative_inverse.cast_signed());
    let mut sums = [zero; V];
    for limb in b.as_flattened() {
        let limb = _mm512_set1_epi64(limb.cast_signed());
        for (sum, a) in sums.iter_mut().zip(a) {
            *sum = _mm512_madd52lo_epu64(*sum, load(a), limb);
        }
        // Adding this multiple of the prime makes the lowest limb zero. Then the sum moves down one
        // limb.
        let lowest = _mm512_broadcastq_epi64(_mm512_castsi512_si128(sums[0]));
        let times = _mm512_madd52lo_epu64(zero, lowest, negative_inverse);
        for (sum, prime) in sums.iter_mut().zip(prime) {
            *sum = _mm512_madd52lo_epu64(*sum, load(prime), times);
        }
        let carry = _mm512_maskz_srli_epi64::<LIMB>(1, sums[0]);
        for at in 0..V {
            let above = if at + 1 < V { sums[at + 1] } else { zero };
            sums[at] = _mm512_alignr_epi64::<1>(above, sums[at]);
        }
        sums[0] = _mm512_add_epi64(sums[0], carry);
        for (sum, (a, prime)) in sums.iter_mut().zip(a.iter().zip(prime)) {
            *sum = _mm512_madd52hi_epu64(*sum, load(a), limb);
            *sum = _mm512_madd52hi_epu64(*sum, load(prime), times);
        }
    }
    for (vector, sum) in product.iter_mut().zip(sums) {
        store(vector, sum);
    }
}

/// Copies an entry if the mask is all ones. Copies nothing if it is zero.
#[target_feature(enable = "avx512f")]
fn choose(chosen: &mut [Vector], entry: &[Vector], mask: u8) {
    for (chosen, entry) in chosen.iter_mut().zip(entry) {
        let vector = _mm512_mask_blend_epi64(mask, load(chosen), load(entry));
        store(chosen, vector);
    }
}

#[target_feature(enable = "avx512f")]
fn load(vector: &Vector) -> __m512i {
    // SAFETY: a vector has 64 bytes, and the instruction takes any address.
    unsafe { _mm512_loadu_si512(vector.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn store(vector: &mut Vector, value: __m512i) {
    // SAFETY: a vector has 64 bytes, and the instruction takes any address.
    unsafe { _mm512_storeu_si512(vector.as_mut_ptr().cast(), value) }
}

/// The two instructions that Miri does not have, written after their description.
#[cfg(miri)]
mod interpreted {
    use super::{__m512i, LIMB, MASK, load, store};

    #[target_feature(enable = "avx512f")]
    pub(super) fn _mm512_madd52lo_epu64(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        each(sum, a, b, |product| product as u64 & MASK)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn _mm512_madd52hi_epu64(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        each(sum, a, b, |product| (product >> LIMB) as u64 & MASK)
    }

    #[target_feature(enable = "avx512f")]
    fn each(sum: __m512i, a: __m512i, b: __m512i, half: fn(u128) -> u64) -> __m512i {
        let [mut sums, mut left, mut right] = [[0; 8]; 3];
        store(&mut sums, sum);
        store(&mut left, a);
        store(&mut right, b);
        for (sum, (a, b)) in sums.iter_mut().zip(left.into_iter().zip(right)) {
            *sum = sum.wrapping_add(half(u128::from(a & MASK) * u128::from(b & MASK)));
        }
        load(&sums)
    }
}
