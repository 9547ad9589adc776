//! A toy suite outside `suites/`. It XORs each block with the key, which protects nothing.
//!
//! It shows what a new cipher needs: a crate that declares the suite and a program that names the
//! crate.

#![forbid(unsafe_code)]

use vpn_suite::{CbcDecryptor, CbcEncryptor, SuiteError};

const BLOCK: usize = 16;

vpn_suite::suite! {
    /// The suite `XOR`. Its keys of 512 bits are longer than those of any other suite, so two peers
    /// that have it choose it.
    pub struct Xor;
    name: "XOR",
    block_size: BLOCK,
    is_constant_time: true,
    keys: { 512 => |key| Ok(Box::new(Keyed::new(key))) },
}

struct Keyed([u8; BLOCK]);

impl Keyed {
    fn new(key: &[u8]) -> Self {
        let mut folded = [0; BLOCK];
        for (i, byte) in key.iter().enumerate() {
            folded[i % BLOCK] ^= byte;
        }
        Self(folded)
    }
}

fn check(iv: &[u8], blocks: &[u8]) -> Result<(), SuiteError> {
    if iv.len() != BLOCK {
        return Err(SuiteError::IvLength { got: iv.len(), block_size: BLOCK });
    }
    if !blocks.len().is_multiple_of(BLOCK) {
        return Err(SuiteError::Misaligned { len: blocks.len(), block_size: BLOCK });
    }
    Ok(())
}

impl CbcEncryptor for Keyed {
    fn encrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        check(iv, blocks)?;
        for block in blocks.chunks_exact_mut(BLOCK) {
            for i in 0..BLOCK {
                block[i] ^= iv[i] ^ self.0[i];
            }
            iv.copy_from_slice(block);
        }
        Ok(())
    }
}

impl CbcDecryptor for Keyed {
    fn decrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        check(iv, blocks)?;
        for block in blocks.chunks_exact_mut(BLOCK) {
            for i in 0..BLOCK {
                let ciphertext = block[i];
                block[i] ^= iv[i] ^ self.0[i];
                iv[i] = ciphertext;
            }
        }
        Ok(())
    }
}
