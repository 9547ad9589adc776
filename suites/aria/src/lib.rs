//! ARIA (RFC 5794, KS X 1213) as the cipher suite `ARIA`, with keys of 128, 192 and 256 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `ARIA`, the Korean standard. It has the block size and the key sizes of AES.
    pub struct Aria;
    name: "ARIA",
    block_size: 16,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    keys: {
        128 => Cbc::<aria::Aria128>::boxed,
        192 => Cbc::<aria::Aria192>::boxed,
        256 => Cbc::<aria::Aria256>::boxed,
    },
}
