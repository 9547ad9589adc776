//! Triple DES (NIST SP 800-67) as the cipher suite `DES3`, with keys of 128 and 192 bits.
//!
//! Every eighth bit of a key is a parity bit, which is ignored. So 112 and 168 bits count. Known
//! attacks reduce the security to at most 80 and 112 bits. Use it only with peers that have nothing
//! better.

#![forbid(unsafe_code)]

use vpn_des_core::Des;
use vpn_suite::{Cbc, CbcCipher, CipherSuite, SpeedClass, SuiteError};
use zeroize::Zeroizing;

vpn_suite::suite! {
    /// The suite `DES3`. A key consists of three DES keys of 64 bits, or of two. If there are two,
    /// the first is also the third.
    ///
    /// The suite refuses a key if its first two or its last two DES keys are equal. Equal
    /// neighbours cancel each other out, and the result is single DES.
    pub struct Des3;
    name: "DES3",
    aliases: &["3DES", "TDES"],
    block_size: 8,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    speed: SpeedClass::Slow,
    keys: { 128 | 192 => keyed },
}

fn keyed(key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
    // If there are only two DES keys, the first is also the third.
    let mut keys = Zeroizing::new([[0; 8]; 3]);
    keys.as_flattened_mut().iter_mut().zip(key.iter().cycle()).for_each(|(to, from)| *to = *from);
    let [k1, k2, k3] = &*keys;
    let reason = match (is_same_des_key(k1, k2), is_same_des_key(k2, k3)) {
        (true, _) => "its first two DES keys are equal",
        (_, true) => "its last two DES keys are equal",
        _ => return Ok(Box::new(Cbc::from(Des::<3>::new(&keys)))),
    };
    Err(SuiteError::WeakKey { suite: Des3.name(), reason })
}

/// Compares two DES keys without their parity bits. It does not stop at the first difference.
fn is_same_des_key(a: &[u8; 8], b: &[u8; 8]) -> bool {
    a.iter().zip(b).fold(0, |seen, (x, y)| seen | ((x ^ y) & 0xfe)) == 0
}
