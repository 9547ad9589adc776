//! The block ciphers DES (FIPS 46-3) and Triple DES (NIST SP 800-67), on several blocks in
//! parallel.
//!
//! **Hazard**: exhaustive search finds a DES key in hours. The S-boxes are tables, and secret bits
//! are the indices, so the time is not constant. This crate is for peers that have nothing better.
//!
//! A round mostly waits for its table lookups. Rounds of other blocks use that time. Both halves of
//! a block stay expanded to 48 bits from the first round to the last, so a round is only one XOR
//! with the round key and eight lookups.

#![forbid(unsafe_code)]

mod tables;

use std::fmt;

use cipher::consts::{U4, U8};
use cipher::inout::InOut;
use cipher::typenum::Unsigned;
use cipher::{
    Array, Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt,
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, ParBlocks,
    ParBlocksSizeUser,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use tables::{BOXES, PC1, PC2, TURNS, expand};

/// The number of blocks in parallel.
type Width = U4;
const WIDTH: usize = Width::USIZE;

/// Half a block, expanded to eight groups of six bits in a byte each. The first is the highest
/// byte.
type Half = u64;

/// The sixteen round keys of DES, in the layout of [`Half`].
type Rounds = [Half; 16];

/// DES applied `STAGES` times, encryption and decryption in turn.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Des<const STAGES: usize> {
    stages: [Rounds; STAGES],
}

impl Des<1> {
    /// Single DES. The lowest bit of each key byte is a parity bit, which is ignored.
    pub fn new(key: &[u8; 8]) -> Self {
        Self { stages: [*rounds(key)] }
    }
}

impl Des<3> {
    /// Triple DES: encrypts with the first key, decrypts with the second, encrypts with the third.
    pub fn new([first, second, third]: &[[u8; 8]; 3]) -> Self {
        let mut this = Self { stages: [*rounds(first), *rounds(second), *rounds(third)] };
        this.stages[1].reverse();
        this
    }
}

impl<const STAGES: usize> Des<STAGES> {
    #[inline(always)]
    fn encrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N] {
        let mut halves = blocks.map(initial_permutation);
        for stage in &self.stages {
            for [even, odd] in stage.as_chunks().0 {
                two_rounds(&mut halves, *even, *odd);
            }
            halves = halves.map(|(left, right)| (right, left));
        }
        halves.map(final_permutation)
    }

    #[inline(always)]
    fn decrypt<const N: usize>(&self, blocks: [u64; N]) -> [u64; N] {
        let mut halves = blocks.map(initial_permutation);
        for stage in self.stages.iter().rev() {
            for [even, odd] in stage.as_chunks().0.iter().rev() {
                two_rounds(&mut halves, *odd, *even);
            }
            halves = halves.map(|(left, right)| (right, left));
        }
        halves.map(final_permutation)
    }
}

/// Two rounds in place. The standard swaps the halves after each round; two swaps cancel out.
#[inline(always)]
fn two_rounds<const N: usize>(halves: &mut [(Half, Half); N], first: Half, second: Half) {
    for (left, right) in &mut *halves {
        *left ^= look_up(*right ^ first);
    }
    for (left, right) in halves {
        *right ^= look_up(*left ^ second);
    }
}

#[inline(always)]
fn look_up(half: Half) -> Half {
    let bytes = half.to_be_bytes();
    let mut found = 0;
    for (byte, table) in bytes.iter().zip(&BOXES) {
        found ^= table[usize::from(*byte)];
    }
    found
}

/// The inverse of [`expand`]: removes the neighbours' bits.
#[inline(always)]
fn contract(half: Half) -> u32 {
    let mut fours = (half >> 1) & 0x0f0f_0f0f_0f0f_0f0f;
    fours = (fours | fours >> 4) & 0x00ff_00ff_00ff_00ff;
    pack(fours)
}

/// IP: transposes the block as a square of 8×8 bits. The even rows are the left half.
#[inline(always)]
fn initial_permutation(block: u64) -> (Half, Half) {
    let rows = transpose(block.swap_bytes());
    let half = |bytes: u64| expand(pack(bytes & EVERY_OTHER_BYTE));
    (half(rows), half(rows >> 8))
}

/// The inverse of IP.
#[inline(always)]
fn final_permutation((left, right): (Half, Half)) -> u64 {
    transpose(unpack(contract(left)) | unpack(contract(right)) << 8).swap_bytes()
}

const EVERY_OTHER_BYTE: u64 = 0x00ff_00ff_00ff_00ff;

/// Packs every other byte into a word.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what is cut off was moved to the lower half")]
fn pack(mut bytes: u64) -> u32 {
    bytes = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    (bytes | bytes >> 16) as u32
}

#[inline(always)]
fn unpack(word: u32) -> u64 {
    let mut bytes = u64::from(word);
    bytes = (bytes | bytes << 16) & 0x0000_ffff_0000_ffff;
    (bytes | bytes << 8) & EVERY_OTHER_BYTE
}

/// Transposes a square of 8×8 bits: swaps squares of one bit, then of two, then of four.
#[inline(always)]
fn transpose(mut square: u64) -> u64 {
    for (distance, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let difference = (square ^ (square >> distance)) & mask;
        square ^= difference ^ (difference << distance);
    }
    square
}

