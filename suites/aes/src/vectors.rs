//! What a vector kernel for AES does, and how many chains of any lengths fill it.

use std::array;

use vpn_suite::Lane;
use vpn_suite::lanes::{Active, Chain};

use crate::keys::Block;

/// The blocks that take the place of a missing chain. They cost time themselves, so short chains
/// get fewer.
const SPARE_FOR_SHORT: usize = 8;
const SPARE_FOR_LONG: usize = 32;

/// A vector kernel for `WIDTH` blocks at a time. A value is the proof that the processor has its
/// instructions.
pub(crate) trait Vectors<const WIDTH: usize>: Copy + Send {
    /// The name that `vpn speed` shows.
    const NAME: &str;
    /// The number of chains from which on this kernel is faster than one for fewer chains.
    const FEWEST: usize;

    /// Encrypts the chains, which must have the same length, and replaces the chaining values.
    fn encrypt<const KEYS: usize>(
        self,
        keys: &[Block; KEYS],
        ivs: &mut [Block; WIDTH],
        chains: &mut [&mut [Block]; WIDTH],
    );

    /// Decrypts the blocks of one chain and replaces the chaining value.
    fn decrypt<const KEYS: usize>(
        self,
        keys: &[Block; KEYS],
        iv: &mut Block,
        groups: &mut [[Block; WIDTH]],
    );
}

/// Encrypts up to `WIDTH` valid lanes of equal lengths, which is what most batches are.
pub(crate) fn encrypt_equal<V, const KEYS: usize, const WIDTH: usize>(
    vectors: V,
    keys: &[Block; KEYS],
    lanes: &mut [Lane<'_>],
) where
    V: Vectors<WIDTH>,
{
    let mut ivs = [Block::default(); WIDTH];
    let mut chains = array::from_fn(|_| &mut [][..]);
    for ((lane, iv), chain) in lanes.iter_mut().zip(&mut ivs).zip(&mut chains) {
        iv.copy_from_slice(lane.iv);
        (*chain, _) = lane.blocks.as_chunks_mut();
    }
    encrypt_first(vectors, keys, &mut ivs, &mut chains);
    for (lane, iv) in lanes.iter_mut().zip(&ivs) {
        lane.iv.copy_from_slice(iv);
    }
}

/// Encrypts chains of any lengths, until they are too few for this kernel. Returns the chains that
/// are left.
pub(crate) fn encrypt_mixed<'a, V, I, const KEYS: usize, const WIDTH: usize>(
    vectors: V,
    keys: &[Block; KEYS],
    chains: I,
) -> impl Iterator<Item = Chain<'a, Block>>
where
    V: Vectors<WIDTH>,
    I: Iterator<Item = Chain<'a, Block>>,
{
    let mut active = Active::<_, _, WIDTH>::new(chains);
    while active.count() >= V::FEWEST {
        let mut ivs = [Block::default(); WIDTH];
        let mut parts = array::from_fn(|_| &mut [][..]);
        active.begin(&mut ivs, &mut parts);
        encrypt_first(vectors, keys, &mut ivs, &mut parts);
        active.end(&ivs);
    }
    active.into_rest()
}

/// Encrypts chains that are as long as the first one, or empty. The chaining values of empty ones
/// are then meaningless.
fn encrypt_first<V, const KEYS: usize, const WIDTH: usize>(
    vectors: V,
    keys: &[Block; KEYS],
    ivs: &mut [Block; WIDTH],
    chains: &mut [&mut [Block]; WIDTH],
) where
    V: Vectors<WIDTH>,
{
    let steps = chains[0].len();
    if chains[WIDTH - 1].len() == steps {
        vectors.encrypt(keys, ivs, chains);
    } else if steps <= SPARE_FOR_SHORT {
        encrypt_padded::<V, SPARE_FOR_SHORT, KEYS, WIDTH>(vectors, keys, ivs, chains);
    } else {
        encrypt_padded::<V, SPARE_FOR_LONG, KEYS, WIDTH>(vectors, keys, ivs, chains);
    }
}

/// Encrypts chains of equal lengths, and up to `SPARE` useless blocks at a time in place of each
/// empty one. So the kernel needs no branches for empty chains.
fn encrypt_padded<V, const SPARE: usize, const KEYS: usize, const WIDTH: usize>(
    vectors: V,
    keys: &[Block; KEYS],
    ivs: &mut [Block; WIDTH],
    chains: &mut [&mut [Block]; WIDTH],
) where
    V: Vectors<WIDTH>,
{
    let mut spare = [[Block::default(); SPARE]; WIDTH];
    while !chains[0].is_empty() {
        let steps = chains[0].len().min(SPARE);
        let mut parts = array::from_fn(|_| &mut [][..]);
        for ((part, chain), spare) in parts.iter_mut().zip(&mut *chains).zip(&mut spare) {
            *part = chain.split_off_mut(..steps).unwrap_or(&mut spare[..steps]);
        }
        vectors.encrypt(keys, ivs, &mut parts);
    }
}
