//! The HMAC over the ciphertext of one direction, by both rules (PROTOCOL.md §3.5).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::dialect::MacRule;

type HmacSha256 = Hmac<Sha256>;

/// An HMAC-SHA256 over a stream of ciphertext. The rule says which part of it a tag covers.
pub(super) struct RunningMac {
    rule: MacRule,
    keyed: HmacSha256,
    state: HmacSha256,
}

impl RunningMac {
    pub(super) fn new(rule: MacRule, key: &[u8]) -> Self {
        let keyed = HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { rule, state: keyed.clone(), keyed }
    }

    pub(super) fn rule(&self) -> MacRule {
        self.rule
    }

    pub(super) fn update(&mut self, ciphertext: &[u8]) {
        self.state.update(ciphertext);
    }

    /// Whether the tag is correct here. Compares in constant time.
    pub(super) fn verify(&self, tag: &[u8; 32]) -> bool {
        self.state.clone().finalize().into_bytes().ct_eq(tag.as_slice()).into()
    }

    /// Ends a message and returns its tag.
    pub(super) fn end_message(&mut self) -> [u8; 32] {
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
