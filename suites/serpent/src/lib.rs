//! Serpent (Anderson, Biham, Knudsen, 1998) as the cipher suite `Serpent`, with keys of 128, 192 and
//! 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Serpent`: the most cautious of the finalists for AES.
    pub struct Serpent;
    name: "Serpent",
    block_size: 16,
    // S-boxes are computed with bit operations, as the authors meant them.
    is_constant_time: true,
    keys: { 128 | 192 | 256 => Cbc::<serpent::Serpent>::boxed },
}
