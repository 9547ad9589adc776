//! Opens classic messages: finds, verifies and decrypts them in a stream (PROTOCOL.md §3.5).
//!
//! A message is ciphertext followed by its tag. No field gives the length of the ciphertext. The
//! opener tries each block boundary: the message ends where the bytes that follow are its tag.

use std::fmt;

use vpn_suite::{CbcDecryptor, SuiteError};
use zeroize::Zeroizing;

use super::dialect::{Chaining, MacRule, Strip};
use super::keys::SessionKeys;
use super::mac::RunningMac;
use super::tag::{self, TAG_DIGITS};
use crate::suite::SuiteId;

/// This many hexadecimal digits among 64 bytes are a damaged tag. Ciphertext has five or six of
/// them.
const MIN_DAMAGED_DIGITS: usize = 48;

/// Finds, verifies and decrypts the messages of one direction, in order.
///
/// Bytes may arrive in pieces of any size. A message is decrypted only after its tag was verified.
pub struct Opener {
    cipher: Box<dyn CbcDecryptor>,
    block: usize,
    chaining: Chaining,
    strip: Strip,
    iv: Zeroizing<Vec<u8>>,
    first_iv: Zeroizing<Vec<u8>>,
    /// The HMAC rules that are still possible. After the second message only one is left.
    macs: Vec<RunningMac>,
    limit: usize,
    buffer: Vec<u8>,
    /// The number of bytes in the buffer that are ciphertext and are part of the HMACs.
    scanned: usize,
    /// There were 64 hexadecimal digits at a block boundary, but they were not the tag.
    tag_failed: bool,
    /// Details for explanations, if the caller wants them.
    trace: Option<Box<Trace>>,
}

/// The details that an [`Opener`] keeps for explanations.
#[derive(Debug, Default)]
struct Trace {
    last: Option<Opened>,
    /// The HMAC by the other rule, which the configuration excludes.
    other_mac: Option<RunningMac>,
    /// The other rule, if a wrong tag was correct by it.
    other_rule_fits: Option<MacRule>,
}

/// The last message, as it was on the wire.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: Vec<u8>,
    /// The text is not UTF-8, but it would be with this chaining.
    pub(super) garbled_unless: Option<Chaining>,
}

