//! Arithmetic modulo a prime, as the algorithms for powers need it.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, CtAssign, CtEq, MontyForm, MontyMultiplier, Word};
use num_bigint::BigUint;
use zeroize::{Zeroize, Zeroizing};

/// Multiplies residues of one prime, which may be secret: what it does and which memory it touches is
/// the same for all of them.
pub(super) trait Arithmetic {
    /// A number modulo the prime, in whatever form is best.
    type Residue: Clone + Zeroize;

    /// The residue of a number below the prime that is no secret.
    fn residue(&mut self, value: &BigUint) -> Self::Residue;

    /// `a = a * b`.
    fn multiply(&mut self, a: &mut Self::Residue, b: &Self::Residue);

    /// `a = a * a`.
    fn square(&mut self, a: &mut Self::Residue);

    /// Copies the entry of this index, a secret below the length of the table.
    fn choose(&self, chosen: &mut Self::Residue, table: &[Self::Residue], index: Word);

    /// The number, big-endian, as many bytes as the prime has; wipes the residue.
    fn finish(&mut self, residue: Self::Residue) -> Zeroizing<Vec<u8>>;
}

type Multiplier<'a> = <BoxedMontyForm as MontyForm>::Multiplier<'a>;

/// What every machine can do, by crypto-bigint.
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

/// Widens a public number to `bits`, which must be enough for it.
pub(super) fn widened(value: &BigUint, bits: u32) -> BoxedUint {
    BoxedUint::from_be_slice_truncated(&value.to_bytes_be(), bits)
}
