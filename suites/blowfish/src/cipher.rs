//! The block cipher, on several blocks in parallel.
//!
//! A round mostly waits for its table lookups. Rounds of other blocks use that time.

use std::fmt;

use cipher::consts::{U4, U8};
use cipher::inout::InOut;
use cipher::typenum::Unsigned;
use cipher::{
    Array, Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt,
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, ParBlocks,
    ParBlocksSizeUser,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::pi;

/// The number of blocks in parallel.
type Width = U4;
const WIDTH: usize = Width::USIZE;

/// The left half of a block, and the right one.
type Halves = (u32, u32);

/// A keyed Blowfish cipher.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Blowfish {
    subkeys: [u32; 18],
    boxes: [[u32; 256]; 4],
}

impl Blowfish {
    /// Runs the key schedule. The key must not be empty.
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut this = Self { subkeys: pi::P, boxes: pi::S };
        let mut key = key.iter().cycle();
        for subkey in &mut this.subkeys {
            for (at, byte) in key.by_ref().take(4).enumerate() {
                *subkey ^= u32::from(*byte) << (24 - 8 * at);
            }
        }
        // Each pair of words becomes the encryption of the pair before it, the first that of zeros.
        let mut halves = [(0, 0)];
        for at in (0..this.subkeys.len()).step_by(2) {
            halves = this.encrypt(halves);
            [(this.subkeys[at], this.subkeys[at + 1])] = halves;
        }
        for number in 0..this.boxes.len() {
            for at in (0..this.boxes[number].len()).step_by(2) {
                halves = this.encrypt(halves);
                [(this.boxes[number][at], this.boxes[number][at + 1])] = halves;
            }
        }
        this
    }

    #[inline(always)]
    fn encrypt<const N: usize>(&self, halves: [Halves; N]) -> [Halves; N] {
        let [first, middle @ .., last] = &self.subkeys;
        let (pairs, _) = middle.as_chunks();
        self.rounds(halves, *first, pairs.iter().copied(), *last)
    }

    #[inline(always)]
    fn decrypt<const N: usize>(&self, halves: [Halves; N]) -> [Halves; N] {
        let [last, middle @ .., first] = &self.subkeys;
        let (pairs, _) = middle.as_chunks();
        self.rounds(halves, *first, pairs.iter().rev().map(|&[odd, even]| [even, odd]), *last)
    }

    /// Sixteen rounds in pairs, which need no swap of the halves. The XOR with a subkey comes one
    /// round early, where it delays nothing.
    #[inline(always)]
    fn rounds<const N: usize>(
        &self,
        mut halves: [Halves; N],
        first: u32,
        middle: impl Iterator<Item = [u32; 2]>,
        last: u32,
    ) -> [Halves; N] {
        for (left, _) in &mut halves {
            *left ^= first;
        }
        for [even, odd] in middle {
            for (left, right) in &mut halves {
                *right ^= even;
                *right ^= self.look_up(*left);
            }
            for (left, right) in &mut halves {
                *left ^= odd;
                *left ^= self.look_up(*right);
            }
        }
        halves.map(|(left, right)| (right ^ last, left))
    }

    #[inline(always)]
    fn look_up(&self, half: u32) -> u32 {
        let half = half as usize;
        let [first, second, third, fourth] = &self.boxes;
        let sum = first[half >> 24 & 0xff].wrapping_add(second[half >> 16 & 0xff]);
        (sum ^ third[half >> 8 & 0xff]).wrapping_add(fourth[half & 0xff])
    }
}

impl BlockSizeUser for Blowfish {
    type BlockSize = U8;
}

impl ParBlocksSizeUser for Blowfish {
    type ParBlocksSize = Width;
}

impl BlockCipherEncrypt for Blowfish {
    #[inline]
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U8>) {
        f.call(self);
    }
}

impl BlockCipherDecrypt for Blowfish {
    #[inline]
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U8>) {
        f.call(self);
    }
}

impl BlockCipherEncBackend for Blowfish {
    #[inline(always)]
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        on_one(block, |halves| self.encrypt(halves));
    }

    #[inline(always)]
    fn encrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
        on_many(blocks, |halves| self.encrypt(halves));
    }
}

impl BlockCipherDecBackend for Blowfish {
    #[inline(always)]
    fn decrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        on_one(block, |halves| self.decrypt(halves));
    }

    #[inline(always)]
    fn decrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
        on_many(blocks, |halves| self.decrypt(halves));
    }
}

#[inline(always)]
fn on_one(mut block: InOut<'_, '_, Array<u8, U8>>, f: impl FnOnce([Halves; 1]) -> [Halves; 1]) {
    let [halves] = f([to_halves(*block.get_in())]);
    *block.get_out() = to_block(halves);
}

#[inline(always)]
fn on_many(
    mut blocks: InOut<'_, '_, Array<Array<u8, U8>, Width>>,
    f: impl FnOnce([Halves; WIDTH]) -> [Halves; WIDTH],
) {
    let halves = f(blocks.get_in().0.map(to_halves));
    *blocks.get_out() = Array(halves.map(to_block));
}

#[inline(always)]
fn to_halves(Array([a, b, c, d, e, f, g, h]): Array<u8, U8>) -> Halves {
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

#[inline(always)]
fn to_block((left, right): Halves) -> Array<u8, U8> {
    Array((u64::from(left) << 32 | u64::from(right)).to_be_bytes())
}

/// Does not show the key.
impl fmt::Debug for Blowfish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blowfish").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cipher::KeyInit;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 128 }))]

        #[test]
        fn blocks_and_their_neighbours_are_encrypted_as_in_the_blowfish_crate(
            key in prop::collection::vec(any::<u8>(), 4..=56),
            blocks in prop::collection::vec(any::<[u8; 8]>(), 1..=9),
        ) {
            let blocks: Vec<Array<u8, U8>> = blocks.into_iter().map(Array).collect();
            let reference = <blowfish::Blowfish>::new_from_slice(&key).unwrap();
            let mut expected = blocks.clone();
            reference.encrypt_blocks(&mut expected);
            let cipher = Blowfish::new(&key);
            let mut text = blocks.clone();
            cipher.encrypt_blocks(&mut text);
            prop_assert_eq!(&text, &expected);
            cipher.decrypt_blocks(&mut text);
            prop_assert_eq!(&text, &blocks);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Blowfish::new(&[0x41; 16])), "Blowfish { .. }");
    }
}
