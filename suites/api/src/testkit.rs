//! Tests for every suite. The `tests/` folder of a suite calls each of them in one line.
//!
//! These functions are test helpers, so they panic on a failure. The message names the suite and
//! the failure. They use pseudorandom data with a fixed seed, so a failure is reproducible.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::{
    CbcDecryptor, CbcEncryptor, CipherSuite, KeySize, Lane, Registry, SuiteError, force_kernels,
    force_portable,
};

/// Checks everything that [`CipherSuite`] requires of a suite, except that the ciphertexts are
/// right.
///
/// * The suite accepts the declared key sizes and no others.
/// * It refuses invalid buffers and does not change them.
/// * Decryption inverts encryption, and both return the next chaining value.
/// * Lanes give the same results as single calls.
/// * Different keys give different ciphertexts.
/// * The suite is valid for a registry, and it is registered.
///
/// All this is checked with each kernel of the suite that this processor can run, against the
/// portable one.
///
/// # Panics
///
/// If a check fails.
pub fn check(suite: &'static dyn CipherSuite) {
    check_registered(suite);
    check_key_lengths(suite);
    let sizes: Vec<_> = suite.key_sizes().iter().collect();
    let kernels = suite.kernels();
    for (&size, kernel) in sizes.iter().flat_map(|size| kernels.iter().map(move |k| (size, *k))) {
        let case = Case::new(suite, size, kernel);
        case.check_refusals();
        case.check_round_trip();
        case.check_chaining();
        case.check_lanes();
        case.check_lanes_at_random();
        case.check_lane_at_fault();
        case.check_key_matters();
    }
}

/// An encryptor and a decryptor with the same key.
pub type BothWays = (Box<dyn CbcEncryptor>, Box<dyn CbcDecryptor>);

/// Keys a suite for one of its kernels, in both directions.
///
/// It forces the kernel for a moment. Other calls of this function wait meanwhile, so that tests can
/// run in parallel. Another test of the same program must not force kernels in a different way.
///
/// # Errors
///
/// The errors of [`CipherSuite::encryptor`].
///
/// # Panics
///
/// If the suite has several kernels and does not use this one.
pub fn keyed_with(
    suite: &dyn CipherSuite,
    kernel: &'static str,
    key: &[u8],
) -> Result<BothWays, SuiteError> {
    let (encryptor, decryptor) = keyed_while(suite, key, || force_kernels(&[kernel]))?;
    // A suite without a list of kernels need not call its only one `generic`.
    if suite.kernels().len() > 1 {
        let kernels = [encryptor.kernel(), decryptor.kernel()];
        assert_eq!(kernels, [kernel; 2], "{suite:?} does not use the kernel that is forced");
    }
    Ok((encryptor, decryptor))
}

/// Keys a suite while something is forced.
fn keyed_while(
    suite: &dyn CipherSuite,
    key: &[u8],
    force: impl FnOnce(),
) -> Result<BothWays, SuiteError> {
    /// What is forced is global.
    static SWITCH: Mutex<()> = Mutex::new(());
    let _guard = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    force();
    let keyed = (suite.encryptor(key), suite.decryptor(key));
    force_kernels(&[]);
    Ok((keyed.0?, keyed.1?))
}

/// Returns which of these x86-64 features the processor lacks: all of them on other architectures.
///
/// ```
/// # use vpn_suite::lacking;
/// assert!(lacking!("sse2").is_empty() || cfg!(not(target_arch = "x86_64")));
/// ```
#[macro_export]
macro_rules! lacking {
    ($($feature:tt),+) => {{
        #[cfg(target_arch = "x86_64")]
        let has = [$(std::arch::is_x86_feature_detected!($feature)),+];
        #[cfg(not(target_arch = "x86_64"))]
        let has = [$($feature),+].map(|_| false);
        let features = has.into_iter().zip([$($feature),+]);
        let lacking: Vec<&str> = features.filter(|(has, _)| !has).map(|(_, name)| name).collect();
        lacking
    }};
}

