//! Links every cipher suite of this repository; use it with `use vpn_suites as _;`.

use vpn_suite_aes as _;
use vpn_suite_blowfish as _;
use vpn_suite_des as _;
use vpn_suite_tdes as _;
