//! Single DES (FIPS 46-3) as the cipher suite `DES`, with keys of 56 bits.
//!
//! **Hazard**: exhaustive search finds a 56-bit key in hours. The suite is for servers that support
//! nothing else. The default configuration does not enable it.

#![forbid(unsafe_code)]

use vpn_suite::{Cbc, CbcCipher, SpeedClass, SuiteError};
use zeroize::Zeroizing;

vpn_suite::suite! {
    /// The suite `DES`. Its keys have seven bytes, and it appends a zero byte to them.
    ///
    /// DES takes eight bytes and ignores the lowest bit of each. So only 49 of the 56 bits count.
    /// The peers that this suite is for do the same.
    pub struct Des;
    name: "DES",
    block_size: 8,
    // The S-boxes are tables, and secret bytes are the indices.
    is_constant_time: false,
    speed: SpeedClass::Slow,
    keys: { 56 => keyed },
}

fn keyed(key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError> {
    let mut padded = Zeroizing::new([0; 8]);
    padded[..key.len()].copy_from_slice(key);
    Ok(Box::new(Cbc::from(vpn_des_core::Des::<1>::new(&padded))))
}
