//! HMAC-SHA256 (RFC 2104) of several records side by side.
//!
//! The blocks of one message wait for each other, and the unit that computes SHA-256 is idle for
//! half that time; a second message fills it.

mod job;
#[cfg(target_arch = "x86_64")]
mod shani;

use std::fmt;

use sha2::block_api::compress256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use job::Job;

/// The bytes of a tag.
pub(super) const TAG: usize = 32;
/// The bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// The chaining value of SHA-256.
type State = [u32; 8];
/// Its input.
type Block = [u8; BLOCK];

/// How SHA-256 is computed. All ways have the same results.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Way);

#[derive(Clone, Copy, Debug)]
enum Way {
    Portable,
    #[cfg(target_arch = "x86_64")]
    ShaNi(shani::ShaNi),
}

impl Kernel {
    /// One message at a time, in the sha2 crate: what every machine has.
    pub const PORTABLE: Self = Self(Way::Portable);

    /// The fastest that this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = shani::ShaNi::detect() {
            return Self(Way::ShaNi(instructions));
        }
        Self::PORTABLE
    }

    /// What a table of speeds calls it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Way::Portable => "sha2",
            #[cfg(target_arch = "x86_64")]
            Way::ShaNi(_) => "sha-ni x2",
        }
    }
}

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
            Way::Portable => jobs.for_each(|(job, tag)| *tag = self.finish(job)),
            #[cfg(target_arch = "x86_64")]
            Way::ShaNi(instructions) => self.finish_in_pairs(jobs, instructions),
        }
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

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;

    /// As the hmac crate makes it.
    fn reference(key: &[u8; TAG], sequence: u64, text: &[u8]) -> [u8; TAG] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&sequence.to_be_bytes());
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn kernels() -> [Kernel; 2] {
        [Kernel::PORTABLE, Kernel::detect()]
    }

    #[test]
    fn tag_of_every_length_around_the_blocks_is_that_of_the_hmac_crate() {
        let key = &[0x4b; TAG];
        let text: Vec<u8> = (0..=255).cycle().take(300).collect();
        for kernel in kernels() {
            let mac = MacKey::new(key, kernel);
            for length in 0..text.len() {
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
                1..=17,
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
