//! HMAC-SHA256 (RFC 2104, FIPS 198-1) of several records at once.
//!
//! Each block of a message depends on the block before it. So the SHA unit of the processor is idle
//! half of the time, and a second message fills the gap. For many messages the vector unit is
//! faster: each message gets one lane of the vectors.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod job;
mod sha256;
#[cfg(target_arch = "x86_64")]
pub(crate) mod shani;

use std::fmt;

use sha2::block_api::compress256;
use zeroize::Zeroizing;

use crate::kernels::{Mac, MacKernel};
use job::{HmacStates, Job};
use sha256::{BLOCK, INITIAL};

pub use job::TAG;

/// With this many messages or more, sixteen lanes are faster than pairs: one block in every lane
/// takes 160 ns, a pair of blocks 40 ns.
#[cfg(target_arch = "x86_64")]
const MIN_LANES_OVER_PAIRS: usize = 9;
/// The same limit on a processor without the SHA instructions, where one block takes 150 ns or
/// more.
#[cfg(target_arch = "x86_64")]
const MIN_LANES_OVER_ONE: usize = 2;

/// A key of HMAC-SHA256. Wiped on drop.
///
/// It is kept as the two SHA-256 states after the key block: the inner one and the outer one.
pub struct MacKey {
    states: HmacStates,
    kernel: MacKernel,
}

