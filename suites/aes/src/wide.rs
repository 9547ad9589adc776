//! CBC with vector kernels, and with the aes crate for blocks that do not fill their vectors.

use vpn_suite::lanes::Chain;
use vpn_suite::{Cbc, CbcDecryptor, CbcEncryptor, Lane, SuiteError};

use crate::aesni::{self, AesNi};
use crate::keys::{Block, RoundKeys};
use crate::vectors::{Vectors, encrypt_equal, encrypt_mixed};

/// AES with `KEYS` round keys. The kernel `V` encrypts many chains, the AES-NI kernel a few, and
/// the cipher `C` of the aes crate one.
pub(crate) struct Wide<C, V, const KEYS: usize, const WIDTH: usize> {
    one: Cbc<C>,
    few: AesNi,
    many: V,
    keys: RoundKeys<KEYS>,
}

impl<C, V, const KEYS: usize, const WIDTH: usize> Wide<C, V, KEYS, WIDTH>
where
    V: Vectors<WIDTH>,
{
    /// All three have the same key.
    pub(crate) fn new(one: Cbc<C>, few: AesNi, many: V, keys: RoundKeys<KEYS>) -> Self {
        const { assert!(V::FEWEST <= aesni::WIDTH + 1, "the AES-NI kernel takes all others") };
        Self { one, few, many, keys }
    }
}

impl<C, V, const KEYS: usize, const WIDTH: usize> CbcEncryptor for Wide<C, V, KEYS, WIDTH>
where
    C: Send,
    V: Vectors<WIDTH>,
    Cbc<C>: CbcEncryptor,
{
    fn encrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        self.one.encrypt(iv, blocks)
    }

    fn encrypt_lanes(&self, lanes: &mut [Lane<'_>]) -> Result<(), SuiteError> {
        // An invalid lane is found before any lane is changed.
        for lane in lanes.iter_mut() {
            as_blocks(lane.iv, lane.blocks)?;
        }
        let keys = &self.keys.encryption;
        let length = lanes.first().map_or(0, |lane| lane.blocks.len());
        if lanes.iter().all(|lane| lane.blocks.len() == length) {
            for batch in lanes.chunks_mut(WIDTH) {
                match batch {
                    [lane] => self.one.encrypt(lane.iv, lane.blocks)?,
                    _ if batch.len() < V::FEWEST => encrypt_equal(self.few, keys, batch),
                    _ => encrypt_equal(self.many, keys, batch),
                }
            }
            return Ok(());
        }
        let chains = lanes.iter_mut().filter_map(|lane| {
            as_blocks(lane.iv, lane.blocks).ok().map(|(iv, blocks)| Chain { iv, blocks })
        });
        let chains = encrypt_mixed(self.many, keys, chains);
        for last in encrypt_mixed(self.few, keys, chains) {
            self.one.encrypt(last.iv, last.blocks.as_flattened_mut())?;
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        V::NAME
    }
}

impl<C, V, const KEYS: usize, const WIDTH: usize> CbcDecryptor for Wide<C, V, KEYS, WIDTH>
where
    C: Send,
    V: Vectors<WIDTH>,
    Cbc<C>: CbcDecryptor,
{
    fn decrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        if blocks.len() < aesni::WIDTH * size_of::<Block>() {
            return self.one.decrypt(iv, blocks);
        }
        let keys = &self.keys.decryption;
        let (iv, blocks) = as_blocks(iv, blocks)?;
        let (groups, blocks) = blocks.as_chunks_mut();
        if !groups.is_empty() {
            self.many.decrypt(keys, iv, groups);
        }
        let (groups, blocks) = blocks.as_chunks_mut();
        if !groups.is_empty() {
            self.few.decrypt(keys, iv, groups);
        }
        self.one.decrypt(iv, blocks.as_flattened_mut())
    }

    fn kernel(&self) -> &'static str {
        V::NAME
    }
}

/// Checks both lengths and returns the same bytes as blocks.
fn as_blocks<'a>(
    iv: &'a mut [u8],
    blocks: &'a mut [u8],
) -> Result<(&'a mut Block, &'a mut [Block]), SuiteError> {
    let (block_size, got, len) = (size_of::<Block>(), iv.len(), blocks.len());
    let iv = iv.as_mut_array().ok_or(SuiteError::IvLength { got, block_size })?;
    match blocks.as_chunks_mut() {
        (blocks, []) => Ok((iv, blocks)),
        _ => Err(SuiteError::Misaligned { len, block_size }),
    }
}
