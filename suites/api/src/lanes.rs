//! CBC encryption of several chains side by side.
//!
//! Within a chain each block waits for the one before, and the units that encrypt are idle for most
//! of that time. Blocks of other chains fill them.

use std::array;
use std::marker::PhantomData;
use std::mem;

use cipher::array::ArraySize;
use cipher::consts::{U2, U4, U8};
use cipher::typenum::Unsigned;
use cipher::{Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser};

/// The most chains side by side. Eight keep a pipelined AES unit busy, and the processor looks far
/// enough ahead to overlap them; with sixteen it no longer does.
const MAX_WIDTH: usize = 8;

/// One chain: its chaining value and the blocks not yet encrypted.
pub(crate) struct Chain<'a, BS: ArraySize> {
    pub(crate) iv: &'a mut Array<u8, BS>,
    pub(crate) blocks: &'a mut [Array<u8, BS>],
}

/// Encrypts all chains that `source` yields, as many at a time as suits the cipher's backend.
pub(crate) struct EncryptLanes<I, BS> {
    source: I,
    block_size: PhantomData<BS>,
}

impl<I, BS> EncryptLanes<I, BS> {
    pub(crate) fn new(source: I) -> Self {
        Self { source, block_size: PhantomData }
    }
}

impl<I, BS: ArraySize> BlockSizeUser for EncryptLanes<I, BS> {
    type BlockSize = BS;
}

impl<'a, I, BS> BlockCipherEncClosure for EncryptLanes<I, BS>
where
    I: Iterator<Item = Chain<'a, BS>>,
    BS: ArraySize,
{
    // All of it is inlined into the backend's function, which is compiled for the instructions that
    // it found at hand; what is not inlined would be compiled without.
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = BS>>(self, backend: &B) {
        let mut active = Active::new(self.source);
        // A backend that takes a few blocks at once interleaves them better than can be done from
        // outside, and takes hardly longer for all of them than for one.
        // One of many blocks has a pipeline that is wide enough for all, and idle blocks cost it
        // little. One of a single block has neither.
        while active.count() > 1 {
            match (B::ParBlocksSize::USIZE, active.count()) {
                (2..=8, _) => active.advance::<AtOnce<B>>(backend),
                (9.., 5..) => active.advance::<OneByOne<B, U8>>(backend),
                (9.., 3..) | (_, 4..) => active.advance::<OneByOne<B, U4>>(backend),
                _ => active.advance::<OneByOne<B, U2>>(backend),
            }
        }
        active.finish(backend);
    }
}

/// A way to encrypt one block of each of several chains.
trait Step {
    type Backend: BlockCipherEncBackend;
    type Width: ArraySize;

    fn encrypt(backend: &Self::Backend, blocks: &mut Blocks<Self>);
}

type Block<S> = Array<u8, <<S as Step>::Backend as BlockSizeUser>::BlockSize>;
type Blocks<S> = Array<Block<S>, <S as Step>::Width>;

/// Leaves it to the backend.
struct AtOnce<B>(PhantomData<B>);

impl<B: BlockCipherEncBackend> Step for AtOnce<B> {
    type Backend = B;
    type Width = B::ParBlocksSize;

    #[inline(always)]
    fn encrypt(backend: &B, blocks: &mut Blocks<Self>) {
        backend.encrypt_par_blocks_inplace(blocks);
    }
}

/// Writes the calls next to each other and leaves it to the processor to overlap them.
struct OneByOne<B, N>(PhantomData<(B, N)>);

impl<B: BlockCipherEncBackend, N: ArraySize> Step for OneByOne<B, N> {
    type Backend = B;
    type Width = N;

    #[inline(always)]
    fn encrypt(backend: &B, blocks: &mut Blocks<Self>) {
        for block in blocks {
            backend.encrypt_block_inplace(block);
        }
    }
}

/// The chains under way, and those still to come.
struct Active<'a, I, BS: ArraySize> {
    source: I,
    /// Those under way come first; each has blocks left.
    chains: [Option<Chain<'a, BS>>; MAX_WIDTH],
    count: usize,
}

impl<'a, I, BS> Active<'a, I, BS>
where
    I: Iterator<Item = Chain<'a, BS>>,
    BS: ArraySize,
{
    #[inline(always)]
    fn new(source: I) -> Self {
        let mut active = Self { source, chains: array::from_fn(|_| None), count: 0 };
        active.refill();
        active
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.count
    }

    /// Puts chains to come into the free places.
    #[inline(always)]
    fn refill(&mut self) {
        while self.count < MAX_WIDTH {
            match self.source.find(|chain| !chain.blocks.is_empty()) {
                Some(chain) => self.chains[self.count] = Some(chain),
                None => break,
            }
            self.count += 1;
        }
    }

    /// Encrypts in the first chains, as many as the step is wide, until one of them is at its end.
    #[inline(always)]
    fn advance<S>(&mut self, backend: &S::Backend)
    where
        S: Step,
        S::Backend: BlockSizeUser<BlockSize = BS>,
    {
        let width = S::Width::USIZE.min(self.count);
        let chosen = self.chains[..width].iter().flatten();
        let steps = chosen.map(|chain| chain.blocks.len()).min().unwrap_or(0);

        // Fewer chains than the step is wide: the rest works on zeros.
        let mut blocks = Blocks::<S>::default();
        let mut parts: Array<&mut [Block<S>], S::Width> = Array::default();
        let chosen = self.chains[..width].iter_mut().flatten();
        for ((chain, part), block) in chosen.zip(&mut parts).zip(&mut blocks) {
            let (now, later) = mem::take(&mut chain.blocks).split_at_mut(steps);
            (*part, chain.blocks) = (now, later);
            block.clone_from(chain.iv);
        }
        for at in 0..steps {
            for (block, part) in blocks.iter_mut().zip(&parts) {
                if let Some(plain) = part.get(at) {
                    xor(block, plain);
                }
            }
            S::encrypt(backend, &mut blocks);
            for (block, part) in blocks.iter().zip(&mut parts) {
                if let Some(place) = part.get_mut(at) {
                    place.clone_from(block);
                }
            }
        }
        for (chain, block) in self.chains[..width].iter_mut().flatten().zip(&blocks) {
            chain.iv.clone_from(block);
        }
        self.retire();
        self.refill();
    }

    /// Takes out what is at its end.
    #[inline(always)]
    fn retire(&mut self) {
        let mut at = 0;
        while at < self.count {
            if self.chains[at].as_ref().is_some_and(|chain| !chain.blocks.is_empty()) {
                at += 1;
            } else {
                self.count -= 1;
                self.chains.swap(at, self.count);
                self.chains[self.count] = None;
            }
        }
    }

    /// Encrypts the last chain, if there is one, with nothing beside it.
    #[inline(always)]
    fn finish<B: BlockCipherEncBackend<BlockSize = BS>>(self, backend: &B) {
        for chain in self.chains.into_iter().flatten() {
            let mut block = chain.iv.clone();
            for place in chain.blocks {
                xor(&mut block, place);
                backend.encrypt_block_inplace(&mut block);
                place.clone_from(&block);
            }
            chain.iv.clone_from(&block);
        }
    }
}

#[inline(always)]
fn xor<BS: ArraySize>(block: &mut Array<u8, BS>, other: &Array<u8, BS>) {
    for (byte, other) in block.iter_mut().zip(other) {
        *byte ^= other;
    }
}
