//! HMAC-SHA256 (RFC 2104) of several records side by side.
//!
//! The blocks of one message wait for each other, and the unit that computes SHA-256 is idle for
//! half that time; a second message fills it. Many messages are better off without that unit, each in
//! a lane of its own of the processor's vectors.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod job;
#[cfg(target_arch = "x86_64")]
pub(crate) mod shani;

use std::fmt;

use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::kernels::{Mac as Way, MacKernel as Kernel};
use job::Job;

/// The bytes of a tag.
pub const TAG: usize = 32;
/// The bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// From how many messages on lanes take less time than pairs: a block of each lane takes 160 ns, a pair
/// of blocks 40.
#[cfg(target_arch = "x86_64")]
const MORE_THAN_PAIRS: usize = 9;
/// The same where there is nothing for pairs, and a block takes 150 ns or more.
#[cfg(target_arch = "x86_64")]
const MORE_THAN_ONE: usize = 2;

/// The chaining value of SHA-256.
type State = [u32; 8];
/// Its input.
type Block = [u8; BLOCK];

/// A key of HMAC-SHA256, in the form of the two hashes that begin with it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MacKey {
    inner: State,
    outer: State,
    #[zeroize(skip)]
    kernel: Kernel,
}

impl MacKey {
    /// Takes the key up.
    pub fn new(key: &[u8; TAG], kernel: Kernel) -> Self {
        let start = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            compress256(&mut state, &[*block]);
            state
        };
        Self { inner: start(0x36), outer: start(0x5c), kernel }
    }

    /// How it computes.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The tag of a sequence number, in eight bytes, and what follows it.
    pub fn tag(&self, sequence: u64, text: &[u8]) -> [u8; TAG] {
        self.finish(Job::new(self, sequence, text))
    }

    /// The tags of several messages, each as [`tag`](Self::tag) makes it, in `out`'s order.
    ///
    /// Messages and places for tags come in pairs; what is left over on either side is not touched.
    pub fn tags(&self, messages: &[(u64, &[u8])], out: &mut [[u8; TAG]]) {
        let jobs = messages.iter().map(|&(sequence, text)| Job::new(self, sequence, text));
        let jobs = jobs.zip(out);
        match self.kernel.0 {
            Way::Portable => self.finish_each(jobs),
            #[cfg(target_arch = "x86_64")]
            Way::ShaNi(pairs) => self.finish_in_pairs(jobs, pairs),
            #[cfg(target_arch = "x86_64")]
            Way::Avx512(lanes, Some(pairs)) => {
                let few = self.finish_in_lanes(jobs, lanes, MORE_THAN_PAIRS);
                self.finish_in_pairs(few.into_iter().flatten(), pairs);
            }
            #[cfg(target_arch = "x86_64")]
            Way::Avx512(lanes, None) => {
                let few = self.finish_in_lanes(jobs, lanes, MORE_THAN_ONE);
                self.finish_each(few.into_iter().flatten());
            }
        }
    }

    /// Does jobs one after the other.
    fn finish_each<'a, 'o>(&self, jobs: impl Iterator<Item = (Job<'a>, &'o mut [u8; TAG])>) {
        jobs.for_each(|(job, tag)| *tag = self.finish(job));
    }

    /// Does the rest of a job with nothing beside it.
    fn finish(&self, mut job: Job<'_>) -> [u8; TAG] {
        loop {
            if let Some(tag) = job.tag() {
                return tag;
            }
            let mut state = job.state();
            let blocks = job.blocks();
            let count = blocks.len();
            compress256(&mut state, blocks);
            job.advance(count, state, self);
        }
    }

    /// Does jobs in as many lanes as there are; as one ends, the next takes its place. Gives back what
    /// is under way when fewer than `enough` of them are busy.
    #[cfg(target_arch = "x86_64")]
    fn finish_in_lanes<'a, 'o>(
        &self,
        mut jobs: impl Iterator<Item = (Job<'a>, &'o mut [u8; TAG])>,
        instructions: avx512::Avx512,
        enough: usize,
    ) -> [Option<(Job<'a>, &'o mut [u8; TAG])>; avx512::WIDTH] {
        let mut lanes = std::array::from_fn(|_| jobs.next());
        loop {
            let busy = lanes.iter().flatten();
            let Some(count) = busy.clone().map(|(job, _)| job.blocks().len()).min() else {
                return lanes;
            };
            if busy.count() < enough {
                return lanes;
            }
            // Lanes without a job do as the first one does, in vain.
            let Some((spare, _)) = lanes.iter().flatten().next() else { return lanes };
            let lane_jobs =
                lanes.each_ref().map(|lane| lane.as_ref().map_or(spare, |(job, _)| job));
            let mut states = lane_jobs.map(Job::state);
            let blocks = lane_jobs.map(|job| &job.blocks()[..count]);
            instructions.compress(&mut states, &blocks);
            for (lane, state) in lanes.iter_mut().zip(states) {
                let Some((job, tag)) = lane else { continue };
                job.advance(count, state, self);
                if let Some(done) = job.tag() {
                    **tag = done;
                    *lane = jobs.next();
                }
            }
        }
    }

    /// Does jobs two at a time; as one ends, the next takes its place.
    #[cfg(target_arch = "x86_64")]
    fn finish_in_pairs<'a, 'o>(
        &self,
        mut jobs: impl Iterator<Item = (Job<'a>, &'o mut [u8; TAG])>,
        instructions: shani::ShaNi,
    ) {
        let Some((mut left, mut left_tag)) = jobs.next() else { return };
        while let Some((mut right, right_tag)) = jobs.next() {
            // Until the one on the right is done; the one on the left may be replaced meanwhile.
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
                left.advance(count, states[0], self);
                right.advance(count, states[1], self);
            };
            *right_tag = tag;
        }
        *left_tag = self.finish(left);
    }
}

/// Shows the kernel, never the key.
impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("kernel", &self.kernel.name()).finish_non_exhaustive()
    }
}

/// Where SHA-256 starts (FIPS 180-4 §5.3.3): roots of the first eight primes.
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The constants of the rounds (FIPS 180-4 §4.2.2): the first 32 bits of the fractions of the cube
/// roots of the first 64 primes.
#[cfg(target_arch = "x86_64")]
const ROUND_CONSTANTS: [[[u32; 4]; 4]; 4] = [
    [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    ],
    [
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    ],
    [
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    ],
    [
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ],
];

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;
    use sha2::Sha256;
    use vpn_suite::lacking;
    use vpn_suite::testkit::report_kernels;

    use super::*;

    /// As the hmac crate makes it.
    fn reference(key: &[u8; TAG], sequence: u64, text: &[u8]) -> [u8; TAG] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&sequence.to_be_bytes());
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn kernels() -> impl Iterator<Item = Kernel> {
        Kernel::all()
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
        let names: Vec<_> = kernels().map(Kernel::name).collect();
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
        let mac = MacKey::new(&[0x41; TAG], Kernel::PORTABLE);
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
