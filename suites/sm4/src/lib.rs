//! SM4 (GB/T 32907-2016, ISO/IEC 18033-3) as the cipher suite `SM4`, with keys of 128 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `SM4`, the Chinese standard.
    pub struct Sm4;
    name: "SM4",
    block_size: 16,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    keys: { 128 => Cbc::<sm4::Sm4>::boxed },
}
