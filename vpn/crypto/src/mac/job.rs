//! One message on its way to its tag, cut into runs of blocks.

use super::{BLOCK, Block, MacKey, State, TAG};

/// The bytes of the sequence number that stands before the text.
const SEQUENCE: usize = 8;
/// The bytes of the text that share the first block with it.
const IN_HEAD: usize = BLOCK - SEQUENCE;

/// Blocks to compress, and the state that they are compressed into.
///
/// The text is read where it lies. What does not fill a block of it by itself, its first and last
/// bytes, is put together in blocks aside.
pub(super) struct Job<'a> {
    state: State,
    phase: Phase,
    /// Blocks of the present phase that are done.
    done: usize,
    /// The first block, then one or two last ones of which `edge_end` tells.
    edge: [Block; 3],
    edge_end: usize,
    middle: &'a [Block],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Middle,
    Tail,
    Outer,
    Done,
}

impl<'a> Job<'a> {
    pub(super) fn new(key: &MacKey, sequence: u64, text: &'a [u8]) -> Self {
        let mut edge = [[0; BLOCK]; 3];
        let [head, tail @ ..] = &mut edge;
        let sequence = sequence.to_be_bytes();
        let (phase, middle, rest) = match text.split_first_chunk::<IN_HEAD>() {
            Some((first, rest)) => {
                head[..SEQUENCE].copy_from_slice(&sequence);
                head[SEQUENCE..].copy_from_slice(first);
                let (middle, rest) = rest.as_chunks();
                (Phase::Head, middle, rest)
            }
            // All of it fits into the last blocks.
            None => (Phase::Tail, &[][..], text),
        };
        let tail = tail.as_flattened_mut();
        let mut end = 0;
        if phase == Phase::Tail {
            tail[..SEQUENCE].copy_from_slice(&sequence);
            end = SEQUENCE;
        }
        tail[end..][..rest.len()].copy_from_slice(rest);
        end += rest.len();
        let blocks = pad(tail, end, SEQUENCE + text.len());
        Self { state: key.inner, phase, done: 0, edge, edge_end: 1 + blocks, middle }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The blocks to compress next; not empty before the tag is there.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.run()[self.done..]
    }

    /// Takes the state after so many of [`blocks`](Self::blocks).
    pub(super) fn advance(&mut self, count: usize, state: State, key: &MacKey) {
        self.state = state;
        self.done += count;
        while self.done == self.run().len() && self.phase != Phase::Done {
            self.done = 0;
            self.phase = match self.phase {
                Phase::Head => Phase::Middle,
                Phase::Middle => Phase::Tail,
                Phase::Tail => {
                    self.start_outer(key);
                    Phase::Outer
                }
                Phase::Outer | Phase::Done => Phase::Done,
            };
        }
    }

    /// The tag, once all blocks are compressed.
    pub(super) fn tag(&self) -> Option<[u8; TAG]> {
        (self.phase == Phase::Done).then(|| to_bytes(&self.state))
    }

    /// All blocks of the present phase.
    fn run(&self) -> &[Block] {
        match self.phase {
            Phase::Head | Phase::Outer => &self.edge[..1],
            Phase::Middle => self.middle,
            Phase::Tail => &self.edge[1..self.edge_end],
            Phase::Done => &[],
        }
    }

    /// Goes over to the hash of the hash.
    fn start_outer(&mut self, key: &MacKey) {
        let block = &mut self.edge[0];
        block.fill(0);
        block[..TAG].copy_from_slice(&to_bytes(&self.state));
        pad(block, TAG, TAG);
        self.state = key.outer;
    }
}

/// Ends a hash (FIPS 180-4 §5.1.1) whose last `end` bytes are in `tail`, zeros behind them, and tells
/// how many blocks that makes. `length` bytes are hashed, besides the block that the key filled.
fn pad(tail: &mut [u8], end: usize, length: usize) -> usize {
    tail[end] = 0x80;
    let blocks = (end + 1 + 8).div_ceil(BLOCK);
    let bits = (BLOCK as u64 + length as u64) * 8;
    tail[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
    blocks
}

fn to_bytes(state: &State) -> [u8; TAG] {
    let mut bytes = [0; TAG];
    let (words, _) = bytes.as_chunks_mut::<4>();
    words.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    bytes
}