/// Reports which kernels were tested on this processor and which it cannot run. Each kernel has a
/// list of the features that the processor lacks, see [`lacking!`](crate::lacking).
///
/// The report goes to standard error, and the test harness does not capture it. If the environment
/// variable `VPN_KERNELS_REQUIRED` is set, a kernel that cannot run fails the test.
///
/// # Panics
///
/// If a kernel cannot run and `VPN_KERNELS_REQUIRED` is set.
pub fn report_kernels(what: &str, kernels: &[(&str, Vec<&str>)]) {
    let mut skipped = Vec::new();
    for (kernel, lacking) in kernels {
        let outcome = match lacking.is_empty() {
            true => "tested".to_owned(),
            false => {
                skipped.push(*kernel);
                format!("SKIPPED, this processor lacks {}", lacking.join(" and "))
            }
        };
        // If standard error is closed, only this line is lost.
        let _ = writeln!(std::io::stderr(), "kernel {what}, {kernel}: {outcome}");
    }
    let is_required = std::env::var_os("VPN_KERNELS_REQUIRED").is_some();
    assert!(skipped.is_empty() || !is_required, "{what}: not tested: {skipped:?}");
}

/// Checks a published CBC vector in both directions, with each kernel of the suite. All four texts
/// are hexadecimal.
///
/// # Panics
///
/// If a text is not hexadecimal, the suite returns an error, or a result differs.
pub fn check_vector(
    suite: &dyn CipherSuite,
    key: &str,
    iv: &str,
    plaintext: &str,
    ciphertext: &str,
) {
    let [key, iv, plaintext, ciphertext] = [key, iv, plaintext, ciphertext].map(unhex);
    let vector = format!("{suite:?}, published vector with ciphertext {ciphertext:02x?}");
    assert!(!ciphertext.is_empty(), "{vector}: it is empty");

    for kernel in suite.kernels() {
        let vector = format!("{vector}, kernel {kernel}");
        let keyed = keyed_with(suite, kernel, &key);
        let (encryptor, decryptor) = keyed.unwrap_or_else(|e| panic!("{vector}: {e}"));
        let (mut chain, mut blocks) = (iv.clone(), plaintext.clone());
        encryptor.encrypt(&mut chain, &mut blocks).unwrap_or_else(|e| panic!("{vector}: {e}"));
        assert_eq!(blocks, ciphertext, "{vector}: encryption");

        let mut chain = iv.clone();
        decryptor.decrypt(&mut chain, &mut blocks).unwrap_or_else(|e| panic!("{vector}: {e}"));
        assert_eq!(blocks, plaintext, "{vector}: decryption");
    }
}

/// Decodes hexadecimal text. Whitespace is skipped.
///
/// # Panics
///
/// If there are other characters or an odd number of digits.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| {
        let pair: String = pair.iter().collect();
        assert_eq!(pair.len(), 2, "half a byte in {text:?}");
        u8::from_str_radix(&pair, 16).unwrap_or_else(|e| panic!("{pair:?} in {text:?}: {e}"))
    };
    digits.chunks(2).map(byte).collect()
}

fn check_registered(suite: &'static dyn CipherSuite) {
    let name = suite.name();
    if let Err(error) = Registry::new([suite]) {
        panic!("a registry of {name} alone is refused: {error}");
    }
    let linked = Registry::linked().unwrap_or_else(|e| panic!("the linked suites: {e}"));
    for known_as in [name].iter().chain(suite.aliases()) {
        let found = linked.find(known_as).map(CipherSuite::name);
        assert_eq!(found, Some(name), "{name} is not registered as {known_as}");
    }
}

/// Checks that the declared key lengths are accepted, and that all others up to 128 bytes are
/// refused.
fn check_key_lengths(suite: &dyn CipherSuite) {
    let name = suite.name();
    let declared: Vec<usize> = suite.key_sizes().iter().map(KeySize::bytes).collect();
    let mut rng = Rng(1);
    for bytes in (0..=MAX_REFUSED_BYTES).chain(declared.iter().copied()) {
        let key = rng.bytes(bytes);
        let encryptor = suite.encryptor(&key).err();
        let decryptor = suite.decryptor(&key).err();
        assert_eq!(encryptor, decryptor, "{name}: {bytes} byte key, encryptor against decryptor");
        if declared.contains(&bytes) {
            assert_eq!(encryptor, None, "{name}: {bytes} byte key, declared");
        } else {
            let (got, expected) = (bytes, suite.key_sizes());
            let error = SuiteError::KeyLength { suite: name, got, expected };
            assert_eq!(encryptor, Some(error), "{name}: {bytes} byte key, not declared");
        }
    }
}

