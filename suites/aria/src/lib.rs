//! ARIA (RFC 5794, KS X 1213) as the cipher suite `ARIA`, with keys of 128, 192 and 256 bits.

#![forbid(unsafe_code)]

use aria::{Aria128, Aria192, Aria256};
use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `ARIA`: the Korean standard, in the shape of AES.
#[derive(Clone, Copy, Debug)]
pub struct Aria;

impl CipherSuite for Aria {
    fn name(&self) -> &'static str {
        "ARIA"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128, 192, 256])
    }

    fn block_size(&self) -> usize {
        16
    }

    // S-boxes are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(match key.len() {
            16 => Box::new(Cbc::<Aria128>::new(key)?),
            24 => Box::new(Cbc::<Aria192>::new(key)?),
            _ => Box::new(Cbc::<Aria256>::new(key)?),
        })
    }
}

vpn_suite::register!(&Aria);
