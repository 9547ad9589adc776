//! The registry of suites, in a fixed order and with unambiguous names.

use std::fmt;

use crate::{CipherSuite, RegistryError};

/// A set of cipher suites with different names, sorted by name.
///
/// A suite in the registry is *available*. Only the configuration *enables* it.
#[derive(Clone)]
pub struct Registry {
    suites: Vec<&'static dyn CipherSuite>,
}

impl Registry {
    /// Collects every suite that is linked into this program.
    ///
    /// Call it in the entry point and pass `&Registry` to all other code.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new). The usual reason for [`RegistryError::Empty`] is that no
    /// suite crate is *named*: a dependency in the manifest needs a line `use that_suite as _;` as
    /// well.
    pub fn linked() -> Result<Self, RegistryError> {
        Self::new(inventory::iter::<Registration>.into_iter().map(|registration| registration.0))
    }

    /// Collects the given suites.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Empty`] if there are no suites. Otherwise the error of the first invalid
    /// suite: an invalid name, block size or key size, or a name that another suite has too. Names
    /// that differ only in case are the same.
    pub fn new<I>(suites: I) -> Result<Self, RegistryError>
    where
        I: IntoIterator<Item = &'static dyn CipherSuite>,
    {
        let mut suites: Vec<_> = suites.into_iter().collect();
        if suites.is_empty() {
            return Err(RegistryError::Empty);
        }
        suites.sort_by_key(|suite| suite.name());
        let registry = Self { suites };
        registry.iter().try_for_each(check)?;
        registry.check_duplicates()?;
        Ok(registry)
    }

    /// Iterates over the suites, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'static dyn CipherSuite> {
        self.suites.iter().copied()
    }

    /// Returns the number of suites.
    pub fn len(&self) -> usize {
        self.suites.len()
    }

    /// Returns whether there are no suites. No constructor makes an empty registry.
    pub fn is_empty(&self) -> bool {
        self.suites.is_empty()
    }

    /// Iterates over the names without aliases, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.iter().map(CipherSuite::name)
    }

    /// Finds the suite with exactly this name or alias. Use it for names from a peer.
    pub fn find(&self, name: &str) -> Option<&'static dyn CipherSuite> {
        self.iter().find(|&suite| all_names(suite).any(|own| own == name))
    }

    /// Finds the suite with this name or alias and ignores case. Use it for names that a person
    /// typed.
    pub fn find_ignoring_case(&self, name: &str) -> Option<&'static dyn CipherSuite> {
        self.iter().find(|&suite| all_names(suite).any(|own| own.eq_ignore_ascii_case(name)))
    }

    fn check_duplicates(&self) -> Result<(), RegistryError> {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for suite in self.iter() {
            for name in all_names(suite) {
                let clash = seen.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
                if let Some(&(_, first)) = clash {
                    return Err(RegistryError::Duplicate { name, first, second: suite.name() });
                }
                seen.push((name, suite.name()));
            }
        }
        Ok(())
    }
}

/// Shows the names.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.suites).finish()
    }
}

/// A suite that [`register!`](crate::register) has registered.
#[derive(Debug)]
pub struct Registration(#[doc(hidden)] pub &'static dyn CipherSuite);

inventory::collect!(Registration);

/// Registers a suite: [`Registry::linked`](crate::Registry::linked) then finds it in every program
/// that links the crate.
///
/// [`suite!`](crate::suite!) does this already. If you implement the trait by hand, write
/// `vpn_suite::register!(&Example);` outside of any function. The argument must be a reference that
/// a `static` could hold, such as one to a unit struct.
#[macro_export]
macro_rules! register {
    ($suite:expr $(,)?) => {
        $crate::inventory::submit! { $crate::Registration($suite) }
    };
}

/// Returns the name and the aliases.
fn all_names(suite: &dyn CipherSuite) -> impl Iterator<Item = &'static str> + use<> {
    [suite.name()].into_iter().chain(suite.aliases().iter().copied())
}

/// Checks what a suite declares.
fn check(suite: &dyn CipherSuite) -> Result<(), RegistryError> {
    let own = suite.name();
    if let Some(name) = all_names(suite).find(|name| !is_wire_name(name)) {
        return Err(RegistryError::Name { suite: own, name });
    }
    let block_size = suite.block_size();
    if block_size == 0 || !MESSAGE_UNIT.is_multiple_of(block_size) {
        return Err(RegistryError::BlockSize { suite: own, got: block_size });
    }
    let declared = suite.key_sizes();
    if declared.longest().is_none() {
        return Err(RegistryError::NoKeySizes { suite: own });
    }
    if !declared.is_well_formed() {
        return Err(RegistryError::KeySizes { suite: own, declared });
    }
    Ok(())
}

/// Returns whether a name can stand in `NAME:[128,192],…`: it has no colon, comma, bracket or
/// space.
fn is_wire_name(name: &str) -> bool {
    let is_wire_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_wire_byte)
}

/// Messages of all suites are padded to a multiple of this, so the block size must divide it.
const MESSAGE_UNIT: usize = 16;

