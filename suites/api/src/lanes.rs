//! CBC encryption of several chains in parallel.
//!
//! In a chain each block depends on the one before, so the execution units of the processor are
//! mostly idle. Blocks of other chains can use them. [`Cbc`](crate::Cbc) does this for any cipher.
//! A suite with a special kernel can use [`Active`] to feed it with chains.

use std::array;
use std::fmt;
use std::marker::PhantomData;
use std::mem;

use cipher::array::ArraySize;
use cipher::consts::{U2, U4, U8};
use cipher::typenum::Unsigned;
use cipher::{Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser};

/// The maximum number of chains that [`EncryptLanes`] interleaves.
const MAX_WIDTH: usize = 8;

/// A chain of blocks of type `T`: the chaining value and the blocks that are not yet encrypted.
pub struct Chain<'a, T> {
    /// The chaining value. It is replaced by the next one.
    pub iv: &'a mut T,
    /// The blocks, which are encrypted in place.
    pub blocks: &'a mut [T],
}

/// Up to `N` active chains and a source of more. When a chain ends, the next one replaces it.
pub struct Active<'a, I, T, const N: usize> {
    source: I,
    /// The active chains come first. Each of them has blocks left.
    chains: [Option<Chain<'a, T>>; N],
    count: usize,
}

// All of this must be inlined into the loop of a kernel, because the kernel is compiled for special
// instructions.
impl<'a, I, T, const N: usize> Active<'a, I, T, N>
where
    I: Iterator<Item = Chain<'a, T>>,
    T: Clone,
{
    /// Takes the first chains from the source.
    #[inline(always)]
    pub fn new(source: I) -> Self {
        let mut active = Self { source, chains: array::from_fn(|_| None), count: 0 };
        active.refill();
        active
    }

    /// Returns the number of active chains. It is below `N` only if the source has no more.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Copies the chaining values and moves the next blocks of the first chains to `ivs` and
    /// `parts`, for as many chains as fit. Returns the number of blocks of each chain. Unused
    /// places stay as they are.
    ///
    /// Call [`end`](Self::end) afterwards.
    #[inline(always)]
    pub fn begin(&mut self, ivs: &mut [T], parts: &mut [&'a mut [T]]) -> usize {
        let room = ivs.len().min(parts.len());
        let chosen = self.chains.iter().flatten().take(room);
        let steps = chosen.map(|chain| chain.blocks.len()).min().unwrap_or(0);
        let chosen = self.chains.iter_mut().flatten();
        for ((chain, part), iv) in chosen.zip(parts).zip(ivs) {
            let (now, later) = mem::take(&mut chain.blocks).split_at_mut(steps);
            (*part, chain.blocks) = (now, later);
            iv.clone_from(chain.iv);
        }
        steps
    }

    /// Stores the chaining values back, and replaces chains that have ended.
    #[inline(always)]
    pub fn end(&mut self, ivs: &[T]) {
        for (chain, iv) in self.chains.iter_mut().flatten().zip(ivs) {
            chain.iv.clone_from(iv);
        }
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
        self.refill();
    }

    /// Returns the active chains and then the rest of the source.
    #[inline(always)]
    pub fn into_rest(self) -> impl Iterator<Item = Chain<'a, T>> {
        self.chains.into_iter().flatten().chain(self.source)
    }

    #[inline(always)]
    fn refill(&mut self) {
        while self.count < N {
            match self.source.find(|chain| !chain.blocks.is_empty()) {
                Some(chain) => self.chains[self.count] = Some(chain),
                None => break,
            }
            self.count += 1;
        }
    }
}

/// Shows the number of chains, never the data.
impl<I, T, const N: usize> fmt::Debug for Active<'_, I, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Shows lengths, never the data.
impl<T> fmt::Debug for Chain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

/// Encrypts all chains of `source`, with an interleaving that suits the cipher's backend.
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
    I: Iterator<Item = Chain<'a, Array<u8, BS>>>,
    BS: ArraySize,
{
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = BS>>(self, backend: &B) {
        let mut active = Active::<_, _, MAX_WIDTH>::new(self.source);
        // A backend for a few blocks interleaves them better than we could, and all of them take
        // hardly longer than one. A backend for many blocks has a pipeline in which idle blocks
        // cost little. Eight single blocks keep it busy, and the processor looks far enough ahead
        // to overlap them; it does not with sixteen. A backend for a single block has neither
        // advantage.
        while active.count() > 1 {
            match (B::ParBlocksSize::USIZE, active.count()) {
                (2..=MAX_WIDTH, _) => advance::<AtOnce<B>, _>(&mut active, backend),
                (0..=MAX_WIDTH, 4..) => advance::<OneByOne<B, U4>, _>(&mut active, backend),
                (_, 5..) => advance::<OneByOne<B, U8>, _>(&mut active, backend),
                (_, 3..) => advance::<OneByOne<B, U4>, _>(&mut active, backend),
                _ => advance::<OneByOne<B, U2>, _>(&mut active, backend),
            }
        }
        for chain in active.into_rest() {
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

/// A method to encrypt one block of each of several chains.
trait Step {
    type Backend: BlockCipherEncBackend;
    type Width: ArraySize;

    fn encrypt(backend: &Self::Backend, blocks: &mut Blocks<Self>);
}

type Block<S> = Array<u8, <<S as Step>::Backend as BlockSizeUser>::BlockSize>;
type Blocks<S> = Array<Block<S>, <S as Step>::Width>;

/// The backend encrypts all blocks in one call.
struct AtOnce<B>(PhantomData<B>);

impl<B: BlockCipherEncBackend> Step for AtOnce<B> {
    type Backend = B;
    type Width = B::ParBlocksSize;

    #[inline(always)]
    fn encrypt(backend: &B, blocks: &mut Blocks<Self>) {
        backend.encrypt_par_blocks_inplace(blocks);
    }
}

/// One call follows another, and the processor overlaps them.
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

/// Encrypts the first chains, as many as the step is wide, until one of them ends.
#[inline(always)]
fn advance<'a, S, I>(active: &mut Active<'a, I, Block<S>, MAX_WIDTH>, backend: &S::Backend)
where
    S: Step,
    I: Iterator<Item = Chain<'a, Block<S>>>,
{
    // If there are fewer chains than the step is wide, the other places encrypt zeros.
    let mut blocks = Blocks::<S>::default();
    let mut parts: Array<&mut [Block<S>], S::Width> = Array::default();
    let steps = active.begin(&mut blocks, &mut parts);
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
    active.end(&blocks);
}

#[inline(always)]
fn xor<BS: ArraySize>(block: &mut Array<u8, BS>, other: &Array<u8, BS>) {
    for (byte, other) in block.iter_mut().zip(other) {
        *byte ^= other;
    }
}
