//! Messages of the classic profile: sealing them, and finding and opening them in a stream
//! (PROTOCOL.md §3.5).
//!
//! A message is ciphertext followed by 64 lower-case hexadecimal digits of HMAC-SHA256. Nothing says
//! how long the ciphertext is: the message delimits itself by its HMAC.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use vpn_suite::{CbcDecryptor, CbcEncryptor, SuiteError};
use zeroize::Zeroizing;

use super::super::negotiate::SuiteId;
use super::dialect::{Chaining, MacRule, Strip};
use super::keys::SessionKeys;

/// The HMAC at the end of a message: this many hexadecimal digits.
pub const TAG_DIGITS: usize = 64;
/// Text is padded with zero bytes to a multiple of this, whatever the block size.
pub const PAD_TO: usize = 16;

/// So many hexadecimal digits among 64 bytes are no accident: ciphertext has five or six.
const MANY_DIGITS: usize = 48;

type HmacSha256 = Hmac<Sha256>;

/// Encrypts and authenticates the messages of one direction, in order.
pub struct Sealer {
    cipher: Box<dyn CbcEncryptor>,
    chaining: Chaining,
    iv: Zeroizing<Vec<u8>>,
    first_iv: Zeroizing<Vec<u8>>,
    mac: RunningMac,
}

impl Sealer {
    /// Keys a sealer.
    ///
    /// # Errors
    ///
    /// What the suite says of the key, a weak one for instance.
    pub fn new(
        id: SuiteId,
        keys: &SessionKeys,
        mac: MacRule,
        chaining: Chaining,
    ) -> Result<Self, SuiteError> {
        Ok(Self {
            cipher: id.suite.encryptor(&keys.key)?,
            chaining,
            iv: keys.iv.clone(),
            first_iv: keys.iv.clone(),
            mac: RunningMac::new(mac, &keys.key),
        })
    }

    /// Makes the next message of a text: padded, encrypted, tag behind.
    ///
    /// Trailing zero bytes of the text do not arrive: the padding cannot tell them from itself.
    ///
    /// # Errors
    ///
    /// Only if the suite's block size does not divide [`PAD_TO`], which the registry rules out.
    pub fn seal(&mut self, text: &[u8]) -> Result<Vec<u8>, SuiteError> {
        let padded = text.len().next_multiple_of(PAD_TO);
        let mut message = Vec::with_capacity(padded + TAG_DIGITS);
        message.extend_from_slice(text);
        message.resize(padded, 0);
        if self.chaining == Chaining::Restart {
            self.iv.clone_from(&self.first_iv);
        }
        self.cipher.encrypt(&mut self.iv, &mut message)?;
        self.mac.update(&message);
        for byte in self.mac.end_message() {
            message.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        Ok(message)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("mac", &self.mac).finish_non_exhaustive()
    }
}

/// Finds, verifies and decrypts the messages of one direction, in order.
///
/// Bytes come in any slicing. Nothing is decrypted before its HMAC was verified.
pub struct Opener {
    cipher: Box<dyn CbcDecryptor>,
    block: usize,
    chaining: Chaining,
    strip: Strip,
    iv: Zeroizing<Vec<u8>>,
    first_iv: Zeroizing<Vec<u8>>,
    /// The rules still in question; one of them once a second message was seen.
    macs: Vec<RunningMac>,
    limit: usize,
    buffer: Vec<u8>,
    /// How much of the buffer is known to be ciphertext and went into the HMACs.
    scanned: usize,
    /// Hexadecimal digits stood where a tag may stand, and were none.
    tag_failed: bool,
    /// What is kept for a commentary, if there is one.
    record: Option<Box<Record>>,
}

/// What an [`Opener`] keeps for those who explain a session.
#[derive(Debug, Default)]
struct Record {
    last: Option<Opened>,
    /// The HMAC by the rule that was ruled out beforehand.
    other_rule: Option<RunningMac>,
    /// That one matched where the right one did not.
    other_rule_fits: Option<MacRule>,
}

/// The message opened last, as it was on the wire.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: Vec<u8>,
    /// The text is no UTF-8, and would be by this rule.
    pub(super) garbled_unless: Option<Chaining>,
}

