//! Nothing comes out of a classic stream that was not sealed, and all that was not altered does.

use vpn_proto::classic::{Chaining, MacRule, OpenError, Opener, Sealer, Strip, TAG_DIGITS};

use super::{Decisions, LIMIT, cell, pieces};

/// Sealed texts, and what was done to them on the way.
#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    texts: Vec<Vec<u8>>,
    /// Where each of them ended when it was sealed.
    ends: Vec<usize>,
    /// Where the first alteration is; everything before that has to arrive.
    altered: Option<usize>,
}

impl Stream {
    /// Seals and alters as the decisions say.
    fn new(sealer: &mut Sealer, decisions: &mut Decisions<'_>) -> Self {
        let mut stream = Self::default();
        for _ in 0..32 {
            let op = decisions.byte() % 8;
            if op <= 3 {
                let length = decisions.byte().into();
                let text = decisions.take(length).to_vec();
                stream.bytes.extend(sealer.seal(&text).unwrap());
                stream.texts.push(text);
                stream.ends.push(stream.bytes.len());
                continue;
            }
            let Some(at) = stream.alter(op, decisions) else { break };
            stream.altered = Some(stream.altered.map_or(at, |before| before.min(at)));
        }
        stream
    }

    /// Alters something; from where on.
    fn alter(&mut self, op: u8, decisions: &mut Decisions<'_>) -> Option<usize> {
        let Self { bytes, ends, .. } = self;
        match op {
            4 if !bytes.is_empty() => {
                let at = decisions.below(bytes.len());
                bytes[at] ^= decisions.byte() | 1;
                Some(at)
            }
            5 => {
                let at = decisions.below(bytes.len() + 1);
                let inserted = decisions.take(9).to_vec();
                bytes.splice(at..at, inserted);
                Some(at)
            }
            6 if !bytes.is_empty() => {
                let at = decisions.below(bytes.len());
                let end = (at + 1 + decisions.below(80)).min(bytes.len());
                bytes.drain(at..end);
                Some(at)
            }
            7 if !ends.is_empty() => {
                // The last message once more.
                let start = ends.len().checked_sub(2).map_or(0, |i| ends[i]);
                let end = ends[ends.len() - 1].min(bytes.len());
                let at = bytes.len();
                let again = bytes.get(start..end).unwrap_or_default().to_vec();
                bytes.extend(again);
                Some(at)
            }
            _ => None,
        }
    }

    /// How many texts come before the first alteration.
    fn sure(&self) -> usize {
        self.ends.iter().filter(|end| self.altered.is_none_or(|at| **end <= at)).count()
    }

    /// The texts as they arrive: without the zeros at their ends.
    fn expected(&self) -> Vec<Vec<u8>> {
        let strip = |text: &Vec<u8>| -> Vec<u8> {
            let start = text.iter().position(|b| *b != 0).unwrap_or(text.len());
            let end = text.iter().rposition(|b| *b != 0).map_or(start, |last| last + 1);
            text[start..end].to_vec()
        };
        self.texts.iter().map(strip).collect()
    }
}

/// Texts, sealed, then altered as the bytes say, and cut as they say.
pub(crate) fn data_stream(data: &[u8]) {
    let mut decisions = Decisions(data);
    let (id, keys) = cell(decisions.byte());
    let switches = decisions.byte();
    let mac = if switches & 1 == 0 { MacRule::PerMessage } else { MacRule::Cumulative };
    let chaining = if switches & 2 == 0 { Chaining::Chain } else { Chaining::Restart };
    let both = [MacRule::PerMessage, MacRule::Cumulative];
    let rules = if switches & 4 == 0 { &both[..] } else { &[mac] };
    let step = usize::from(decisions.byte()) + 1;
    let mut sealer = Sealer::new(id, &keys, mac, chaining).unwrap();
    let stream = Stream::new(&mut sealer, &mut decisions);
    let mut opener = Opener::new(id, &keys, rules, chaining, Strip::Both, LIMIT).unwrap();
    let mut opened = Vec::new();
    for piece in pieces(&stream.bytes, step) {
        opener.push(piece);
        if let Err(error) = drain(&mut opener, &mut opened) {
            assert!(matches!(error, OpenError::TooLong { limit: LIMIT }), "{error}");
            assert!(stream.altered.is_some());
            break;
        }
        assert!(opener.pending() <= LIMIT + TAG_DIGITS + step + 16, "{}", opener.pending());
    }
    let (sure, expected) = (stream.sure(), stream.expected());
    assert!(opened.len() >= sure, "{} of {sure} messages arrived", opened.len());
    assert_eq!(opened[..sure], expected[..sure]);
    if stream.altered.is_none() {
        assert_eq!(opened.len(), expected.len());
        assert_eq!(opener.pending(), 0);
    }
    if mac == MacRule::PerMessage {
        // Each is a message that was sealed, though perhaps not in its place (PROTOCOL.md §3.8): then
        // its first block decrypts to something else, unless every message starts at the IV.
        let block = id.suite.block_size();
        let may_be_displaced = chaining == Chaining::Chain;
        for text in &opened {
            let is_sealed = stream.texts.iter().zip(&expected).any(|(sealed, whole)| {
                text == whole || may_be_displaced && is_displaced(text, sealed, block)
            });
            assert!(is_sealed, "a text that was not sealed");
        }
    }
    if rules == [MacRule::Cumulative] && chaining == Chaining::Chain {
        // Nothing but what was sealed, in its order. But where a text ends is not authenticated:
        // without the HMAC between them two messages are one (PROTOCOL.md §3.8).
        let joined = |texts: &[Vec<u8>]| -> Vec<u8> {
            texts.iter().flatten().copied().filter(|byte| *byte != 0).collect()
        };
        assert!(joined(&expected).starts_with(&joined(&opened)), "a text that was not sealed");
    }
}

/// Whether a text can be what a sealed one decrypts to behind another message: the same from its
/// second block on, without the zeros at its ends.
fn is_displaced(text: &[u8], sealed: &[u8], block: usize) -> bool {
    let padded = sealed.len().next_multiple_of(16);
    let rest = sealed.get(block..).unwrap_or_default();
    let end = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let start = rest[..end].iter().position(|byte| *byte != 0).unwrap_or(end);
    text.len() <= padded && text.ends_with(&rest[start..end])
}

fn drain(opener: &mut Opener, opened: &mut Vec<Vec<u8>>) -> Result<(), OpenError> {
    while let Some(text) = opener.next_message()? {
        opened.push(text);
    }
    Ok(())
}
