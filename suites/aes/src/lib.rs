//! AES (FIPS 197) as the cipher suite `AES`, with keys of 128, 192 and 256 bits.

#![forbid(unsafe_code)]

use aes::{Aes128, Aes192, Aes256};
use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SpeedClass, SuiteError};

/// The suite `AES`: the right choice wherever the peer has it.
#[derive(Clone, Copy, Debug)]
pub struct Aes;

impl CipherSuite for Aes {
    fn name(&self) -> &'static str {
        "AES"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128, 192, 256])
    }

    fn block_size(&self) -> usize {
        16
    }

    // Hardware instructions where there are any, fixsliced bit operations elsewhere.
    fn is_constant_time(&self) -> bool {
        true
    }

    fn speed(&self) -> SpeedClass {
        SpeedClass::Hardware
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(match key.len() {
            16 => Box::new(Cbc::<Aes128>::new(key)?),
            24 => Box::new(Cbc::<Aes192>::new(key)?),
            _ => Box::new(Cbc::<Aes256>::new(key)?),
        })
    }
}

vpn_suite::register!(&Aes);
