//! Cipher suites of the sealed profile: names and order of preference (PROTOCOL.md §4.2).

use crate::suite::{EnabledSuite, SuiteId};

/// The name of a suite and key size on the wire, for example `aes-256-cbc`.
pub fn suite_name(id: SuiteId) -> String {
    format!("{}-{}-cbc", id.suite.name().to_ascii_lowercase(), id.size.bits())
}

/// All enabled suites in the order of preference: longest key first, but suites with 64-bit blocks
/// last. Among equals the order of the configuration decides.
pub(super) fn ranked(enabled: &[EnabledSuite]) -> Vec<SuiteId> {
    let mut ids: Vec<SuiteId> = enabled
        .iter()
        .flat_map(|e| e.sizes.iter().map(|&size| SuiteId { suite: e.suite, size }))
        .collect();
    ids.sort_by_key(|id| (id.suite.block_size() <= 8, std::cmp::Reverse(id.size)));
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{aes, aes256};

    #[test]
    fn names_are_lower_case_and_long_keys_come_first() {
        assert_eq!(suite_name(aes256()), "aes-256-cbc");
        let names: Vec<String> =
            ranked(&aes(&[128, 256, 192])).into_iter().map(suite_name).collect();
        assert_eq!(names, ["aes-256-cbc", "aes-192-cbc", "aes-128-cbc"]);
    }
}
