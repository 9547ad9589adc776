//! CAST5, also called CAST-128 (RFC 2144), as the cipher suite `CAST5`, with keys of 40 to 128 bits.
//!
//! Keys of up to 80 bits get 12 rounds instead of 16. For peers that have nothing better: the block
//! has 64 bits, and short keys are searched through.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `CAST5`, known from OpenPGP.
    pub struct Cast5;
    name: "CAST5",
    aliases: &["CAST-128", "CAST"],
    block_size: 8,
    // S-boxes are tables, looked up with secret indices.
    is_constant_time: false,
    keys: { 40..=128 step 8 => Cbc::<cast5::Cast5>::boxed },
}
