//! Powers of one base with a precomputed table: the comb method of Lim and Lee (CRYPTO '94).

use crypto_bigint::BoxedUint;
use num_bigint::BigUint;
use zeroize::Zeroize;

use super::arithmetic::{Arithmetic, bits};

/// The number of rows of an exponent. The index of a table entry has one bit of each row.
const ROWS: u32 = 6;
/// The number of blocks of a row. Each block has its own table.
///
/// With at most 256 residues in all tables, 6 rows and 4 blocks need the fewest multiplications: 83
/// for 400 bits.
const BLOCKS: u32 = 4;
/// The number of entries in the table of one block.
const ENTRIES: usize = 1 << ROWS;

/// Tables of one base, for exponents up to a fixed length.
pub(super) struct Comb<R> {
    /// The tables of all blocks, one after the other. Bit r of an index stands for the factor
    /// base^(2^(r * row + block * width)).
    entries: Vec<R>,
    /// The size of a block in bits.
    width: u32,
    /// The size of a row in bits.
    row: u32,
}

impl<R: Clone + Zeroize> Comb<R> {
    /// Computes the tables. This takes as long as one or two exponentiations.
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
            // Each row doubles the table: the old entries, without and with the bit of this row.
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

    /// The base to the power of `exponent`, which has at most [`Comb::bits`] bits.
    ///
    /// Takes constant time: each step reads a whole table and does the same two operations.
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
