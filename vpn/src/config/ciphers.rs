//! The ciphers that a configuration lists, looked up among those that are linked.

use std::sync::Arc;

use vpn_suite::{CipherSuite, KeySize, Registry};

use super::file::SupportedCipher;
use super::settings::Problem;
use super::toml::Located;
use vpn_proto::EnabledSuite;
use vpn_proto::classic::SHARED_KEY_LEN;

/// The suites of the repository by their names, and the features that link them.
const FEATURES: [(&str, &str); 16] = [
    ("3des", "tdes"),
    ("aes", "aes"),
    ("aria", "aria"),
    ("blowfish", "blowfish"),
    ("camellia", "camellia"),
    ("cast", "cast5"),
    ("cast5", "cast5"),
    ("des", "des"),
    ("des3", "tdes"),
    ("idea", "idea"),
    ("kuznyechik", "kuznyechik"),
    ("serpent", "serpent"),
    ("sm4", "sm4"),
    ("tdes", "tdes"),
    ("twofish", "twofish"),
    ("grasshopper", "kuznyechik"),
];
/// Other names that people know ciphers by.
const OTHER_NAMES: [(&str, &str); 3] =
    [("tripledes", "DES3"), ("rijndael", "AES"), ("desede", "DES3")];

pub(super) fn enable(
    listed: &[SupportedCipher],
    registry: &Registry,
) -> Result<Arc<[EnabledSuite]>, Located> {
    if listed.is_empty() {
        return Err((0..0, Problem::NoCiphers));
    }
    let mut enabled: Vec<EnabledSuite> = Vec::new();
    for cipher in listed {
        let name = cipher.name.get_ref();
        let Some(suite) = registry.find_ignoring_case(name) else {
            let linked = registry.names().collect::<Vec<_>>().join(", ");
            let remedy = remedy(name, registry);
            let name = name.clone();
            let problem = Problem::UnknownCipher { name, linked, remedy };
            return Err((cipher.name.span(), problem));
        };
        if enabled.iter().any(|e| e.suite.name() == suite.name()) {
            let (found, suite) = (name.clone(), suite.name());
            return Err((cipher.name.span(), Problem::CipherTwice { found, suite }));
        }
        let mut sizes: Vec<KeySize> = Vec::new();
        for bits in cipher.keys.get_ref() {
            let found = *bits.get_ref();
            let size = u32::try_from(found)
                .ok()
                .and_then(KeySize::from_bits)
                .filter(|s| suite.key_sizes().contains(*s));
            let Some(size) = size else {
                let remedy = other_count(suite, found);
                let (suite, possible) = (suite.name(), suite.key_sizes().to_string());
                let problem = Problem::UnknownSize { suite, found, possible, remedy };
                return Err((bits.span(), problem));
            };
            if size.bytes() > SHARED_KEY_LEN {
                return Err((bits.span(), Problem::SizeTooLong { suite: suite.name(), found }));
            }
            if sizes.contains(&size) {
                return Err((bits.span(), Problem::SizeTwice { suite: suite.name(), found }));
            }
            sizes.push(size);
        }
        if sizes.is_empty() {
            let (suite, possible) = (suite.name(), suite.key_sizes().to_string());
            return Err((cipher.keys.span(), Problem::NoSizes { suite, possible }));
        }
        let wire_name = spelt(suite, name);
        enabled.push(EnabledSuite { suite, wire_name, sizes });
    }
    Ok(enabled.into())
}

/// The suite's own spelling of a name or alias that a user wrote in any case.
fn spelt(suite: &dyn CipherSuite, name: &str) -> &'static str {
    let aliases = suite.aliases().iter().copied();
    aliases.into_iter().find(|a| a.eq_ignore_ascii_case(name)).unwrap_or_else(|| suite.name())
}

/// What to write if a size was counted in bytes, or with or without the parity bits of DES.
fn other_count(suite: &dyn CipherSuite, found: i64) -> String {
    let is_possible = |bits: i64| {
        let size = u32::try_from(bits).ok().and_then(KeySize::from_bits);
        size.is_some_and(|size| suite.key_sizes().contains(size))
    };
    let in_bits = found.saturating_mul(8);
    if (1..=64).contains(&found) && is_possible(in_bits) {
        return format!("; sizes are in bits: {in_bits}");
    }
    match (suite.name(), found) {
        ("DES3", 168) => "; with parity bits that is 192".to_owned(),
        ("DES3", 112) => "; with parity bits that is 128".to_owned(),
        ("DES", 64) => "; without parity bits that is 56".to_owned(),
        _ => String::new(),
    }
}

/// What to do about a cipher that is not linked: another spelling, or another program.
fn remedy(name: &str, registry: &Registry) -> String {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let plain = ["cbc", "ecb", "ctr", "gcm"]
        .iter()
        .fold(plain.as_str(), |plain, mode| plain.strip_suffix(mode).unwrap_or(plain));
    let base = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let bits = &plain[base.len()..];
    let linked = |wanted: &str| {
        let other = OTHER_NAMES.iter().find(|(other, _)| *other == wanted);
        let suite = registry.find_ignoring_case(other.map_or(wanted, |(_, name)| name));
        suite.map(CipherSuite::name)
    };
    if let Some(found) = linked(plain) {
        return format!("; write name = \"{found}\"");
    }
    if let Some(found) = linked(base).filter(|_| !bits.is_empty()) {
        return format!("; write name = \"{found}\" and keys = [{bits}]");
    }
    let feature = |name: &str| FEATURES.iter().find(|(known, _)| *known == name);
    match feature(plain).or_else(|| feature(base)) {
        Some((_, feature)) => format!(
            "; this program was built without it: `cargo build --release --features \
             vpn-suites/{feature}` builds one that has it"
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    // rustc links only crates that are named.
    use vpn_suites as _;

    #[test]
    fn a_cipher_that_is_not_linked_says_how_to_get_it() {
        let linked = Registry::linked().unwrap();
        let few = Registry::new(linked.iter().filter(|s| s.name() == "AES")).unwrap();
        for (name, words) in [
            ("DES", "--features vpn-suites/des`"),
            ("des3", "--features vpn-suites/tdes`"),
            ("SM4", "--features vpn-suites/sm4`"),
            ("AES-256", "write name = \"AES\" and keys = [256]"),
            ("aes_128_cbc", "write name = \"AES\" and keys = [128]"),
            ("Rijndael", "write name = \"AES\""),
            ("A.E.S.", "write name = \"AES\""),
        ] {
            let got = remedy(name, &few);
            assert!(got.contains(words), "{name}: {got}");
        }
        assert_eq!(remedy("ROT13", &few), "");
    }
}
