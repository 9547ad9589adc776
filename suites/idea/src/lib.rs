//! IDEA (Lai, Massey, Murphy, 1991) as the cipher suite `IDEA`, with keys of 128 bits.
//!
//! IDEA has classes of weak keys, of 2^51 keys and more out of 2^128 (Daemen, Govaerts, Vandewalle,
//! 1993; Biryukov and others, 2002). The suite does not refuse them, because a key derived with a
//! hash is practically never one of them. The block has 64 bits, so use IDEA only with peers that
//! have nothing better.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `IDEA`, the cipher of PGP 2.
    pub struct Idea;
    name: "IDEA",
    block_size: 8,
    // Multiplication modulo 2^16 + 1 has a branch for zero.
    is_constant_time: false,
    keys: { 128 => Cbc::<idea::Idea>::boxed },
}
