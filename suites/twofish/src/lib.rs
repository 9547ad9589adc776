//! Twofish (Schneier and others, 1998) as the cipher suite `Twofish`, with keys of 128, 192 and 256
//! bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SpeedClass, SuiteError};

/// The suite `Twofish`: a finalist for AES, by the author of Blowfish.
#[derive(Clone, Copy, Debug)]
pub struct Twofish;

impl CipherSuite for Twofish {
    fn name(&self) -> &'static str {
        "Twofish"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128, 192, 256])
    }

    fn block_size(&self) -> usize {
        16
    }

    // S-boxes depend on the key and are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    // The crate computes what others look up.
    fn speed(&self) -> SpeedClass {
        SpeedClass::Slow
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::<twofish::Twofish>::new(key)?))
    }
}

vpn_suite::register!(&Twofish);
