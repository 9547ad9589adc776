//! Single DES (FIPS 46-3) as the cipher suite `DES`, with keys of 56 bits.
//!
//! **Hazard**: 56 bits are searched through in hours. The suite exists because some servers know
//! nothing else; the shipped configuration does not enable it.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, SpeedClass, SuiteError};
use zeroize::Zeroizing;

vpn_suite::suite! {
    /// The suite `DES`: seven key bytes, to which a zero byte is added.
    ///
    /// DES takes eight bytes and ignores the lowest bit of each, so of the 56 bits handed in 49 count.
    /// The peers that this is for do just that.
    pub struct Des;
    name: "DES",
    block_size: 8,
    // S-boxes are tables, looked up with secret indices.
    is_constant_time: false,
    speed: SpeedClass::Slow,
    keys: { 56 => keyed },
}

fn keyed(key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
    let mut padded = Zeroizing::new([0; 8]);
    padded[..key.len()].copy_from_slice(key);
    Ok(Box::new(Cbc::from(vpn_des_core::Des::<1>::new(&padded))))
}
