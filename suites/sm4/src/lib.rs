//! SM4 (GB/T 32907-2016, ISO/IEC 18033-3) as the cipher suite `SM4`, with keys of 128 bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `SM4`: the Chinese standard.
#[derive(Clone, Copy, Debug)]
pub struct Sm4;

impl CipherSuite for Sm4 {
    fn name(&self) -> &'static str {
        "SM4"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128])
    }

    fn block_size(&self) -> usize {
        16
    }

    // S-boxes are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::<sm4::Sm4>::new(key)?))
    }
}

vpn_suite::register!(&Sm4);
