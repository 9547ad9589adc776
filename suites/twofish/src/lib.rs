//! Twofish (Schneier and others, 1998) as the cipher suite `Twofish`, with keys of 128, 192 and 256
//! bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, SpeedClass};

vpn_suite::suite! {
    /// The suite `Twofish`, an AES finalist by the author of Blowfish and others.
    pub struct Twofish;
    name: "Twofish",
    block_size: 16,
    // The S-boxes depend on the key, and secret bytes are the indices.
    is_constant_time: false,
    // The crate computes the S-boxes for each block. Faster implementations look them up.
    speed: SpeedClass::Slow,
    keys: { 128 | 192 | 256 => Cbc::<twofish::Twofish>::boxed },
}
