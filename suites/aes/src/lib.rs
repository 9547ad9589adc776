//! AES (FIPS 197) as the cipher suite `AES`, with keys of 128, 192 and 256 bits.

// Only the modules `keys`, `aesni`, `vaes256` and `vaes512` have unsafe code. They call instructions
// that not every processor has.
#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod aesni;
mod kernels;
#[cfg(target_arch = "x86_64")]
mod keys;
#[cfg(target_arch = "x86_64")]
mod vaes256;
#[cfg(target_arch = "x86_64")]
mod vaes512;
#[cfg(target_arch = "x86_64")]
mod vectors;
#[cfg(target_arch = "x86_64")]
mod wide;

use aes::{Aes128, Aes192, Aes256};
use vpn_suite::SpeedClass;

vpn_suite::suite! {
    /// The suite `AES`, the best choice if the peer supports it.
    pub struct Aes;
    name: "AES",
    block_size: 16,
    // Hardware instructions if the processor has them, fixsliced code otherwise.
    is_constant_time: true,
    speed: SpeedClass::Hardware,
    kernels: kernels::names(),
    keys: {
        128 => kernels::keyed::<Aes128, 11>,
        192 => kernels::keyed::<Aes192, 13>,
        256 => kernels::keyed::<Aes256, 15>,
    },
}