impl MacKey {
    /// Prepares a key of 32 bytes for a kernel.
    pub fn new(key: &[u8; TAG], kernel: MacKernel) -> Self {
        let start = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress256(&mut state, &[*block]);
            state
        };
        Self { states: HmacStates { inner: start(0x36), outer: start(0x5c) }, kernel }
    }

    /// The kernel that computes the tags.
    pub fn kernel(&self) -> MacKernel {
        self.kernel
    }

    /// The tag of one message: HMAC-SHA256(key, sequence || text), with the sequence number as
    /// eight bytes, big-endian.
    pub fn tag(&self, sequence: u64, text: &[u8]) -> [u8; TAG] {
        self.finish(Job::new(&self.states, sequence, text))
    }

    /// The tags of several messages. `out[i]` becomes the [`tag`](Self::tag) of `messages[i]`.
    ///
    /// If one of the two slices is longer, the rest of it is ignored.
    pub fn tags(&self, messages: &[(u64, &[u8])], out: &mut [[u8; TAG]]) {
        let jobs = messages.iter().map(|&(sequence, text)| Job::new(&self.states, sequence, text));
        let jobs = jobs.zip(out);
        match self.kernel.0 {
            Mac::Portable => self.finish_each(jobs),
            #[cfg(target_arch = "x86_64")]
            Mac::ShaNi(pairs) => self.finish_in_pairs(jobs, pairs),
            #[cfg(target_arch = "x86_64")]
            Mac::Avx512(lanes, Some(pairs)) => {
                let few = self.finish_in_lanes(jobs, lanes, MIN_LANES_OVER_PAIRS);
                self.finish_in_pairs(few.into_iter().flatten(), pairs);
            }
            #[cfg(target_arch = "x86_64")]
            Mac::Avx512(lanes, None) => {
                let few = self.finish_in_lanes(jobs, lanes, MIN_LANES_OVER_ONE);
                self.finish_each(few.into_iter().flatten());
            }
        }
    }

    /// Finishes jobs one after the other.
    fn finish_each<'a, 'o>(&self, jobs: impl Iterator<Item = (Job<'a>, &'o mut [u8; TAG])>) {
        jobs.for_each(|(job, tag)| *tag = self.finish(job));
    }

    /// Finishes one job alone.
    fn finish(&self, mut job: Job<'_>) -> [u8; TAG] {
        loop {
            if let Some(tag) = job.tag() {
                return tag;
            }
            let mut state = job.state();
            let blocks = job.blocks();
            let count = blocks.len();
            compress256(&mut state, blocks);
            job.advance(count, state, &self.states);
        }
    }

    /// Finishes jobs in sixteen lanes. When a job ends, the next one takes its lane. Stops when
    /// fewer than `min_busy` lanes have a job, and returns the unfinished jobs.
    #[cfg(target_arch = "x86_64")]
    fn finish_in_lanes<'a, 'o>(
        &self,
        mut jobs: impl Iterator<Item = (Job<'a>, &'o mut [u8; TAG])>,
        instructions: avx512::Avx512,
        min_busy: usize,
    ) -> [Option<(Job<'a>, &'o mut [u8; TAG])>; avx512::WIDTH] {
        let mut lanes = std::array::from_fn(|_| jobs.next());
        loop {
            let busy = lanes.iter().flatten();
            let Some(count) = busy.clone().map(|(job, _)| job.blocks().len()).min() else {
                return lanes;
            };
            if busy.count() < min_busy {
                return lanes;
            }
            // A lane without a job repeats the first job. Its result is not used.
            let Some((spare, _)) = lanes.iter().flatten().next() else { return lanes };
            let lane_jobs =
                lanes.each_ref().map(|lane| lane.as_ref().map_or(spare, |(job, _)| job));
            let mut states = lane_jobs.map(Job::state);
            let blocks = lane_jobs.map(|job| &job.blocks()[..count]);
            instructions.compress(&mut states, &blocks);
            for (lane, state) in lanes.iter_mut().zip(states) {
                let Some((job, tag)) = lane else { continue };
                job.advance(count, state, &self.states);
                if let Some(done) = job.tag() {
                    **tag = done;
                    *lane = jobs.next();
                }
            }
        }
    }

    /// Finishes jobs two at a time. When a job ends, the next one takes its place.
    #[cfg(target_arch = "x86_64")]
    fn finish_in_pairs<'a, 'o>(
        &self,
        mut jobs: impl Iterator<Item = (Job<'a>, &'o mut [u8; TAG])>,
        instructions: shani::ShaNi,
    ) {
        let Some((mut left, mut left_tag)) = jobs.next() else { return };
        while let Some((mut right, right_tag)) = jobs.next() {
            // This loop ends with the right job. The left job may be replaced on the way.
            let tag = loop {
                if let Some(tag) = right.tag() {
                    break tag;
                }
                if let Some(tag) = left.tag() {
                    *left_tag = tag;
                    match jobs.next() {
                        Some(next) => (left, left_tag) = next,
                        None => {
                            *right_tag = self.finish(right);
                            return;
                        }
                    }
                }
                let (left_blocks, right_blocks) = (left.blocks(), right.blocks());
                let count = left_blocks.len().min(right_blocks.len());
                let mut states = [left.state(), right.state()];
                let blocks = [&left_blocks[..count], &right_blocks[..count]];
                instructions.compress_pair(&mut states, blocks);
                left.advance(count, states[0], &self.states);
                right.advance(count, states[1], &self.states);
            };
            *right_tag = tag;
        }
        *left_tag = self.finish(left);
    }
}

