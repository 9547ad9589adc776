//! Powers of one base, by a table made once: the comb of Lim and Lee (CRYPTO '94).

use crypto_bigint::BoxedUint;
use num_bigint::BigUint;
use zeroize::Zeroize;

use super::arithmetic::Arithmetic;
use super::bits;

/// Into how many rows an exponent is cut; a table entry has one bit of each.
const ROWS: u32 = 6;
/// Into how many blocks a row is cut, each with a table of its own.
///
/// Of what fits into 256 residues, 6 and 4 need the fewest multiplications: 83 for 400 bits.
const BLOCKS: u32 = 4;
/// Entries of one block's table.
const ENTRIES: usize = 1 << ROWS;

/// Powers of a base for exponents of up to so many bits.
pub(super) struct Comb<R> {
    /// The tables of all blocks, one after the other. Bit r of an entry's index stands for the
    /// base to the power 2^(r * row + block * width).
    entries: Vec<R>,
    /// Bits of a block.
    width: u32,
    /// Bits of a row.
    row: u32,
}

impl<R: Clone + Zeroize> Comb<R> {
    /// Makes the tables, which takes as long as one or two exponentiations.
    pub(super) fn new(
        base: &BigUint,
        bits: u32,
        arithmetic: &mut impl Arithmetic<Residue = R>,
    ) -> Self {
        let width = bits.div_ceil(ROWS).div_ceil(BLOCKS);
        let row = width * BLOCKS;
        let mut power = arithmetic.residue(base);
        let mut corners = Vec::new();
        for _ in 0..ROWS * BLOCKS {
            corners.push(power.clone());
            for _ in 0..width {
                arithmetic.square(&mut power);
            }
        }
        let blocks = BLOCKS as usize;
        let mut entries = Vec::with_capacity(blocks * ENTRIES);
        for block in 0..blocks {
            let start = entries.len();
            entries.push(arithmetic.residue(&BigUint::from(1u8)));
            // Each row doubles the table: what is there, without and with this row's bit.
            for corner in corners.iter().skip(block).step_by(blocks) {
                for index in start..entries.len() {
                    let mut entry: R = entries[index].clone();
                    arithmetic.multiply(&mut entry, corner);
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
        arithmetic: &mut impl Arithmetic<Residue = R>,
    ) -> R {
        let mut power = arithmetic.residue(&BigUint::from(1u8));
        let mut chosen = power.clone();
        for step in (0..self.width).rev() {
            arithmetic.square(&mut power);
            for (block, table) in (0..BLOCKS).zip(self.entries.chunks_exact(ENTRIES)) {
                let index = bits(exponent, block * self.width + step, self.row, ROWS);
                arithmetic.choose(&mut chosen, table, index);
                arithmetic.multiply(&mut power, &chosen);
            }
        }
        chosen.zeroize();
        power
    }
}
