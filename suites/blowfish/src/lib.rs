//! Blowfish (Schneier, FSE 1993) as the cipher suite `Blowfish`, with keys of 32 to 448 bits.
//!
//! A long key does not make up for the block of 64 bits: blocks begin to collide after some 32 GiB
//! under one key, and tell about the plaintext long before.

#![forbid(unsafe_code)]

mod cipher;
mod pi;

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Blowfish`: for peers that have nothing better.
    pub struct Blowfish;
    name: "Blowfish",
    block_size: 8,
    // S-boxes are tables, looked up with secret indices.
    is_constant_time: false,
    keys: { 32..=448 step 8 => |key| Ok(Box::new(Cbc::from(cipher::Blowfish::new(key)))) },
}
