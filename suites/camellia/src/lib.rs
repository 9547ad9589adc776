//! Camellia (RFC 3713, ISO/IEC 18033-3) as the cipher suite `Camellia`, with keys of 128, 192 and
//! 256 bits.

#![forbid(unsafe_code)]

use camellia::{Camellia128, Camellia192, Camellia256};
use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `Camellia`: the block and the keys of AES, from another school.
#[derive(Clone, Copy, Debug)]
pub struct Camellia;

impl CipherSuite for Camellia {
    fn name(&self) -> &'static str {
        "Camellia"
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
            16 => Box::new(Cbc::<Camellia128>::new(key)?),
            24 => Box::new(Cbc::<Camellia192>::new(key)?),
            _ => Box::new(Cbc::<Camellia256>::new(key)?),
        })
    }
}

vpn_suite::register!(&Camellia);
