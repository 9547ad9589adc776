//! Serpent (Anderson, Biham, Knudsen, 1998) as the cipher suite `Serpent`, with keys of 128, 192 and
//! 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `Serpent`: the most cautious of the finalists for AES.
#[derive(Clone, Copy, Debug)]
pub struct Serpent;

impl CipherSuite for Serpent {
    fn name(&self) -> &'static str {
        "Serpent"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128, 192, 256])
    }

    fn block_size(&self) -> usize {
        16
    }

    // S-boxes are computed with bit operations, as the authors meant them.
    fn is_constant_time(&self) -> bool {
        true
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::<serpent::Serpent>::new(key)?))
    }
}

vpn_suite::register!(&Serpent);