/// A suite keyed in both directions.
struct Case {
    label: String,
    suite: &'static dyn CipherSuite,
    size: KeySize,
    block_size: usize,
    encryptor: Box<dyn CbcEncryptor>,
    decryptor: Box<dyn CbcDecryptor>,
    /// Always the portable code.
    reference: Box<dyn CbcEncryptor>,
}

impl Case {
    fn new(suite: &'static dyn CipherSuite, size: KeySize, kernel: &'static str) -> Self {
        let key = Rng(2).bytes(size.bytes());
        let label = format!("{suite:?} with {size} bits, kernel {kernel}");
        let reference = keyed_while(suite, &key, || force_portable(true));
        let (reference, _) = reference.unwrap_or_else(|e| panic!("{label}: {e}"));
        let keyed = keyed_with(suite, kernel, &key);
        let (encryptor, decryptor) = keyed.unwrap_or_else(|e| panic!("{label}: {e}"));
        let block_size = suite.block_size();
        Self { label, suite, size, block_size, encryptor, decryptor, reference }
    }

    /// Returns a random IV and this number of random blocks.
    fn data(&self, rng: &mut Rng, blocks: usize) -> (Vec<u8>, Vec<u8>) {
        (rng.bytes(self.block_size), rng.bytes(blocks * self.block_size))
    }

    fn encrypt(&self, iv: &mut [u8], blocks: &mut [u8]) {
        self.encryptor.encrypt(iv, blocks).unwrap_or_else(|e| panic!("{}: {e}", self.label));
    }

    fn decrypt(&self, iv: &mut [u8], blocks: &mut [u8]) {
        self.decryptor.decrypt(iv, blocks).unwrap_or_else(|e| panic!("{}: {e}", self.label));
    }

    fn check_refusals(&self) {
        let block_size = self.block_size;
        for len in 0..4 * block_size {
            if len.is_multiple_of(block_size) {
                continue;
            }
            self.check_refusal(block_size, len, &SuiteError::Misaligned { len, block_size });
        }
        for got in (0..=4 * block_size).filter(|&got| got != block_size) {
            self.check_refusal(got, 2 * block_size, &SuiteError::IvLength { got, block_size });
        }
    }

    /// Checks that buffers of these lengths are refused with this error and not changed.
    fn check_refusal(&self, iv_len: usize, len: usize, error: &SuiteError) {
        let lengths = format!("{}: IV of {iv_len} bytes, {len} bytes", self.label);
        let mut rng = Rng(3);
        let given = (rng.bytes(iv_len), rng.bytes(len));

        for does in ["encrypt", "decrypt", "encrypt_lanes", "decrypt_lanes"] {
            let mut buffers = given.clone();
            let (iv, blocks) = &mut buffers;
            let result = match does {
                "encrypt" => self.encryptor.encrypt(iv, blocks),
                "decrypt" => self.decryptor.decrypt(iv, blocks),
                "encrypt_lanes" => self.encryptor.encrypt_lanes(&mut [Lane { iv, blocks }]),
                _ => self.decryptor.decrypt_lanes(&mut [Lane { iv, blocks }]),
            };
            assert_eq!(result.as_ref(), Err(error), "{lengths}: {does}");
            assert_eq!(buffers, given, "{lengths}: {does} refused, but touched them");
        }
    }

    fn check_round_trip(&self) {
        for blocks in BLOCK_COUNTS {
            let at = format!("{}: {blocks} blocks", self.label);
            let (iv, plaintext) = self.data(&mut Rng(4), blocks);
            let (mut chain, mut text) = (iv.clone(), plaintext.clone());
            self.encrypt(&mut chain, &mut text);
            let last = text.chunks(self.block_size).next_back().unwrap_or(&iv);
            assert_eq!(chain, last, "{at}: the next chaining value is not the last block");
            for (before, after) in
                plaintext.chunks(self.block_size).zip(text.chunks(self.block_size))
            {
                assert_ne!(before, after, "{at}: a block is not encrypted");
            }
            let mut back = iv.clone();
            self.decrypt(&mut back, &mut text);
            assert_eq!(text, plaintext, "{at}: decryption does not invert encryption");
            assert_eq!(back, chain, "{at}: the two directions leave different chaining values");
        }
    }

