//! What holds for any bytes. Fuzz targets, their corpora and the property tests all call these functions,
//! which panic where something does not hold.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod channels;
mod classic_handshake;
pub(crate) mod classic_session;
mod classic_stream;
mod sealed;

use std::path::PathBuf;
use std::sync::LazyLock;

pub(crate) use channels::{channel_frame, channel_session};
pub(crate) use classic_handshake::{choice, dhmke, proposal};
pub(crate) use classic_session::server_session;
pub(crate) use classic_stream::data_stream;
pub(crate) use sealed::{sealed_answer, sealed_auth, sealed_hello, sealed_records, sealed_session};
use vpn::config::{ConfigError, Overrides, Settings, Source};
use vpn_proto::classic::{HANDSHAKE_LIMIT, SessionKeys};
use vpn_proto::sealed::{ClientHello, Part, next_length};
use vpn_proto::{EnabledSuite, Group, Offer, Printable, Profile, SuiteId, select};
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

/// A check by the name of its fuzz target.
pub(crate) type Check = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const ALL: [Check; 14] = [
    ("channel_frame", channel_frame),
    ("channel_session", channel_session),
    ("choice", choice),
    ("config", config),
    ("data_stream", data_stream),
    ("dhmke", dhmke),
    ("first_byte", first_byte),
    ("proposal", proposal),
    ("sealed_answer", sealed_answer),
    ("sealed_auth", sealed_auth),
    ("sealed_hello", sealed_hello),
    ("sealed_records", sealed_records),
    ("sealed_session", sealed_session),
    ("server_session", server_session),
];

/// The longest ciphertext in these checks, short enough to be exceeded.
const LIMIT: usize = 1024;

/// The smallest group: these checks are about parsing, not about strength.
const GROUP: Group = Group::Modp2048;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::linked().unwrap());

fn enabled() -> Vec<EnabledSuite> {
    let suite = |name: &str, sizes: &[u32]| {
        let suite = REGISTRY.find(name).unwrap();
        let sizes = sizes.iter().map(|bits| KeySize::from_bits(*bits).unwrap()).collect();
        EnabledSuite { suite, wire_name: suite.name(), sizes }
    };
    vec![suite("AES", &[128, 256]), suite("Blowfish", &[112, 448]), suite("DES3", &[192])]
}

fn pieces(data: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    data.chunks(size.max(1))
}

fn assert_one_line(text: &str) {
    assert_eq!(text, Printable(text.as_bytes()).to_string(), "not fit for a terminal");
    assert!(text.len() < 8 * HANDSHAKE_LIMIT, "{} bytes are no line", text.len());
}

/// Bytes as decisions; zeros when there are no more.
struct Decisions<'a>(&'a [u8]);

impl<'a> Decisions<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        if limit == 0 { 0 } else { number % limit }
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn cell(decision: u8) -> (SuiteId, SessionKeys) {
    let cells = [("AES", 128), ("AES", 256), ("Blowfish", 112), ("DES3", 192), ("DES", 56)];
    let (name, bits) = cells[usize::from(decision) % cells.len()];
    let suite = REGISTRY.find(name).unwrap();
    let size = KeySize::from_bits(bits).unwrap();
    let characters = |from: u8, count: usize| -> Zeroizing<Vec<u8>> {
        let digits = b"0123456789abcdef".iter().cycle().skip(from.into());
        Zeroizing::new(digits.step_by(3).take(count).copied().collect())
    };
    let keys =
        SessionKeys { key: characters(1, size.bytes()), iv: characters(5, suite.block_size()) };
    (SuiteId { suite, size }, keys)
}

/// Arbitrary bytes as a configuration.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let source = Source::File(PathBuf::from("c.toml"));
    match Settings::parse(text, source, &REGISTRY, &Overrides::default()) {
        Ok(settings) => {
            assert!(!settings.ciphers.enabled.is_empty());
            for entry in settings.ciphers.enabled.iter() {
                assert!(!entry.sizes.is_empty());
                assert!(entry.sizes.iter().all(|s| entry.suite.key_sizes().contains(*s)));
            }
            // What it enables can be offered, and is understood.
            let offer = Offer::from_enabled(&settings.ciphers.enabled);
            assert_eq!(Offer::parse(&offer.to_wire()), Ok(offer.clone()));
            assert!(select(&settings.ciphers.enabled, &offer).is_some());
        }
        Err(error) => {
            let words = error.to_string();
            assert_eq!(words, Printable(words.as_bytes()).to_string(), "not fit for a terminal");
            let ConfigError::Problem { line, .. } = error else { panic!("{error}") };
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}: {words}");
        }
    }
}

/// Arbitrary bytes as the first of a connection: text is never taken for the sealed profile, and what
/// either profile can read is taken for that one.
pub(crate) fn first_byte(data: &[u8]) {
    let Some(first) = data.first() else { return };
    let profile = Profile::of_first_byte(*first);
    if str::from_utf8(data).is_ok() {
        assert_ne!(profile, Some(Profile::Sealed));
    }
    if ClientHello::parse(data).is_ok() {
        assert_eq!(profile, Some(Profile::Sealed));
    }
    if next_length(Part::Hello, data).is_ok() {
        assert_eq!(profile, Some(Profile::Sealed));
    }
    if str::from_utf8(data).is_ok_and(|text| Offer::parse(text).is_ok()) {
        assert_eq!(profile, Some(Profile::Classic));
    }
}
