//! The implementation that `suite!` generates.

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySize, KeySizes, Registry, SpeedClass, SuiteError};

vpn_suite::suite! {
    /// One function for each key size, and all optional fields.
    struct Full;
    name: "FULL",
    aliases: &["F", "Fu"],
    block_size: 16,
    is_constant_time: true,
    speed: SpeedClass::Slow,
    keys: {
        256 => Cbc::<aes::Aes256>::boxed,
        128 | 192 => refuse,
    },
}

vpn_suite::suite! {
    /// A range of key sizes, and no optional field.
    struct Range;
    name: "RANGE",
    block_size: 8,
    is_constant_time: false,
    keys: { 40..=72 step 16 => refuse }
}

fn refuse(_: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
    Err(SuiteError::WeakKey { suite: "FULL", reason: "it is refused" })
}

#[test]
fn fields_are_what_the_methods_return() {
    assert_eq!((Full.name(), Full.aliases()), ("FULL", ["F", "Fu"].as_slice()));
    assert_eq!((Full.block_size(), Full.is_constant_time()), (16, true));
    assert_eq!(Full.speed(), SpeedClass::Slow);
    assert_eq!(Full.key_sizes(), KeySizes::List(&[256, 128, 192]));

    assert_eq!((Range.name(), Range.aliases()), ("RANGE", [].as_slice()));
    assert_eq!((Range.block_size(), Range.is_constant_time()), (8, false));
    assert_eq!(Range.speed(), SpeedClass::Software);
    assert_eq!(Range.key_sizes(), KeySizes::Range { min: 40, max: 72, step: 16 });
}

#[test]
fn keys_are_given_to_the_function_of_their_size() {
    for bytes in 0..=64 {
        for suite in [&Full as &dyn CipherSuite, &Range] {
            let sizes = suite.key_sizes();
            let error = match KeySize::from_bytes(bytes).filter(|&size| sizes.contains(size)) {
                Some(size) if size.bits() == 256 => None,
                Some(_) => Some(SuiteError::WeakKey { suite: "FULL", reason: "it is refused" }),
                None => {
                    let suite = suite.name();
                    Some(SuiteError::KeyLength { suite, got: bytes, expected: sizes })
                }
            };
            let key = vec![7; bytes];
            assert_eq!(suite.keyed(&key).err(), error, "{suite:?}, {bytes} bytes");
            assert_eq!(suite.encryptor(&key).err(), error, "{suite:?}, {bytes} bytes");
        }
    }
}

#[test]
fn suites_are_registered() {
    let registry = Registry::linked().unwrap();
    assert_eq!(registry.names().collect::<Vec<_>>(), ["FULL", "RANGE"]);
}
