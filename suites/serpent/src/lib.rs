//! Serpent (Anderson, Biham, Knudsen, 1998) as the cipher suite `Serpent`, with keys of 128, 192
//! and 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Serpent`, the AES finalist with the largest security margin.
    pub struct Serpent;
    name: "Serpent",
    block_size: 16,
    // The S-boxes are computed with bit operations (bitslicing).
    is_constant_time: true,
    keys: { 128 | 192 | 256 => Cbc::<serpent::Serpent>::boxed },
}
