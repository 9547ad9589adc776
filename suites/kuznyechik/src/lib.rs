//! Kuznyechik (GOST R 34.12-2015, RFC 7801) as the cipher suite `Kuznyechik`, with keys of 256
//! bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `Kuznyechik`, the Russian standard.
    pub struct Kuznyechik;
    name: "Kuznyechik",
    aliases: &["Grasshopper"],
    block_size: 16,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    keys: { 256 => Cbc::<kuznyechik::Kuznyechik>::boxed },
}
