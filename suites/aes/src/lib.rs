//! AES (FIPS 197) as the cipher suite `AES`, with keys of 128, 192 and 256 bits.

// Only the module `vaes` has unsafe code. It calls instructions that not every processor has.
#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod vaes;
#[cfg(target_arch = "x86_64")]
mod wide;

use aes::{Aes128, Aes192, Aes256};
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use vpn_suite::{Cbc, CbcCipher, SpeedClass, SuiteError};
use zeroize::ZeroizeOnDrop;

vpn_suite::suite! {
    /// The suite `AES`, the best choice if the peer supports it.
    pub struct Aes;
    name: "AES",
    block_size: 16,
    // Hardware instructions if the processor has them, fixsliced code otherwise.
    is_constant_time: true,
    speed: SpeedClass::Hardware,
    keys: {
        128 => fastest::<Aes128, 11>,
        192 => fastest::<Aes192, 13>,
        256 => fastest::<Aes256, 15>,
    },
}

/// Keys the cipher `C`, which has `KEYS` round keys, and chooses the fastest kernel for this
/// processor.
fn fastest<C, const KEYS: usize>(key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + ZeroizeOnDrop + Send + 'static,
{
    let narrow = Cbc::<C>::new(key)?;
    #[cfg(target_arch = "x86_64")]
    if !vpn_suite::is_portable_forced()
        && let Some(vaes) = vaes::Vaes::<KEYS>::new(key)
    {
        return Ok(Box::new(wide::Wide::new(narrow, vaes)));
    }
    Ok(Box::new(narrow))
}
