//! Kuznyechik (GOST R 34.12-2015, RFC 7801) as the cipher suite `Kuznyechik`, with keys of 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `Kuznyechik`: the Russian standard.
#[derive(Clone, Copy, Debug)]
pub struct Kuznyechik;

impl CipherSuite for Kuznyechik {
    fn name(&self) -> &'static str {
        "Kuznyechik"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["Grasshopper"]
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[256])
    }

    fn block_size(&self) -> usize {
        16
    }

    // S-boxes are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::<kuznyechik::Kuznyechik>::new(key)?))
    }
}

vpn_suite::register!(&Kuznyechik);
