//! IDEA (Lai, Massey, Murphy, 1991) as the cipher suite `IDEA`, with keys of 128 bits.
//!
//! There are classes of weak keys, 2^51 of 2^128 and more (Daemen, Govaerts, Vandewalle, 1993; Biryukov
//! and others, 2002): no key that comes from a hash is ever one of them, so they are not refused. For peers that have
//! nothing better: the block has 64 bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SuiteError};

/// The suite `IDEA`, known from the first PGP.
#[derive(Clone, Copy, Debug)]
pub struct Idea;

impl CipherSuite for Idea {
    fn name(&self) -> &'static str {
        "IDEA"
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128])
    }

    fn block_size(&self) -> usize {
        8
    }

    // Multiplication modulo 2^16 + 1 treats zero apart, with a branch.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Cbc::<idea::Idea>::new(key)?))
    }
}

vpn_suite::register!(&Idea);