impl Opener {
    /// Keys an opener that tries each of `rules` (at least one) until one is left.
    ///
    /// `limit` is the longest ciphertext accepted, in bytes.
    ///
    /// # Errors
    ///
    /// What the suite says of the key, a weak one for instance.
    pub fn new(
        id: SuiteId,
        keys: &SessionKeys,
        rules: &[MacRule],
        chaining: Chaining,
        strip: Strip,
        limit: usize,
    ) -> Result<Self, SuiteError> {
        Ok(Self {
            cipher: id.suite.decryptor(&keys.key)?,
            block: id.suite.block_size(),
            chaining,
            strip,
            iv: keys.iv.clone(),
            first_iv: keys.iv.clone(),
            macs: rules.iter().map(|&rule| RunningMac::new(rule, &keys.key)).collect(),
            limit,
            buffer: Vec::new(),
            scanned: 0,
            tag_failed: false,
            record: None,
        })
    }

    /// Keeps what a commentary needs from here on.
    pub(super) fn keep_record(&mut self, keys: &SessionKeys) {
        let other_rule = self.mac_rule().map(|rule| {
            let other = match rule {
                MacRule::Cumulative => MacRule::PerMessage,
                MacRule::PerMessage => MacRule::Cumulative,
            };
            RunningMac::new(other, &keys.key)
        });
        self.record = Some(Box::new(Record { other_rule, ..Record::default() }));
    }

    /// What was opened last, if a record is kept.
    pub(super) fn take_record(&mut self) -> Option<Opened> {
        self.record.as_mut()?.last.take()
    }

    /// The rule by which an HMAC that was refused would have been right.
    pub(super) fn other_rule_fits(&self) -> Option<MacRule> {
        self.record.as_ref()?.other_rule_fits
    }

