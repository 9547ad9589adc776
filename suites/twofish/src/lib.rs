//! Twofish (Schneier and others, 1998) as the cipher suite `Twofish`, with keys of 128, 192 and 256
//! bits.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, SpeedClass};

vpn_suite::suite! {
    /// The suite `Twofish`: a finalist for AES, by the author of Blowfish.
    pub struct Twofish;
    name: "Twofish",
    block_size: 16,
    // S-boxes depend on the key and are tables, looked up with secret indices.
    is_constant_time: false,
    // The crate computes what others look up.
    speed: SpeedClass::Slow,
    keys: { 128 | 192 | 256 => Cbc::<twofish::Twofish>::boxed },
}