impl Opener {
    /// Creates an opener. It tries all `rules` (at least one) until only one is possible.
    ///
    /// `limit` is the longest ciphertext of a message in bytes.
    ///
    /// # Errors
    ///
    /// If the suite refuses the key, for example a weak one.
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
            trace: None,
        })
    }

    /// Keeps details for explanations from now on.
    pub(super) fn enable_trace(&mut self, keys: &SessionKeys) {
        let other_mac = self.mac_rule().map(|rule| RunningMac::new(rule.other(), &keys.key));
        self.trace = Some(Box::new(Trace { other_mac, ..Trace::default() }));
    }

    /// The last message, if details are kept.
    pub(super) fn take_last(&mut self) -> Option<Opened> {
        self.trace.as_mut()?.last.take()
    }

    /// The rule by which a refused tag would have been correct.
    pub(super) fn other_rule_fits(&self) -> Option<MacRule> {
        self.trace.as_ref()?.other_rule_fits
    }

    /// Adds bytes from the peer. Then call [`Opener::next_message`] until it returns `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The text of the next complete message, without its padding.
    ///
    /// # Errors
    ///
    /// [`OpenError::TooLong`] if there is more ciphertext than the limit and no correct tag.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, OpenError> {
        while let Some(digits) = self.buffer[self.scanned..].first_chunk::<TAG_DIGITS>() {
            if let Some(tag) = tag::decode(digits) {
                if self.matches(&tag) {
                    return self.take_message().map(Some);
                }
                self.tag_failed = true;
                if let Some(trace) = &mut self.trace
                    && let Some(other) = trace.other_mac.as_ref().filter(|o| o.verify(&tag))
                {
                    trace.other_rule_fits = Some(other.rule());
                }
            }
            if self.scanned + self.block > self.limit {
                return Err(OpenError::TooLong { limit: self.limit });
            }
            let block = &self.buffer[self.scanned..self.scanned + self.block];
            for mac in &mut self.macs {
                mac.update(block);
            }
            if let Some(other) = self.trace.as_mut().and_then(|t| t.other_mac.as_mut()) {
                other.update(block);
            }
            self.scanned += self.block;
        }
        Ok(None)
    }

    /// What the bytes after the last complete message look like.
    pub fn remainder(&self) -> Remainder {
        let Some(ciphertext) = self.buffer.len().checked_sub(TAG_DIGITS) else {
            return if self.buffer.is_empty() { Remainder::Empty } else { Remainder::Unfinished };
        };
        let digits = self.buffer[ciphertext..].iter().filter(|b| b.is_ascii_hexdigit()).count();
        match (ciphertext % self.block == 0, digits) {
            _ if self.tag_failed => Remainder::BadTag,
            (true, TAG_DIGITS) => Remainder::BadTag,
            (true, MIN_DAMAGED_DIGITS..) => Remainder::DamagedTag,
            (true, _) => Remainder::NoTag,
            (false, TAG_DIGITS) => Remainder::Misaligned { ciphertext },
            (false, _) => Remainder::Unfinished,
        }
    }

    /// The number of bytes after the last complete message.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The HMAC rule of the peer, if only one is possible.
    pub fn mac_rule(&self) -> Option<MacRule> {
        match self.macs.as_slice() {
            [only] => Some(only.rule()),
            _ => None,
        }
    }

    /// Whether the tag is correct by a rule. Drops the rules by which it is not.
    fn matches(&mut self, tag: &[u8; 32]) -> bool {
        let fits: Vec<bool> = self.macs.iter().map(|mac| mac.verify(tag)).collect();
        if !fits.contains(&true) {
            return false;
        }
        let mut fits = fits.into_iter();
        self.macs.retain(|_| fits.next().unwrap_or(false));
        true
    }

    /// Takes the message that ends at `scanned` off the buffer and decrypts it.
    fn take_message(&mut self) -> Result<Vec<u8>, OpenError> {
        for mac in &mut self.macs {
            mac.end_message();
        }
        let mut text: Vec<u8> = self.buffer.drain(..self.scanned + TAG_DIGITS).collect();
        let mut opened = self.trace.as_mut().map(|trace| {
            if let Some(other) = &mut trace.other_mac {
                other.end_message();
            }
            let (ciphertext, tag) = text.split_at(self.scanned);
            let (ciphertext, tag) = (ciphertext.to_vec(), tag.to_vec());
            Opened { ciphertext, tag, garbled_unless: None }
        });
        text.truncate(self.scanned);
        if self.buffer.is_empty() {
            // An idle session keeps no memory for it.
            self.buffer = Vec::new();
        }
        self.scanned = 0;
        self.tag_failed = false;
        let chained = self.trace.is_some().then(|| self.iv.clone());
        if self.chaining == Chaining::Restart {
            self.iv.clone_from(&self.first_iv);
        }
        self.cipher.decrypt(&mut self.iv, &mut text).map_err(OpenError::Suite)?;
        if let (Some(opened), Some(chained)) = (&mut opened, chained) {
            opened.garbled_unless = self.other_chaining(&text, &chained);
        }
        if let Some(trace) = &mut self.trace {
            trace.last = opened;
        }
        let end = text.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        text.truncate(end);
        if self.strip == Strip::Both {
            let start = text.iter().position(|&b| b != 0).unwrap_or(text.len());
            text.drain(..start);
        }
        Ok(text)
    }

    /// The other chaining, if the text is UTF-8 with it and is not UTF-8 without it.
    ///
    /// The two chainings differ in the first block only. It is combined with the first IV, or with
    /// the last block of the message before (`chained`).
    fn other_chaining(&self, padded: &[u8], chained: &[u8]) -> Option<Chaining> {
        if str::from_utf8(padded).is_ok() {
            return None;
        }
        let mut again = Zeroizing::new(padded.to_vec());
        for ((byte, a), b) in again.iter_mut().zip(chained).zip(self.first_iv.iter()) {
            *byte ^= a ^ b;
        }
        str::from_utf8(&again).is_ok().then_some(self.chaining.other())
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

/// What bytes that are not a complete message look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remainder {
    /// 64 hexadecimal digits at the end of whole blocks, but not the correct tag.
    BadTag,
    /// At least 48 hexadecimal digits among the 64 bytes where the tag should be.
    DamagedTag,
    /// There are no bytes.
    Empty,
    /// 64 hexadecimal digits after ciphertext that is not a whole number of blocks.
    Misaligned {
        /// The length of the ciphertext in bytes.
        ciphertext: usize,
    },
    /// The length of a message, but no digits where the tag should be.
    NoTag,
    /// The beginning of a message.
    Unfinished,
}

