//! The table of kernels, and the choice between them. No other module of this crate chooses.
//!
//! | kernel | processor features it needs | encrypts 9 chains or more | 2 to 8 chains | one chain |
//! |---|---|---|---|---|
//! | `vaes-512 x16` | `aes`, `vaes`, `avx512f` | `vaes512` | `aesni` | aes crate |
//! | `vaes-256 x16` | `aes`, `vaes`, `avx2` | `vaes256` | `aesni` | aes crate |
//! | `aes-ni x8` | `aes`, `sse2` | `aesni` | `aesni` | aes crate |
//! | `generic` | none | aes crate | aes crate | aes crate |
//!
//! The first kernel that the processor can run is used, unless
//! [`force_kernels`](vpn_suite::force_kernels) says something else. The modules named in a row also
//! decrypt, in groups of 16 and 8 blocks; the aes crate decrypts the rest. The aes crate itself
//! uses AES-NI if the processor has it.

use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use vpn_suite::{Cbc, CbcCipher, SuiteError, choose_kernel};
use zeroize::ZeroizeOnDrop;

#[cfg(target_arch = "x86_64")]
use crate::{
    aesni::AesNi, keys::RoundKeys, vaes256::Vaes256, vaes512::Vaes512, vectors::Vectors, wide::Wide,
};

/// A kernel for AES. All kernels have the same results.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Vaes512(Vaes512),
    #[cfg(target_arch = "x86_64")]
    Vaes256(Vaes256),
    #[cfg(target_arch = "x86_64")]
    AesNi(AesNi),
    /// The aes crate alone.
    Generic,
}

impl Kernel {
    /// All kernels that this processor can run, the fastest first.
    fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let special = [
            Vaes512::detect().map(Self::Vaes512),
            Vaes256::detect().map(Self::Vaes256),
            AesNi::detect().map(Self::AesNi),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let special: [Option<Self>; 0] = [];
        special.into_iter().flatten().chain([Self::Generic])
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512(_) => Vaes512::NAME,
            #[cfg(target_arch = "x86_64")]
            Self::Vaes256(_) => Vaes256::NAME,
            #[cfg(target_arch = "x86_64")]
            Self::AesNi(_) => AesNi::NAME,
            Self::Generic => "generic",
        }
    }
}

/// The names of all kernels that this processor can run, the fastest first.
pub(crate) fn names() -> Vec<&'static str> {
    Kernel::all().map(Kernel::name).collect()
}

/// Keys the cipher `C`, which has `KEYS` round keys, for the kernel to use.
pub(crate) fn keyed<C, const KEYS: usize>(key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + ZeroizeOnDrop + Send + 'static,
{
    let generic = Cbc::<C>::new(key)?;
    Ok(match choose_kernel(Kernel::all(), Kernel::Generic, Kernel::name) {
        #[cfg(target_arch = "x86_64")]
        Kernel::Vaes512(many) => wide::<C, _, KEYS, _>(generic, many, key),
        #[cfg(target_arch = "x86_64")]
        Kernel::Vaes256(many) => wide::<C, _, KEYS, _>(generic, many, key),
        #[cfg(target_arch = "x86_64")]
        Kernel::AesNi(many) => wide::<C, _, KEYS, _>(generic, many, key),
        Kernel::Generic => Box::new(generic),
    })
}

/// Adds vector kernels to a keyed cipher.
#[cfg(target_arch = "x86_64")]
fn wide<C, V, const KEYS: usize, const WIDTH: usize>(
    generic: Cbc<C>,
    many: V,
    key: &[u8],
) -> Box<dyn CbcCipher>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + Send + 'static,
    V: Vectors<WIDTH> + 'static,
{
    match (RoundKeys::<KEYS>::new(key), AesNi::detect()) {
        (Some(keys), Some(few)) => Box::new(Wide::new(generic, few, many, keys)),
        // Not possible: each vector kernel needs AES-NI, and the aes crate accepted the key.
        _ => Box::new(generic),
    }
}
