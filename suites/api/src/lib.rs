//! The interface of a cipher suite.
//!
//! * [`CipherSuite`] is the trait of a suite. [`suite!`](crate::suite!) implements it.
//! * [`Registry`] finds every suite that is linked into the program.
//! * [`Cbc`] runs any RustCrypto block cipher in CBC mode.
//!
//! A suite encrypts and decrypts whole blocks in CBC mode and does nothing else. Padding,
//! authentication and randomness are the task of the record layer, for all suites. CBC does not
//! detect tampering: authenticate data before you decrypt it.
//!
//! # Examples
//!
//! A suite needs a block cipher and one declaration:
//!
//! ```
//! use vpn_suite::{Cbc, Registry};
//!
//! vpn_suite::suite! {
//!     /// The suite `EXAMPLE`.
//!     pub struct Example;
//!     name: "EXAMPLE",
//!     block_size: 16,
//!     is_constant_time: true,
//!     keys: { 128 => Cbc::<aes::Aes128>::boxed },
//! }
//!
//! # fn main() -> Result<(), vpn_suite::RegistryError> {
//! assert!(Registry::linked()?.find("EXAMPLE").is_some());
//! # Ok(())
//! # }
//! ```
//!
//! rustc links only crates that are *named*. So a program needs the line `use that_suite as _;` in
//! addition to the dependency in its manifest.

#![warn(clippy::too_many_lines)]
#![forbid(unsafe_code)]

mod cbc;
mod declare;
mod error;
mod kernel;
mod key_size;
pub mod lanes;
mod registry;
mod suite;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use crate::cbc::{Cbc, CbcCipher, CbcDecryptor, CbcEncryptor, Lane};
pub use crate::declare::Keyed;
pub use crate::error::{RegistryError, SuiteError};
pub use crate::kernel::{choose_kernel, force_kernels, force_portable, is_portable_forced};
pub use crate::key_size::{KeySize, KeySizes};
pub use crate::registry::{Registration, Registry};
pub use crate::suite::{CipherSuite, SpeedClass, check_key_length};

// The macros expand in crates that do not depend on inventory themselves.
#[doc(hidden)]
pub use crate::declare::keyed_by_size;
#[doc(hidden)]
pub use inventory;