/// The reason why no message can be opened any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The suite refused to decrypt whole blocks. No suite should do so.
    #[error("the cipher failed")]
    Suite(#[source] SuiteError),
    /// No tag within the limit was correct.
    #[error("no HMAC within the longest message of {limit} bytes")]
    TooLong {
        /// The limit in bytes of ciphertext.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::sealer::Sealer;
    use crate::fixtures::aes256;

    fn keys() -> SessionKeys {
        SessionKeys { key: Zeroizing::new(vec![b'k'; 32]), iv: Zeroizing::new(vec![b'i'; 16]) }
    }

    fn sealer(rule: MacRule, chaining: Chaining) -> Sealer {
        Sealer::new(aes256(), &keys(), rule, chaining).unwrap()
    }

    fn opener(rules: &[MacRule], chaining: Chaining, limit: usize) -> Opener {
        Opener::new(aes256(), &keys(), rules, chaining, Strip::Both, limit).unwrap()
    }

    const BOTH: [MacRule; 2] = [MacRule::PerMessage, MacRule::Cumulative];

    #[test]
    fn messages_of_every_rule_and_chaining_are_opened() {
        for rule in BOTH {
            for chaining in [Chaining::Chain, Chaining::Restart] {
                let (mut sealer, mut opener) =
                    (sealer(rule, chaining), opener(&BOTH, chaining, 1024));
                let mut stream = Vec::new();
                for text in ["hello", "", "0123456789abcdef!"] {
                    stream.extend(sealer.seal(text.as_bytes()).unwrap());
                }
                let mut texts = Vec::new();
                for byte in stream {
                    opener.push(&[byte]);
                    texts.extend(opener.next_message().unwrap());
                }
                assert_eq!(texts, [&b"hello"[..], b"", b"0123456789abcdef!"]);
                assert_eq!((opener.mac_rule(), opener.pending()), (Some(rule), 0));
            }
        }
    }

    #[test]
    fn a_remainder_is_named_by_its_last_64_bytes() {
        let remainder = |bytes: &[u8]| {
            let mut opener = opener(&BOTH, Chaining::Chain, 1024);
            opener.push(bytes);
            assert_eq!(opener.next_message(), Ok(None));
            opener.remainder()
        };
        let message = sealer(MacRule::PerMessage, Chaining::Chain).seal(b"x").unwrap();
        let (ciphertext, tag) = message.split_at(16);
        assert_eq!(remainder(b""), Remainder::Empty);
        assert_eq!(remainder(&message[..50]), Remainder::Unfinished);
        assert_eq!(remainder(&message[..79]), Remainder::Unfinished);
        assert_eq!(remainder(&[ciphertext, &[b'0'; 64]].concat()), Remainder::BadTag);
        assert_eq!(remainder(&[ciphertext, &tag.to_ascii_uppercase()].concat()), Remainder::BadTag);
        assert_eq!(remainder(&[ciphertext, &tag[..60], b"zzzz"].concat()), Remainder::DamagedTag);
        assert_eq!(remainder(&[ciphertext, &[b'z'; 64]].concat()), Remainder::NoTag);
        let misaligned = Remainder::Misaligned { ciphertext: 15 };
        assert_eq!(remainder(&message[1..]), misaligned);
    }

    #[test]
    fn ciphertext_beyond_the_limit_is_refused() {
        let mut opener = opener(&BOTH, Chaining::Chain, 32);
        opener.push(&[b'z'; 95]);
        assert_eq!(opener.next_message(), Ok(None));
        opener.push(b"z");
        assert_eq!(opener.next_message(), Err(OpenError::TooLong { limit: 32 }));
    }

    #[test]
    fn a_trace_names_the_other_rule_and_the_other_chaining() {
        let (mut sealer, mut opener) = (
            sealer(MacRule::Cumulative, Chaining::Restart),
            opener(&[MacRule::PerMessage], Chaining::Chain, 1024),
        );
        opener.enable_trace(&keys());
        let first = sealer.seal(b"first").unwrap();
        opener.push(&first);
        assert_eq!(opener.next_message().unwrap().unwrap(), b"first");
        let last = opener.take_last().unwrap();
        assert_eq!((&last.ciphertext[..], &last.tag[..]), first.split_at(16));
        assert_eq!(last.garbled_unless, None);
        // Up to the first message both rules are the same.
        opener.push(&sealer.seal(b"second").unwrap());
        assert_eq!(opener.next_message(), Ok(None));
        assert_eq!(opener.other_rule_fits(), Some(MacRule::Cumulative));
    }

    #[test]
    fn a_text_that_is_not_utf8_shows_the_other_chaining() {
        for (theirs, ours) in
            [(Chaining::Restart, Chaining::Chain), (Chaining::Chain, Chaining::Restart)]
        {
            let mut sealer = sealer(MacRule::PerMessage, theirs);
            let mut opener = opener(&[MacRule::PerMessage], ours, 1024);
            opener.enable_trace(&keys());
            let mut found = Vec::new();
            for _ in 0..8 {
                opener.push(&sealer.seal("a text in UTF-8: ü".as_bytes()).unwrap());
                opener.next_message().unwrap().unwrap();
                found.extend(opener.take_last().unwrap().garbled_unless);
            }
            // A garbled block can be UTF-8 by chance, but not eight of them.
            assert!(!found.is_empty() && found.iter().all(|chaining| *chaining == theirs));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let opener = opener(&BOTH, Chaining::Chain, 1024);
        assert_eq!(
            format!("{opener:?}"),
            "Opener { macs: [PerMessage, Cumulative], pending: 0, .. }"
        );
        let sealer = sealer(MacRule::Cumulative, Chaining::Chain);
        assert_eq!(format!("{sealer:?}"), "Sealer { mac: Cumulative, .. }");
        assert_eq!(format!("{:?}", keys()), "SessionKeys(..)");
    }
}