    fn check_chaining(&self) {
        let label = &self.label;
        let (iv, plaintext) = self.data(&mut Rng(5), 9);
        let (mut chain, mut at_once) = (iv.clone(), plaintext.clone());
        self.encrypt(&mut chain, &mut at_once);
        for step in [1, 2, 4].map(|blocks| blocks * self.block_size) {
            let (mut chain, mut text) = (iv.clone(), plaintext.clone());
            text.chunks_mut(step).for_each(|part| self.encrypt(&mut chain, part));
            assert_eq!(text, at_once, "{label}: {step} bytes at a time, encryption");
            let mut chain = iv.clone();
            text.chunks_mut(step).for_each(|part| self.decrypt(&mut chain, part));
            assert_eq!(text, plaintext, "{label}: {step} bytes at a time, decryption");
        }
    }

    fn check_lanes(&self) {
        let label = &self.label;
        let mut rng = Rng(6);
        let plain: Vec<_> = LANE_BLOCKS.iter().map(|&n| self.data(&mut rng, n)).collect();
        let mut serial = plain.clone();
        serial.iter_mut().for_each(|(iv, blocks)| self.encrypt(iv, blocks));
        for count in 0..=plain.len() {
            let mut buffers = plain[..count].to_vec();
            let done = self.encryptor.encrypt_lanes(&mut lanes(&mut buffers));
            assert_eq!(done, Ok(()), "{label}: encryption of {count} lanes");
            assert_eq!(buffers, serial[..count], "{label}: {count} lanes against one by one");

            for ((iv, _), (first_iv, _)) in buffers.iter_mut().zip(&plain) {
                iv.clone_from(first_iv);
            }
            let done = self.decryptor.decrypt_lanes(&mut lanes(&mut buffers));
            assert_eq!(done, Ok(()), "{label}: decryption of {count} lanes");
            let texts = |buffers: &[(Vec<u8>, Vec<u8>)]| -> Vec<Vec<u8>> {
                buffers.iter().map(|(_, blocks)| blocks.clone()).collect()
            };
            assert_eq!(texts(&buffers), texts(&plain[..count]), "{label}: {count} lanes, back");
            for ((iv, _), (next_iv, _)) in buffers.iter().zip(&serial) {
                assert_eq!(iv, next_iv, "{label}: chaining value after decrypting {count} lanes");
            }
        }
    }

    /// Compares random numbers of lanes of random lengths with the portable code, lane by lane.
    /// Every other round has lanes of equal lengths.
    fn check_lanes_at_random(&self) {
        let label = &self.label;
        let mut rng = Rng(9);
        for round in 0..LANE_ROUNDS {
            let count = 1 + rng.below(MAX_LANES);
            let equal = (round % 2 == 0).then(|| rng.below(MAX_LANE_BLOCKS));
            let lengths: Vec<_> =
                (0..count).map(|_| equal.unwrap_or_else(|| rng.below(MAX_LANE_BLOCKS))).collect();
            let plain: Vec<_> = lengths.iter().map(|&blocks| self.data(&mut rng, blocks)).collect();
            let mut serial = plain.clone();
            for (iv, blocks) in &mut serial {
                self.reference.encrypt(iv, blocks).unwrap_or_else(|e| panic!("{label}: {e}"));
            }

            let mut buffers = plain.clone();
            let done = self.encryptor.encrypt_lanes(&mut lanes(&mut buffers));
            assert_eq!(done, Ok(()), "{label}: encryption of lanes of {lengths:?} blocks");
            assert!(buffers == serial, "{label}: encrypted lanes of {lengths:?} blocks differ");

            let ivs = buffers.iter_mut().zip(&plain);
            ivs.for_each(|((iv, _), (first_iv, _))| iv.clone_from(first_iv));
            let done = self.decryptor.decrypt_lanes(&mut lanes(&mut buffers));
            assert_eq!(done, Ok(()), "{label}: decryption of lanes of {lengths:?} blocks");
            for (((iv, text), (next_iv, _)), (_, plain)) in buffers.iter().zip(&serial).zip(&plain)
            {
                assert!(iv == next_iv, "{label}: chaining value after lanes of {lengths:?} blocks");
                assert!(text == plain, "{label}: decrypted lanes of {lengths:?} blocks differ");
            }
        }
    }

