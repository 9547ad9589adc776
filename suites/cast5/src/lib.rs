//! CAST5, also called CAST-128 (RFC 2144), as the cipher suite `CAST5`, with keys of 40 to 128 bits.
//!
//! Keys of up to 80 bits get 12 rounds instead of 16. For peers that have nothing better: the block
//! has 64 bits, and short keys are searched through.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `CAST5`, known from OpenPGP.
#[derive(Clone, Copy, Debug)]
pub struct Cast5;

impl CipherSuite for Cast5 {
    fn name(&self) -> &'static str {
        "CAST5"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["CAST-128", "CAST"]
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::Range { min: 40, max: 128, step: 8 }
    }

    fn block_size(&self) -> usize {
        8
    }

    // S-boxes are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::<cast5::Cast5>::new(key)?))
    }
}

vpn_suite::register!(&Cast5);
