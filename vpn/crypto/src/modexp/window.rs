//! Powers of any base: the fixed-window method.

use crypto_bigint::BoxedUint;
use num_bigint::BigUint;
use zeroize::Zeroize;

use super::arithmetic::{Arithmetic, bits};

/// The size of a window in bits: the exponent bits of one multiplication.
const WIDTH: u32 = 5;

/// The base to the power of the lowest `length` bits of a secret exponent.
///
/// Takes constant time: each step reads the whole table and does the same operations.
pub(super) fn power<A: Arithmetic>(
    base: &BigUint,
    exponent: &BoxedUint,
    length: u32,
    arithmetic: &mut A,
) -> A::Residue {
    let one = arithmetic.residue(&BigUint::from(1u8));
    let base = arithmetic.residue(base);
    let mut table = vec![one.clone()];
    for index in 1..1 << WIDTH {
        let mut entry = table[index - 1].clone();
        arithmetic.multiply(&mut entry, &base);
        table.push(entry);
    }
    let (mut power, mut chosen) = (one.clone(), one);
    for window in (0..length.div_ceil(WIDTH)).rev() {
        for _ in 0..WIDTH {
            arithmetic.square(&mut power);
        }
        let index = bits(exponent, window * WIDTH, 1, WIDTH);
        arithmetic.choose(&mut chosen, &table, index);
        arithmetic.multiply(&mut power, &chosen);
    }
    chosen.zeroize();
    power
}