    /// Checks that the first invalid lane is reported and not changed, at every position.
    fn check_lane_at_fault(&self) {
        let block_size = self.block_size;
        for at in 0..MAX_LANES {
            let label = format!("{}: lane {at} of {MAX_LANES} at fault", self.label);
            let mut rng = Rng(10);
            let mut buffers: Vec<_> = (0..MAX_LANES).map(|_| self.data(&mut rng, 2)).collect();
            let len = 2 * block_size + 1;
            buffers[at].1.push(0);
            if let Some((iv, _)) = buffers.get_mut(at + 1) {
                iv.clear();
            }
            let given = buffers[at].clone();
            let error = Err(SuiteError::Misaligned { len, block_size });
            let encrypted = self.encryptor.encrypt_lanes(&mut lanes(&mut buffers));
            assert_eq!(encrypted, error, "{label}: encryption");
            let decrypted = self.decryptor.decrypt_lanes(&mut lanes(&mut buffers));
            assert_eq!(decrypted, error, "{label}: decryption");
            assert_eq!(buffers[at], given, "{label}, but touched");
        }
    }

    fn check_key_matters(&self) {
        let label = &self.label;
        let (iv, plaintext) = self.data(&mut Rng(7), 2);
        let (mut chain, mut text) = (iv.clone(), plaintext.clone());
        self.encrypt(&mut chain, &mut text);
        let key = Rng(8).bytes(self.size.bytes());
        let other = self.suite.encryptor(&key).unwrap_or_else(|e| panic!("{label}: {e}"));
        let (mut chain, mut other_text) = (iv, plaintext);
        other.encrypt(&mut chain, &mut other_text).unwrap_or_else(|e| panic!("{label}: {e}"));
        assert_ne!(text, other_text, "{label}: two keys, one ciphertext");
    }
}

fn lanes(buffers: &mut [(Vec<u8>, Vec<u8>)]) -> Vec<Lane<'_>> {
    buffers.iter_mut().map(|(iv, blocks)| Lane { iv, blocks }).collect()
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) with a fixed seed. The keys are not weak.
struct Rng(u64);

impl Rng {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend((word ^ (word >> 31)).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    fn below(&mut self, bound: usize) -> usize {
        let bytes = self.bytes(4);
        bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)) % bound
    }
}

/// Undeclared key lengths up to this one must be refused.
const MAX_REFUSED_BYTES: usize = 128;

/// Numbers around the widths at which ciphers process several blocks in parallel.
const BLOCK_COUNTS: [usize; 11] = [0, 1, 2, 3, 7, 8, 9, 16, 17, 64, 65];

/// Lanes of different lengths, some empty. There are more than any kernel interleaves.
const LANE_BLOCKS: [usize; 19] = [3, 0, 1, 8, 2, 2, 0, 17, 5, 1, 1, 9, 4, 4, 4, 4, 33, 0, 6];

/// The number of rounds with random lanes, and the bounds of the lanes.
const LANE_ROUNDS: usize = 24;
const MAX_LANES: usize = 34;
const MAX_LANE_BLOCKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_decoded_with_blanks_between() {
        assert_eq!(unhex(" 00ff\n 7E "), [0x00, 0xff, 0x7e]);
        assert_eq!(unhex(""), []);
    }

    #[test]
    #[should_panic = "half a byte"]
    fn half_a_byte_is_refused() {
        unhex("abc");
    }

    #[test]
    #[should_panic = "invalid digit"]
    fn other_text_is_refused() {
        unhex("0x");
    }

    #[test]
    fn random_bytes_repeat_themselves() {
        assert_eq!(Rng(1).bytes(8), 0x910a_2dec_8902_5cc1_u64.to_le_bytes());
        assert_ne!(Rng(1).bytes(9), Rng(2).bytes(9));
    }
}
