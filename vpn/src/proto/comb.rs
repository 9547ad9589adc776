//! Powers of one base, by a table made once: the comb of Lim and Lee (CRYPTO '94).

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, CtAssign, CtEq, MontyForm, MontyMultiplier, Word};
use zeroize::{Zeroize, Zeroizing};

type Multiplier<'a> = <BoxedMontyForm as MontyForm>::Multiplier<'a>;

/// Into how many rows an exponent is cut; a table entry has one bit of each.
const ROWS: u32 = 6;
/// Into how many blocks a row is cut, each with a table of its own.
///
/// Of what fits into 256 KiB at 8192 bits, 6 and 4 need the fewest multiplications: 83 for 400 bits.
const BLOCKS: u32 = 4;
/// Entries of one block's table.
const ENTRIES: usize = 1 << ROWS;

/// Powers of a base for exponents of up to so many bits.
pub(super) struct Comb {
    /// The tables of all blocks, one after the other. Bit r of an entry's index stands for the
    /// base to the power 2^(r * row + block * width).
    entries: Vec<BoxedMontyForm>,
    /// Bits of a block.
    width: u32,
    /// Bits of a row.
    row: u32,
}

impl Comb {
    /// Makes the tables, which takes as long as one or two exponentiations.
    pub(super) fn new(base: &BoxedUint, bits: u32, params: &BoxedMontyParams) -> Self {
        let width = bits.div_ceil(ROWS).div_ceil(BLOCKS);
        let row = width * BLOCKS;
        let mut multiplier = Multiplier::from(params);
        let mut power = BoxedMontyForm::new(base.clone(), params);
        let mut corners = Vec::new();
        for _ in 0..ROWS * BLOCKS {
            corners.push(power.clone());
            for _ in 0..width {
                multiplier.square_assign(&mut power);
            }
        }
        let blocks = BLOCKS as usize;
        let mut entries = Vec::with_capacity(blocks * ENTRIES);
        for block in 0..blocks {
            let start = entries.len();
            entries.push(BoxedMontyForm::one(params));
            // Each row doubles the table: what is there, without and with this row's bit.
            for corner in corners.iter().skip(block).step_by(blocks) {
                for index in start..entries.len() {
                    let mut entry: BoxedMontyForm = entries[index].clone();
                    multiplier.mul_assign(&mut entry, corner);
                    entries.push(entry);
                }
            }
        }
        Self { entries, width, row }
    }

    /// The longest exponent in bits.
    pub(super) fn bits(&self) -> u32 {
        self.row * ROWS
    }

    /// The base to the power of `exponent`, of which the first [`Comb::bits`] bits count.
    ///
    /// In constant time: every step reads a whole table, and takes the same two operations.
    pub(super) fn power(
        &self,
        exponent: &BoxedUint,
        params: &BoxedMontyParams,
    ) -> Zeroizing<BoxedUint> {
        let mut multiplier = Multiplier::from(params);
        let mut power = BoxedMontyForm::one(params);
        let mut chosen = power.clone();
        for step in (0..self.width).rev() {
            multiplier.square_assign(&mut power);
            for (block, table) in (0..BLOCKS).zip(self.entries.chunks_exact(ENTRIES)) {
                let first = block * self.width + step;
                let index = (0..ROWS)
                    .fold(0, |index, row| index | (bit(exponent, first + row * self.row) << row));
                for (entry, number) in table.iter().zip(Word::MIN..) {
                    let wanted = number.ct_eq(&index);
                    chosen.as_montgomery_mut().ct_assign(entry.as_montgomery(), wanted);
                }
                multiplier.mul_assign(&mut power, &chosen);
            }
        }
        let result = Zeroizing::new(power.retrieve());
        power.zeroize();
        chosen.zeroize();
        result
    }
}

/// One bit of a secret number; its position is no secret.
fn bit(number: &BoxedUint, position: u32) -> Word {
    let word = number.as_words().get((position / Word::BITS) as usize).copied().unwrap_or(0);
    (word >> (position % Word::BITS)) & 1
}
