//! CAST5, also called CAST-128 (RFC 2144), as the cipher suite `CAST5`, with keys of 40 to 128
//! bits.
//!
//! With keys of up to 80 bits CAST5 has 12 rounds instead of 16. The block has 64 bits, and short
//! keys can be found by exhaustive search. Use CAST5 only with peers that have nothing better.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `CAST5`, a cipher of OpenPGP.
    pub struct Cast5;
    name: "CAST5",
    aliases: &["CAST-128", "CAST"],
    block_size: 8,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    keys: { 40..=128 step 8 => Cbc::<cast5::Cast5>::boxed },
}
