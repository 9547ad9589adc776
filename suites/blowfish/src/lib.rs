//! Blowfish (Schneier, FSE 1993) as the cipher suite `Blowfish`, with keys of 32 to 448 bits.
//!
//! A long key does not make up for the block of 64 bits: blocks begin to collide after some 32 GiB
//! under one key, and tell about the plaintext long before.

#![forbid(unsafe_code)]

mod cipher;
mod pi;

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `Blowfish`: for peers that have nothing better.
#[derive(Clone, Copy, Debug)]
pub struct Blowfish;

impl CipherSuite for Blowfish {
    fn name(&self) -> &'static str {
        "Blowfish"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::Range { min: 32, max: 448, step: 8 }
    }

    fn block_size(&self) -> usize {
        8
    }

    // S-boxes are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::from(cipher::Blowfish::new(key))))
    }
}

vpn_suite::register!(&Blowfish);
