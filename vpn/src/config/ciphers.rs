//! The tables `[[supported_cipher]]`: the ciphers to enable, in order of preference, and their key
//! sizes. A cipher must be linked into this program.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use vpn_suite::{CipherSuite, KeySize, Registry};

use super::problem::{Fault, Problem};
use super::section::{Context, Section};
use super::source::{DEFAULT_PATH, Source};
use super::table::RawTable;
use crate::files::shown;
use vpn_proto::EnabledSuite;
use vpn_proto::classic::SHARED_KEY_LEN;

/// The names of the suites in this repository, and the features that link them.
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
/// Other names of ciphers, without punctuation, and the names in this program.
const OTHER_NAMES: [(&str, &str); 3] =
    [("tripledes", "DES3"), ("rijndael", "AES"), ("desede", "DES3")];

/// The tables `[[supported_cipher]]`.
#[derive(Clone, Debug)]
pub struct Ciphers {
    /// The enabled suites, in order of preference.
    pub enabled: Arc<[EnabledSuite]>,
    /// For each of them, the line with its list of keys.
    key_lines: Vec<usize>,
}

/// One table `[[supported_cipher]]`, not yet checked.
struct Listed {
    name: Spanned<String>,
    keys: Spanned<Vec<Spanned<i64>>>,
}

impl Section for Ciphers {
    const NAME: &'static str = "supported_cipher";
    const KEYS: &'static [&'static str] = &["name", "keys"];
    const IS_LIST: bool = true;

    fn read(file: &mut RawTable<'_>, context: &Context<'_>) -> Result<Self, Fault> {
        let tables = file.tables(Self::NAME, Self::KEYS)?.into_iter();
        let mut listed =
            tables.map(|(span, table)| Listed::read(span, table)).collect::<Result<Vec<_>, _>>()?;
        let registry = context.registry;
        if *context.source == Source::BuiltIn {
            // The default lists the usual suites. This program may be linked without some of them.
            listed.retain(|c| registry.find_ignoring_case(c.name.get_ref()).is_some());
            if listed.is_empty() {
                let linked = registry.names().collect::<Vec<_>>().join(", ");
                return Err(Fault::of_file(Problem::NothingBuiltIn { linked }));
            }
        }
        if listed.is_empty() {
            return Err(Fault::of_file(Problem::NoCiphers));
        }
        let mut enabled: Vec<EnabledSuite> = Vec::new();
        for cipher in &listed {
            let suite = find(cipher, registry)?;
            if enabled.iter().any(|e| e.suite.name() == suite.name()) {
                let (found, suite) = (cipher.name.get_ref().clone(), suite.name());
                let problem = Problem::DuplicateCipher { found, suite };
                return Err(Fault::new(cipher.name.span(), problem));
            }
            let sizes = key_sizes(cipher, suite)?;
            let wire_name = own_spelling(suite, cipher.name.get_ref());
            enabled.push(EnabledSuite { suite, wire_name, sizes });
        }
        let key_lines = listed.iter().map(|c| context.line(&c.keys.span())).collect();
        Ok(Self { enabled: enabled.into(), key_lines })
    }
}

impl Ciphers {
    /// Says how to enable a suite of the sealed profile, such as `aes-256-cbc`. `source` is where the
    /// ciphers were read from.
    pub(super) fn how_to_enable(&self, suite: &str, source: &Source) -> String {
        let parts: Vec<&str> = suite.rsplitn(3, '-').collect();
        let &[_, bits, name] = parts.as_slice() else {
            return format!("enable {suite}");
        };
        let position = self.enabled.iter().position(|e| e.suite.name().eq_ignore_ascii_case(name));
        let line = position.and_then(|at| self.key_lines.get(at));
        match (source, line) {
            (Source::File(path), Some(line)) => {
                format!("add {bits} to keys in {}:{line}", shown(path))
            }
            (Source::File(path), None) => format!(
                "add to {}: [[supported_cipher]] name = \"{name}\", keys = [{bits}]",
                shown(path)
            ),
            (Source::BuiltIn, _) => format!(
                "write {DEFAULT_PATH} (`vpn suites --show-config` prints a start) with \
                 [[supported_cipher]] name = \"{name}\", keys = [{bits}]"
            ),
        }
    }
}

impl Listed {
    fn read(span: Range<usize>, mut table: RawTable<'_>) -> Result<Self, Fault> {
        let missing = |key: &str, example: &str| {
            let message =
                format!("this [[supported_cipher]] has no {key}; add a line such as {example}");
            Fault::message(span.clone(), message)
        };
        let name = table.text("name")?.ok_or_else(|| missing("name", "name = \"AES\""))?;
        let keys = table.numbers("keys", "[128, 192, 256]")?;
        let keys = keys.ok_or_else(|| missing("keys", "keys = [128, 192, 256]"))?;
        Ok(Self { name, keys })
    }
}

/// Looks up a listed cipher among the linked ones. Upper and lower case are the same.
fn find(cipher: &Listed, registry: &Registry) -> Result<&'static dyn CipherSuite, Fault> {
    let name = cipher.name.get_ref();
    registry.find_ignoring_case(name).ok_or_else(|| {
        let linked = registry.names().collect::<Vec<_>>().join(", ");
        let problem =
            Problem::UnknownCipher { name: name.clone(), linked, remedy: remedy(name, registry) };
        Fault::new(cipher.name.span(), problem)
    })
}

/// Checks the list of key sizes of a cipher, in bits.
fn key_sizes(cipher: &Listed, suite: &dyn CipherSuite) -> Result<Vec<KeySize>, Fault> {
    let (name, possible) = (suite.name(), suite.key_sizes());
    let mut sizes: Vec<KeySize> = Vec::new();
    for bits in cipher.keys.get_ref() {
        let found = *bits.get_ref();
        let fault = |problem| Fault::new(bits.span(), problem);
        let size = u32::try_from(found).ok().and_then(KeySize::from_bits);
        let Some(size) = size.filter(|size| possible.contains(*size)) else {
            let (possible, remedy) = (possible.to_string(), size_remedy(suite, found));
            let problem = Problem::UnknownKeySize { suite: name, found, possible, remedy };
            return Err(fault(problem));
        };
        if size.bytes() > SHARED_KEY_LEN {
            return Err(fault(Problem::KeySizeTooLong { suite: name, found }));
        }
        if sizes.contains(&size) {
            return Err(fault(Problem::DuplicateKeySize { suite: name, found }));
        }
        sizes.push(size);
    }
    if sizes.is_empty() {
        let problem = Problem::NoKeySizes { suite: name, possible: possible.to_string() };
        return Err(Fault::new(cipher.keys.span(), problem));
    }
    Ok(sizes)
}

/// The suite's own spelling of its name or alias. `name` may have other upper and lower case.
fn own_spelling(suite: &dyn CipherSuite, name: &str) -> &'static str {
    let alias = suite.aliases().iter().copied().find(|a| a.eq_ignore_ascii_case(name));
    alias.unwrap_or_else(|| suite.name())
}

/// What to write if a size was counted in bytes, or with the wrong number of parity bits of DES.
fn size_remedy(suite: &dyn CipherSuite, found: i64) -> String {
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

/// What to do about a cipher that is not linked: write its name differently, or build a program that
/// has it. Empty if neither is known to help.
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