/// The key schedule.
fn rounds(key: &[u8; 8]) -> Zeroizing<Rounds> {
    let key = Zeroizing::new(u64::from_be_bytes(*key));
    let mut halves = Zeroizing::new([0u32; 2]);
    for (at, bit) in PC1.iter().enumerate() {
        let half = &mut halves[at / 28];
        *half = *half << 1 | u32::from(*key >> (64 - bit) & 1 == 1);
    }
    let mut rounds = Zeroizing::new([0; 16]);
    for (round, turns) in rounds.iter_mut().zip(TURNS) {
        for half in halves.iter_mut() {
            *half = (*half << turns | *half >> (28 - turns)) & 0x0fff_ffff;
        }
        let both = Zeroizing::new(u64::from(halves[0]) << 28 | u64::from(halves[1]));
        for (at, bit) in PC2.iter().enumerate() {
            // Six bits in each byte.
            *round = *round << if at % 6 == 0 { 3 } else { 1 } | (*both >> (56 - bit) & 1);
        }
    }
    rounds
}

impl<const STAGES: usize> BlockSizeUser for Des<STAGES> {
    type BlockSize = U8;
}

impl<const STAGES: usize> ParBlocksSizeUser for Des<STAGES> {
    type ParBlocksSize = Width;
}

impl<const STAGES: usize> BlockCipherEncrypt for Des<STAGES> {
    #[inline]
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U8>) {
        f.call(self);
    }
}

impl<const STAGES: usize> BlockCipherDecrypt for Des<STAGES> {
    #[inline]
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U8>) {
        f.call(self);
    }
}

impl<const STAGES: usize> BlockCipherEncBackend for Des<STAGES> {
    #[inline(always)]
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        on_one(block, |number| self.encrypt(number));
    }

    #[inline(always)]
    fn encrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
        on_many(blocks, |numbers| self.encrypt(numbers));
    }
}

impl<const STAGES: usize> BlockCipherDecBackend for Des<STAGES> {
    #[inline(always)]
    fn decrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        on_one(block, |number| self.decrypt(number));
    }

    #[inline(always)]
    fn decrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
        on_many(blocks, |numbers| self.decrypt(numbers));
    }
}

#[inline(always)]
fn on_one(mut block: InOut<'_, '_, Array<u8, U8>>, f: impl FnOnce([u64; 1]) -> [u64; 1]) {
    let [number] = f([u64::from_be_bytes(block.get_in().0)]);
    *block.get_out() = Array(number.to_be_bytes());
}

#[inline(always)]
fn on_many(
    mut blocks: InOut<'_, '_, Array<Array<u8, U8>, Width>>,
    f: impl FnOnce([u64; WIDTH]) -> [u64; WIDTH],
) {
    let numbers = f(blocks.get_in().0.map(|block| u64::from_be_bytes(block.0)));
    *blocks.get_out() = Array(numbers.map(|number| Array(number.to_be_bytes())));
}

/// Does not show the key.
impl<const STAGES: usize> fmt::Debug for Des<STAGES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Des").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cipher::KeyInit;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

        #[test]
        fn blocks_and_their_neighbours_are_encrypted_as_in_the_des_crate(
            keys: [[u8; 8]; 3],
            blocks in prop::collection::vec(any::<[u8; 8]>(), 1..=9),
        ) {
            let blocks: Vec<Array<u8, U8>> = blocks.into_iter().map(Array).collect();
            let reference = des::TdesEde3::new_from_slice(keys.as_flattened()).unwrap();
            check(&Des::<3>::new(&keys), &reference, &blocks)?;
            let reference = des::Des::new_from_slice(&keys[0]).unwrap();
            check(&Des::<1>::new(&keys[0]), &reference, &blocks)?;
        }
    }

    fn check<C>(
        cipher: &(impl BlockCipherEncrypt<BlockSize = U8> + BlockCipherDecrypt),
        reference: &C,
        blocks: &[Array<u8, U8>],
    ) -> Result<(), TestCaseError>
    where
        C: BlockCipherEncrypt<BlockSize = U8>,
    {
        let mut expected = blocks.to_vec();
        reference.encrypt_blocks(&mut expected);
        let mut text = blocks.to_vec();
        cipher.encrypt_blocks(&mut text);
        prop_assert_eq!(&text, &expected);
        cipher.decrypt_blocks(&mut text);
        prop_assert_eq!(&text, blocks);
        Ok(())
    }

    #[test]
    fn example_of_the_field_comes_out() {
        // Grabbe, The DES Algorithm Illustrated, 1992.
        let cipher = Des::<1>::new(&0x1334_5779_9bbc_dff1_u64.to_be_bytes());
        let mut block = Array(0x0123_4567_89ab_cdef_u64.to_be_bytes());
        BlockCipherEncrypt::encrypt_block(&cipher, &mut block);
        assert_eq!(u64::from_be_bytes(block.0), 0x85e8_1354_0f0a_b405);
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", Des::<1>::new(&[0x41; 8])), "Des { .. }");
    }
}
