//! Arithmetic modulo a prime: the operations that the algorithms for powers need.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, CtAssign, CtEq, MontyForm, MontyMultiplier, Word};
use num_bigint::BigUint;
use zeroize::{Zeroize, Zeroizing};

/// Multiplies residues of one prime. Residues may be secret: the operations and the memory accesses
/// do not depend on them.
pub(super) trait Arithmetic {
    /// A number modulo the prime, in the form that the kernel computes with.
    type Residue: Clone + Zeroize;

    /// The residue of a public number below the prime.
    fn residue(&mut self, value: &BigUint) -> Self::Residue;

    /// `a = a * b`.
    fn multiply(&mut self, a: &mut Self::Residue, b: &Self::Residue);

    /// `a = a * a`.
    fn square(&mut self, a: &mut Self::Residue);

    /// Copies one entry of a table. The index is secret and less than the length of the table.
    fn choose(&self, chosen: &mut Self::Residue, table: &[Self::Residue], index: Word);

    /// The number, big-endian, with the length of the prime. Wipes the residue.
    fn finish(&mut self, residue: Self::Residue) -> Zeroizing<Vec<u8>>;
}

type Multiplier<'a> = <BoxedMontyForm as MontyForm>::Multiplier<'a>;

/// The portable arithmetic, by crypto-bigint.
pub(super) struct Portable<'a> {
    params: &'a BoxedMontyParams,
    multiplier: Multiplier<'a>,
}

impl<'a> Portable<'a> {
    pub(super) fn new(params: &'a BoxedMontyParams) -> Self {
        Self { params, multiplier: params.into() }
    }
}

impl Arithmetic for Portable<'_> {
    type Residue = BoxedMontyForm;

    fn residue(&mut self, value: &BigUint) -> BoxedMontyForm {
        let bits = self.params.modulus().bits_precision();
        BoxedMontyForm::new(widened(value, bits), self.params)
    }

    fn multiply(&mut self, a: &mut BoxedMontyForm, b: &BoxedMontyForm) {
        self.multiplier.mul_assign(a, b);
    }

    fn square(&mut self, a: &mut BoxedMontyForm) {
        self.multiplier.square_assign(a);
    }

    fn choose(&self, chosen: &mut BoxedMontyForm, table: &[BoxedMontyForm], index: Word) {
        for (entry, number) in table.iter().zip(Word::MIN..) {
            let wanted = number.ct_eq(&index);
            chosen.as_montgomery_mut().ct_assign(entry.as_montgomery(), wanted);
        }
    }

    fn finish(&mut self, mut residue: BoxedMontyForm) -> Zeroizing<Vec<u8>> {
        let result = Zeroizing::new(residue.retrieve());
        residue.zeroize();
        Zeroizing::new(Vec::from(result.to_be_bytes()))
    }
}

/// Widens a public number to `bits` bits. It must fit.
pub(super) fn widened(value: &BigUint, bits: u32) -> BoxedUint {
    BoxedUint::from_be_slice_truncated(&value.to_bytes_be(), bits)
}

/// Reads `count` bits of a secret number, `step` positions apart, from position `first` upwards.
/// The first bit is the lowest one of the result. The positions are public.
pub(super) fn bits(number: &BoxedUint, first: u32, step: u32, count: u32) -> Word {
    (0..count).fold(0, |bits, at| {
        let position = first + at * step;
        let word = number.as_words().get((position / Word::BITS) as usize).copied().unwrap_or(0);
        bits | ((word >> (position % Word::BITS)) & 1) << at
    })
}
