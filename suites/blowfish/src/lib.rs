//! Blowfish (Schneier, FSE 1993) as the cipher suite `Blowfish`, with keys of 32 to 448 bits.
//!
//! The block has 64 bits, and a long key does not help against that: ciphertext blocks are expected
//! to collide after about 32 GiB under one key. Each collision reveals the XOR of two plaintext
//! blocks, and the first ones can come much earlier.

#![forbid(unsafe_code)]

mod cipher;
mod pi;

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Blowfish`, for peers that have nothing better.
    pub struct Blowfish;
    name: "Blowfish",
    block_size: 8,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    keys: { 32..=448 step 8 => |key| Ok(Box::new(Cbc::from(cipher::Blowfish::new(key)))) },
}
