//! IDEA (Lai, Massey, Murphy, 1991) as the cipher suite `IDEA`, with keys of 128 bits.
//!
//! There are classes of weak keys, 2^51 of 2^128 and more (Daemen, Govaerts, Vandewalle, 1993; Biryukov
//! and others, 2002): no key that comes from a hash is ever one of them, so they are not refused. For peers that have
//! nothing better: the block has 64 bits.

#![forbid(unsafe_code)]

use vpn_suite::Cbc;

vpn_suite::suite! {
    /// The suite `IDEA`, known from the first PGP.
    pub struct Idea;
    name: "IDEA",
    block_size: 8,
    // Multiplication modulo 2^16 + 1 treats zero apart, with a branch.
    is_constant_time: false,
    keys: { 128 => Cbc::<idea::Idea>::boxed },
}
