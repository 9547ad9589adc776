//! Every suite of the bundle is linked: one that is not named would be missing.

use vpn_suite::{CipherSuite, Registry};

#[test]
fn every_suite_of_the_bundle_is_linked() {
    let registry = Registry::linked().unwrap();
    let manifest = include_str!("../../suites/bundle/Cargo.toml");
    let dependencies = manifest.lines().filter(|line| line.starts_with("vpn-suite-")).count();
    assert_eq!(registry.len(), dependencies, "{:?}", registry.names().collect::<Vec<_>>());
    for name in ["AES", "Blowfish", "DES3"] {
        assert!(registry.find(name).is_some(), "{name}");
    }
}

#[test]
fn aliases_lead_to_the_same_suite() {
    let registry = Registry::linked().unwrap();
    for alias in ["3DES", "TDES", "DES3"] {
        assert_eq!(registry.find(alias).map(CipherSuite::name), Some("DES3"));
    }
    assert!(registry.find("3des").is_none(), "names on the wire are compared as they are");
    assert_eq!(registry.find_ignoring_case("3des").map(CipherSuite::name), Some("DES3"));
}
