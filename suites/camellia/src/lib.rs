//! Camellia (RFC 3713, ISO/IEC 18033-3) as the cipher suite `Camellia`, with keys of 128, 192 and
//! 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Camellia`: the block and the keys of AES, from another school.
    pub struct Camellia;
    name: "Camellia",
    block_size: 16,
    // S-boxes are tables, looked up with secret indices.
    is_constant_time: false,
    keys: {
        128 => Cbc::<camellia::Camellia128>::boxed,
        192 => Cbc::<camellia::Camellia192>::boxed,
        256 => Cbc::<camellia::Camellia256>::boxed,
    },
}
