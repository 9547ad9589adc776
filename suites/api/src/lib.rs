//! What a cipher is to this workspace: [`CipherSuite`], the [`Registry`] that finds every linked
//! one, and [`Cbc`], which turns any RustCrypto block cipher into one.
//!
//! A suite offers cipher block chaining over whole blocks and nothing else. Padding, authentication
//! and randomness belong to the record layer, once, for all suites: CBC by itself detects no
//! tampering, so never decrypt what was not authenticated first.
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
//! rustc links only crates that are *named*: a program that wants a suite writes
//! `use that_suite as _;` besides the line in its manifest.

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
pub use crate::kernel::{force_portable, is_portable_forced};
pub use crate::key_size::{KeySize, KeySizes};
pub use crate::registry::{Registration, Registry};
pub use crate::suite::{CipherSuite, SpeedClass, check_key_length};

// The macros expand in crates that do not depend on inventory themselves.
#[doc(hidden)]
pub use crate::declare::keyed_by_size;
#[doc(hidden)]
pub use inventory;
