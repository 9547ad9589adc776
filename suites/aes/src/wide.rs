//! CBC with the VAES kernel, and with the aes crate for blocks that do not fill its vectors.

use vpn_suite::lanes::{Active, Chain};
use vpn_suite::{Cbc, CbcDecryptor, CbcEncryptor, Lane, SuiteError};

use crate::vaes::{Block, Vaes, WIDTH};

/// With this many chains or fewer, the aes crate is as fast as half-empty vectors.
const NARROW: usize = 8;

/// The cipher `C` of the aes crate, and the VAES kernel with the same key. It has `KEYS` round
/// keys.
pub(crate) struct Wide<C, const KEYS: usize> {
    narrow: Cbc<C>,
    vaes: Vaes<KEYS>,
}

impl<C, const KEYS: usize> Wide<C, KEYS> {
    pub(crate) fn new(narrow: Cbc<C>, vaes: Vaes<KEYS>) -> Self {
        Self { narrow, vaes }
    }
}

impl<C, const KEYS: usize> CbcEncryptor for Wide<C, KEYS>
where
    C: Send,
    Cbc<C>: CbcEncryptor,
{
    fn encrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        self.narrow.encrypt(iv, blocks)
    }

    fn encrypt_lanes(&self, lanes: &mut [Lane<'_>]) -> Result<(), SuiteError> {
        // An invalid lane is found before any lane is changed.
        for lane in lanes.iter_mut() {
            as_blocks(lane.iv, lane.blocks)?;
        }
        if lanes.len() <= NARROW {
            return self.narrow.encrypt_lanes(lanes);
        }
        let chains = lanes.iter_mut().filter_map(|lane| {
            as_blocks(lane.iv, lane.blocks).ok().map(|(iv, blocks)| Chain { iv, blocks })
        });
        let mut active = Active::<_, _, WIDTH>::new(chains);
        while active.count() > NARROW {
            let mut ivs = [Block::default(); WIDTH];
            let mut parts: [&mut [Block]; WIDTH] = Default::default();
            let steps = active.begin(&mut ivs, &mut parts);
            self.vaes.encrypt(&mut ivs, &mut parts, steps);
            active.end(&ivs);
        }
        let mut rest: [Lane<'_>; NARROW] =
            std::array::from_fn(|_| Lane { iv: &mut [], blocks: &mut [] });
        let mut count = 0;
        for (place, chain) in rest.iter_mut().zip(active.into_rest()) {
            *place = Lane { iv: chain.iv, blocks: chain.blocks.as_flattened_mut() };
            count += 1;
        }
        self.narrow.encrypt_lanes(&mut rest[..count])
    }

    fn kernel(&self) -> &'static str {
        "vaes x16"
    }
}

impl<C, const KEYS: usize> CbcDecryptor for Wide<C, KEYS>
where
    C: Send,
    Cbc<C>: CbcDecryptor,
{
    fn decrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        let (block, blocks) = as_blocks(iv, blocks)?;
        let rest = self.vaes.decrypt(block, blocks);
        self.narrow.decrypt(block, rest.as_flattened_mut())
    }

    fn kernel(&self) -> &'static str {
        "vaes x16"
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
