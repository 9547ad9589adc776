//! Camellia (RFC 3713, ISO/IEC 18033-3) as the cipher suite `Camellia`, with keys of 128, 192 and
//! 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Camellia`. It has the block size and the key sizes of AES, and a different
    /// design.
    pub struct Camellia;
    name: "Camellia",
    block_size: 16,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    keys: {
        128 => Cbc::<camellia::Camellia128>::boxed,
        192 => Cbc::<camellia::Camellia192>::boxed,
        256 => Cbc::<camellia::Camellia256>::boxed,
    },
}
