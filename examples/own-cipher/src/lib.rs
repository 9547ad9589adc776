//! A toy suite outside `suites/`: each block is xored with the key. It protects nothing; it shows
//! that a new cipher needs a crate of its own and a program that names it, and nothing else.

#![forbid(unsafe_code)]

use vpn_suite::{
    CbcCipher, CbcDecryptor, CbcEncryptor, CipherSuite, KeySizes, SuiteError, register,
};

/// The toy, `XOR` on the wire: 512-bit keys, longer than any real cipher's, so it wins every choice.
#[derive(Debug)]
pub struct Xor;

register!(&Xor);

const BLOCK: usize = 16;

impl CipherSuite for Xor {
    fn name(&self) -> &'static str {
        "XOR"
    }
    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[512])
    }
    fn block_size(&self) -> usize {
        BLOCK
    }
    fn is_constant_time(&self) -> bool {
        true
    }
    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        Ok(Box::new(Keyed::new(key)))
    }
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