/// The maximum length of a name on the wire, in bytes.
const MAX_NAME: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CbcCipher, KeySizes, SuiteError};

    struct Toy {
        name: &'static str,
        aliases: &'static [&'static str],
        key_sizes: KeySizes,
        block_size: usize,
    }

    impl CipherSuite for Toy {
        fn name(&self) -> &'static str {
            self.name
        }
        fn aliases(&self) -> &'static [&'static str] {
            self.aliases
        }
        fn key_sizes(&self) -> KeySizes {
            self.key_sizes
        }
        fn block_size(&self) -> usize {
            self.block_size
        }
        fn is_constant_time(&self) -> bool {
            true
        }
        fn keyed(&self, _: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
            unreachable!("nothing here encrypts")
        }
    }

    const GOOD: Toy =
        Toy { name: "GOOD", aliases: &[], key_sizes: KeySizes::List(&[128]), block_size: 16 };

    fn registry<const N: usize>(toys: [Toy; N]) -> Result<Registry, RegistryError> {
        Registry::new(toys.map(|toy| Box::leak(Box::new(toy)) as &'static dyn CipherSuite))
    }

    fn refusal<const N: usize>(toys: [Toy; N]) -> String {
        registry(toys).unwrap_err().to_string()
    }

    #[test]
    fn empty_set_is_refused() {
        assert_eq!(registry([]).unwrap_err(), RegistryError::Empty);
    }

    #[test]
    fn nothing_is_linked_into_this_crate() {
        assert_eq!(Registry::linked().unwrap_err(), RegistryError::Empty);
    }

    #[test]
    fn suites_are_sorted_by_name() {
        let registry = registry(["b", "C", "a", "A2"].map(|name| Toy { name, ..GOOD })).unwrap();
        assert_eq!(registry.names().collect::<Vec<_>>(), ["A2", "C", "a", "b"]);
        assert_eq!((registry.len(), registry.is_empty()), (4, false));
        assert_eq!(format!("{registry:?}"), "Registry([A2, C, a, b])");
    }

    #[test]
    fn names_of_peers_are_matched_exactly_and_those_of_people_loosely() {
        let registry = registry([Toy { aliases: &["Fine", "Well"], ..GOOD }]).unwrap();
        for name in ["GOOD", "Fine", "Well"] {
            assert_eq!(registry.find(name).unwrap().name(), "GOOD");
            let typed = name.to_ascii_lowercase();
            assert!(registry.find(&typed).is_none());
            assert_eq!(registry.find_ignoring_case(&typed).unwrap().name(), "GOOD");
        }
        for name in ["", "GOO", "GOODS", " GOOD"] {
            assert!(registry.find(name).is_none());
            assert!(registry.find_ignoring_case(name).is_none());
        }
    }

    #[test]
    fn duplicate_names_are_refused_whatever_their_case() {
        let message = refusal([Toy { name: "Good", ..GOOD }, GOOD]);
        assert_eq!(message, "the name Good is claimed twice, by cipher suites GOOD and Good");
    }

    #[test]
    fn duplicate_aliases_are_refused_across_names_and_aliases() {
        let other = Toy { name: "OTHER", ..GOOD };
        for toys in [
            [Toy { aliases: &["x", "other"], ..GOOD }, other],
            [GOOD, Toy { name: "OTHER", aliases: &["Good"], ..GOOD }],
            [Toy { aliases: &["x"], ..GOOD }, Toy { name: "OTHER", aliases: &["X"], ..GOOD }],
        ] {
            let error = registry(toys).unwrap_err();
            assert!(
                matches!(error, RegistryError::Duplicate { first: "GOOD", second: "OTHER", .. }),
                "{error}"
            );
        }
        assert_eq!(
            refusal([Toy { aliases: &["good"], ..GOOD }]),
            "the name good is claimed twice, by cipher suites GOOD and GOOD"
        );
    }

    #[test]
    fn names_that_break_the_wire_syntax_are_refused() {
        for name in ["", "A:B", "A,B", "[A", "A]", "A B", "A\n", "\u{c4}", "A/B", LONG_NAME] {
            let expected = RegistryError::Name { suite: name, name };
            assert_eq!(registry([Toy { name, ..GOOD }]).unwrap_err(), expected);
        }
        assert_eq!(
            refusal([Toy { aliases: &["fine", "A:B"], ..GOOD }]),
            "cipher suite GOOD: name \"A:B\" is not 1 to 26 of A-Z a-z 0-9 _ + . -"
        );
        for name in ["a", "Az09_+.-", &LONG_NAME[1..]] {
            assert!(registry([Toy { name, ..GOOD }]).is_ok(), "{name}");
        }
    }

    #[test]
    fn block_sizes_must_divide_16() {
        for block_size in (0..=33).chain([usize::MAX]) {
            let result = registry([Toy { block_size, ..GOOD }]);
            assert_eq!(result.is_ok(), [1, 2, 4, 8, 16].contains(&block_size), "{block_size}");
        }
        assert_eq!(
            refusal([Toy { block_size: 0, ..GOOD }]),
            "cipher suite GOOD: block size 0 is not a divisor of 16 bytes"
        );
    }

    #[test]
    fn key_sizes_must_exist_and_be_whole_bytes() {
        let empty = KeySizes::Range { min: 64, max: 32, step: 8 };
        for key_sizes in [KeySizes::List(&[]), KeySizes::List(&[0, 7]), empty] {
            let message = refusal([Toy { key_sizes, ..GOOD }]);
            assert_eq!(message, "cipher suite GOOD has no key sizes");
        }
        assert_eq!(
            refusal([Toy { key_sizes: KeySizes::List(&[128, 129]), ..GOOD }]),
            "cipher suite GOOD: key sizes 128, 129 are not all multiples of 8 up to 4096"
        );
        assert_eq!(
            refusal([Toy { key_sizes: KeySizes::Range { min: 32, max: 64, step: 0 }, ..GOOD }]),
            "cipher suite GOOD: key sizes 32..=64 step 0 are not all multiples of 8 up to 4096"
        );
    }

    const LONG_NAME: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0";
}