/// Shows the kernel, not the key.
impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("kernel", &self.kernel.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac as _};
    use proptest::prelude::*;
    use sha2::Sha256;
    use vpn_suite::lacking;
    use vpn_suite::testkit::report_kernels;

    use super::*;

    /// The tag by the hmac crate.
    fn reference(key: &[u8; TAG], sequence: u64, text: &[u8]) -> [u8; TAG] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&sequence.to_be_bytes());
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn kernels() -> impl Iterator<Item = MacKernel> {
        MacKernel::all()
    }

    #[test]
    fn each_kernel_is_there_where_it_can_run() {
        let lanes = lacking!("avx512f", "avx512bw");
        let pairs = lacking!("sha", "ssse3", "sse4.1");
        let both = [lanes.clone(), pairs.clone()].concat();
        let mut known = vec![("avx-512 x16, sha-ni x2", both)];
        known.push(("sha-ni x2", pairs.clone()));
        known.push(("avx-512 x16", lanes));
        known.push(("sha2", vec![]));
        let names: Vec<_> = kernels().map(MacKernel::name).collect();
        let can_run = known.iter().filter(|(_, lacking)| lacking.is_empty());
        assert_eq!(names, can_run.map(|(name, _)| *name).collect::<Vec<_>>());
        report_kernels("HMAC-SHA256", &known);
    }

    #[test]
    fn more_messages_than_lanes_and_none_as_long_as_the_next() {
        let text: Vec<u8> = (0..=255).cycle().take(500).collect();
        let count = if cfg!(miri) { 18 } else { 37 };
        let messages: Vec<_> = (0u64..).zip((0..count).map(|at| &text[..13 * at])).collect();
        let key = &[0x22; TAG];
        let expected: Vec<_> = messages.iter().map(|(n, text)| reference(key, *n, text)).collect();
        for kernel in kernels() {
            let mut tags = vec![[0; TAG]; messages.len()];
            MacKey::new(key, kernel).tags(&messages, &mut tags);
            assert_eq!(tags, expected, "{kernel:?}");
        }
    }

    #[test]
    fn tag_of_every_length_around_the_blocks_is_that_of_the_hmac_crate() {
        let key = &[0x4b; TAG];
        let text: Vec<u8> = (0..=255).cycle().take(300).collect();
        for kernel in kernels() {
            let mac = MacKey::new(key, kernel);
            // The interpreter takes a minute for all of them.
            for length in (0..text.len()).step_by(if cfg!(miri) { 29 } else { 1 }) {
                let text = &text[..length];
                let expected = reference(key, 7, text);
                assert_eq!(mac.tag(7, text), expected, "{kernel:?}, {length} bytes");
                let mut tags = [[0; TAG]; 2];
                mac.tags(&[(7, text), (7, text)], &mut tags);
                assert_eq!(tags, [expected; 2], "{kernel:?}, a pair of {length} bytes");
            }
        }
    }

    #[test]
    fn places_left_over_are_not_touched() {
        for kernel in kernels() {
            let mac = MacKey::new(&[1; TAG], kernel);
            let mut tags = [[0xee; TAG]; 3];
            mac.tags(&[(0, b"one"), (1, b"two")], &mut tags);
            assert_eq!(tags, [mac.tag(0, b"one"), mac.tag(1, b"two"), [0xee; TAG]], "{kernel:?}");
            mac.tags(&[], &mut tags[..1]);
            assert_eq!(tags[0], mac.tag(0, b"one"), "{kernel:?}");
            let mut one = [[0; TAG]; 1];
            mac.tags(&[(5, b"one"), (6, b"two")], &mut one);
            assert_eq!(one, [mac.tag(5, b"one")], "{kernel:?}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let mac = MacKey::new(&[0x41; TAG], MacKernel::PORTABLE);
        assert_eq!(format!("{mac:?}"), r#"MacKey { kernel: "sha2", .. }"#);
    }

    proptest! {
        // The interpreter is a thousand times slower.
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

        #[test]
        fn tags_are_those_of_the_hmac_crate(
            key: [u8; TAG],
            first: u64,
            lengths in proptest::collection::vec(
                prop_oneof![0..200usize, 0..if cfg!(miri) { 300 } else { 20_000usize }],
                1..=40,
            ),
            fill: u8,
        ) {
            let texts: Vec<Vec<u8>> = lengths
                .iter()
                .zip(1u8..)
                .map(|(&length, salt)| {
                    (0..=255u8).map(|byte| byte.wrapping_mul(salt) ^ fill).cycle().take(length).collect()
                })
                .collect();
            let numbers = (0..).map(|index| first.wrapping_add(index));
            let messages: Vec<_> = numbers.zip(texts.iter().map(Vec::as_slice)).collect();
            let expected: Vec<_> =
                messages.iter().map(|(sequence, text)| reference(&key, *sequence, text)).collect();
            for kernel in kernels() {
                let mut tags = vec![[0; TAG]; messages.len()];
                MacKey::new(&key, kernel).tags(&messages, &mut tags);
                prop_assert_eq!(&tags, &expected, "{:?}", kernel);
            }
        }
    }
}
