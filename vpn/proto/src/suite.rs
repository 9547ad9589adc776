//! Cipher suites that the configuration enables, the same in both profiles.

use std::fmt;

use vpn_suite::{CipherSuite, KeySize};

/// A suite that is linked *and* listed in the configuration, with the key sizes listed there.
#[derive(Clone, Debug)]
pub struct EnabledSuite {
    /// The suite.
    pub suite: &'static dyn CipherSuite,
    /// The name to offer: the name of the suite, or the alias that the configuration uses.
    pub wire_name: &'static str,
    /// The enabled key sizes, in the order of the configuration.
    pub sizes: Vec<KeySize>,
}

impl EnabledSuite {
    /// Whether this is the name or an alias of the suite. Upper and lower case differ.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.suite.name() == name || self.suite.aliases().contains(&name)
    }
}

/// A suite with one of its key sizes. It is displayed as name and bits: `AES256`.
#[derive(Clone, Copy, Debug)]
pub struct SuiteId {
    /// The suite.
    pub suite: &'static dyn CipherSuite,
    /// The key size.
    pub size: KeySize,
}

impl fmt::Display for SuiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.suite.name(), self.size.bits())
    }
}