    /// Takes bytes from the peer; call [`Opener::next_message`] until it has nothing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The text of the next whole message, without its padding.
    ///
    /// # Errors
    ///
    /// [`OpenError::TooLong`] once more ciphertext than the limit came without a fitting HMAC.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, OpenError> {
        while let Some(tag) = self.buffer.get(self.scanned..self.scanned + TAG_DIGITS) {
            if let Some(tag) = decode_tag(tag) {
                if self.matches(&tag) {
                    return self.take_message().map(Some);
                }
                self.tag_failed = true;
                if let Some(record) = &mut self.record
                    && let Some(other) = record.other_rule.as_ref().filter(|o| o.verify(&tag))
                {
                    record.other_rule_fits = Some(other.rule);
                }
            }
            if self.scanned + self.block > self.limit {
                return Err(OpenError::TooLong { limit: self.limit });
            }
            let block = &self.buffer[self.scanned..self.scanned + self.block];
            for mac in &mut self.macs {
                mac.update(block);
            }
            if let Some(other) = self.record.as_mut().and_then(|r| r.other_rule.as_mut()) {
                other.update(block);
            }
            self.scanned += self.block;
        }
        Ok(None)
    }

    /// What the bytes that are no message yet look like.
    pub fn rest(&self) -> Rest {
        let Some(ciphertext) = self.buffer.len().checked_sub(TAG_DIGITS) else {
            return if self.buffer.is_empty() { Rest::Nothing } else { Rest::Unfinished };
        };
        let digits = self.buffer[ciphertext..].iter().filter(|b| b.is_ascii_hexdigit()).count();
        match (ciphertext % self.block == 0, digits) {
            _ if self.tag_failed => Rest::BadTag,
            (true, TAG_DIGITS) => Rest::BadTag,
            (true, MANY_DIGITS..) => Rest::DamagedTag,
            (true, _) => Rest::NoTag,
            (false, TAG_DIGITS) => Rest::Misaligned { ciphertext },
            (false, _) => Rest::Unfinished,
        }
    }

    /// How many bytes wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The HMAC rule of the peer, once it is known.
    pub fn mac_rule(&self) -> Option<MacRule> {
        match self.macs.as_slice() {
            [only] => Some(only.rule),
            _ => None,
        }
    }

    fn matches(&mut self, tag: &[u8; 32]) -> bool {
        let fits: Vec<bool> = self.macs.iter().map(|mac| mac.verify(tag)).collect();
        if !fits.contains(&true) {
            return false;
        }
        let mut fits = fits.into_iter();
        self.macs.retain(|_| fits.next().unwrap_or(false));
        true
    }

    fn take_message(&mut self) -> Result<Vec<u8>, OpenError> {
        for mac in &mut self.macs {
            mac.end_message();
        }
        let mut text: Vec<u8> = self.buffer.drain(..self.scanned + TAG_DIGITS).collect();
        let mut opened = self.record.as_mut().map(|record| {
            if let Some(other) = &mut record.other_rule {
                other.end_message();
            }
            let (ciphertext, tag) = text.split_at(self.scanned);
            let (ciphertext, tag) = (ciphertext.to_vec(), tag.to_vec());
            Opened { ciphertext, tag, garbled_unless: None }
        });
        text.truncate(self.scanned);
        if self.buffer.is_empty() {
            // An idle session holds no buffer.
            self.buffer = Vec::new();
        }
        self.scanned = 0;
        self.tag_failed = false;
        let chained = self.record.is_some().then(|| self.iv.clone());
        if self.chaining == Chaining::Restart {
            self.iv.clone_from(&self.first_iv);
        }
        self.cipher.decrypt(&mut self.iv, &mut text).map_err(OpenError::Suite)?;
        if let (Some(opened), Some(chained)) = (&mut opened, chained) {
            opened.garbled_unless = self.other_chaining(&text, &chained);
        }
        if let Some(record) = &mut self.record {
            record.last = opened;
        }
        let end = text.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        text.truncate(end);
        if self.strip == Strip::Both {
            let start = text.iter().position(|&b| b != 0).unwrap_or(text.len());
            text.drain(..start);
        }
        Ok(text)
    }

    /// The other chaining, if that makes UTF-8 of a text that is none.
    ///
    /// The two differ in what the first block is combined with: the first chaining value, or the
    /// one that the message before left behind.
    fn other_chaining(&self, padded: &[u8], chained: &[u8]) -> Option<Chaining> {
        if str::from_utf8(padded).is_ok() {
            return None;
        }
        let mut again = Zeroizing::new(padded.to_vec());
        for ((byte, a), b) in again.iter_mut().zip(chained).zip(self.first_iv.iter()) {
            *byte ^= a ^ b;
        }
        str::from_utf8(&again).is_ok().then_some(match self.chaining {
            Chaining::Chain => Chaining::Restart,
            Chaining::Restart => Chaining::Chain,
        })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("macs", &self.macs)
            .field("pending", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// What bytes that are no message yet look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Hexadecimal digits where a tag belongs, but the tag of something else.
    BadTag,
    /// Mostly hexadecimal digits where a tag belongs.
    DamagedTag,
    /// A tag behind ciphertext that is no multiple of the block size.
    Misaligned {
        /// The length of that ciphertext in bytes.
        ciphertext: usize,
    },
    /// As long as a message, but no digits where its tag belongs.
    NoTag,
    /// There are none.
    Nothing,
    /// The beginning of something.
    Unfinished,
}

/// Why a stream of messages cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The suite refused to decrypt whole blocks, which no suite should do.
    #[error("the cipher failed")]
    Suite(#[source] SuiteError),
    /// No HMAC fitted within the limit.
    #[error("no HMAC within the longest message of {limit} bytes")]
    TooLong {
        /// The limit in bytes of ciphertext.
        limit: usize,
    },
}

/// An HMAC over a stream of ciphertext, cut into messages by one of the rules.
struct RunningMac {
    rule: MacRule,
    keyed: HmacSha256,
    state: HmacSha256,
}

impl RunningMac {
    fn new(rule: MacRule, key: &[u8]) -> Self {
        let keyed = HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { rule, state: keyed.clone(), keyed }
    }

    fn update(&mut self, ciphertext: &[u8]) {
        self.state.update(ciphertext);
    }

    /// Compares in constant time.
    fn verify(&self, tag: &[u8; 32]) -> bool {
        self.state.clone().finalize().into_bytes().ct_eq(tag.as_slice()).into()
    }

    fn end_message(&mut self) -> [u8; 32] {
        let tag = self.state.clone().finalize().into_bytes().into();
        if self.rule == MacRule::PerMessage {
            self.state = self.keyed.clone();
        }
        tag
    }
}

impl fmt::Debug for RunningMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)
    }
}

/// Reads 64 lower-case hexadecimal digits; upper case is not a tag.
fn decode_tag(digits: &[u8]) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(tag)
}
