//! The HMAC of one message as a list of SHA-256 blocks to compress.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sha256::{BLOCK, Block, State};

/// The size of a tag in bytes.
pub const TAG: usize = 32;

/// The size of the sequence number before the text, in bytes.
const SEQUENCE: usize = 8;
/// How many bytes of the text share the first block with the sequence number.
const IN_HEAD: usize = BLOCK - SEQUENCE;

/// The two SHA-256 states of an HMAC key (RFC 2104 §4). Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct HmacStates {
    /// The state after the block `key ^ 36h...`.
    pub(super) inner: State,
    /// The state after the block `key ^ 5ch...`.
    pub(super) outer: State,
}

/// The blocks of one message, and the state to compress them into.
///
/// Whole blocks are read from the text without a copy. The first and the last bytes of the text do
/// not fill a block alone, so they are copied to `edge`.
pub(super) struct Job<'a> {
    state: State,
    phase: Phase,
    /// How many blocks of the current phase are done.
    done: usize,
    /// The first block, then the one or two last blocks. `edge_end` is the end of those in use.
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
    pub(super) fn new(key: &HmacStates, sequence: u64, text: &'a [u8]) -> Self {
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
            // The text is short: it fits into the last blocks.
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

    /// The blocks to compress next. Empty only when the tag is complete.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.run()[self.done..]
    }

    /// Stores the state after the first `count` of [`blocks`](Self::blocks) were compressed.
    pub(super) fn advance(&mut self, count: usize, state: State, key: &HmacStates) {
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

    /// All blocks of the current phase.
    fn run(&self) -> &[Block] {
        match self.phase {
            Phase::Head | Phase::Outer => &self.edge[..1],
            Phase::Middle => self.middle,
            Phase::Tail => &self.edge[1..self.edge_end],
            Phase::Done => &[],
        }
    }

    /// Starts the outer hash: its input is the inner hash.
    fn start_outer(&mut self, key: &HmacStates) {
        let block = &mut self.edge[0];
        block.fill(0);
        block[..TAG].copy_from_slice(&to_bytes(&self.state));
        pad(block, TAG, TAG);
        self.state = key.outer;
    }
}

/// Adds the padding of SHA-256 (FIPS 180-4 §5.1.1) and returns the number of blocks in `tail`.
///
/// The last `end` bytes of the message are in `tail`, followed by zeros. `length` is the size of
/// the message in bytes, without the block that holds the key.
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
