//! Links the cipher suites that its features name. A program needs the line `use vpn_suites as _;`.

#[cfg(feature = "aes")]
use vpn_suite_aes as _;
#[cfg(feature = "aria")]
use vpn_suite_aria as _;
#[cfg(feature = "blowfish")]
use vpn_suite_blowfish as _;
#[cfg(feature = "camellia")]
use vpn_suite_camellia as _;
#[cfg(feature = "cast5")]
use vpn_suite_cast5 as _;
#[cfg(feature = "des")]
use vpn_suite_des as _;
#[cfg(feature = "idea")]
use vpn_suite_idea as _;
#[cfg(feature = "kuznyechik")]
use vpn_suite_kuznyechik as _;
#[cfg(feature = "serpent")]
use vpn_suite_serpent as _;
#[cfg(feature = "sm4")]
use vpn_suite_sm4 as _;
#[cfg(feature = "tdes")]
use vpn_suite_tdes as _;
#[cfg(feature = "twofish")]
use vpn_suite_twofish as _;
