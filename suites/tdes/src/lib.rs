//! Triple DES (NIST SP 800-67) as the cipher suite `DES3`, with keys of 128 and 192 bits.
//!
//! Every eighth bit of a key is parity and ignored, so 112 and 168 bits count, of which known
//! attacks leave at most 80 and 112. For peers that have nothing better.

#![forbid(unsafe_code)]

use vpn_des_core::Des;
use vpn_suite::{Cbc, CbcCipher, CipherSuite, KeySizes, SpeedClass, SuiteError};
use zeroize::Zeroizing;

/// The suite `DES3`: three DES keys of 64 bits, or two, the first of which serves as the third.
///
/// It refuses keys whose first two or last two DES keys are equal: neighbours that are equal cancel
/// each other out, and single DES remains.
#[derive(Clone, Copy, Debug)]
pub struct Des3;

impl CipherSuite for Des3 {
    fn name(&self) -> &'static str {
        "DES3"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["3DES", "TDES"]
    }

    fn key_sizes(&self) -> KeySizes {
        KeySizes::List(&[128, 192])
    }

    fn block_size(&self) -> usize {
        8
    }

    // S-boxes are tables, looked up with secret indices.
    fn is_constant_time(&self) -> bool {
        false
    }

    fn speed(&self) -> SpeedClass {
        SpeedClass::Slow
    }

    fn keyed(&self, key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
        let (k1, rest) = key.split_at(8);
        let (k2, k3) = rest.split_at(8);
        let reason = match (is_same_des_key(k1, k2), is_same_des_key(k2, k3)) {
            (true, _) => "its first two DES keys are equal",
            (_, true) => "its last two DES keys are equal",
            _ if k3.is_empty() => return Ok(triple([k1, k2, k1])),
            _ => return Ok(triple([k1, k2, k3])),
        };
        Err(SuiteError::WeakKey { suite: self.name(), reason })
    }
}

vpn_suite::register!(&Des3);

fn triple(keys: [&[u8]; 3]) -> Box<dyn CbcCipher> {
    let mut bytes = Zeroizing::new([[0; 8]; 3]);
    bytes.iter_mut().zip(keys).for_each(|(bytes, key)| bytes.copy_from_slice(key));
    Box::new(Cbc::from(Des::<3>::new(&bytes)))
}

/// Compares without parity bits, and without stopping at the first difference.
fn is_same_des_key(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (x, y)| seen | ((x ^ y) & 0xfe)) == 0
}
