//! The macro that declares a suite.

use crate::{CbcCipher, CipherSuite, KeySize, KeySizes, SuiteError};

/// A function that keys a cipher. [`suite!`](crate::suite!) takes one for each key size.
pub type Keyed = fn(&[u8]) -> Result<Box<dyn CbcCipher>, SuiteError>;

/// Declares a unit struct, implements [`CipherSuite`](crate::CipherSuite) for it and registers it.
///
/// The fields are named after the methods of the trait, and their order is fixed. `aliases`, `speed`
/// and `kernels` are optional. `keys` maps key sizes in bits to functions of the type
/// [`Keyed`](crate::Keyed). For a RustCrypto block cipher that function is
/// [`Cbc::boxed`](crate::Cbc::boxed).
///
/// # Examples
///
/// A suite with all fields:
///
/// ```
/// use vpn_suite::{Cbc, SpeedClass};
///
/// vpn_suite::suite! {
///     /// The suite `FULL`.
///     pub struct Full;
///     name: "FULL",
///     aliases: &["FULL-CBC"],
///     block_size: 16,
///     is_constant_time: true,
///     speed: SpeedClass::Hardware,
///     kernels: vec!["generic"],
///     keys: {
///         128 => Cbc::<aes::Aes128>::boxed,
///         192 => Cbc::<aes::Aes192>::boxed,
///         256 => Cbc::<aes::Aes256>::boxed,
///     },
/// }
/// # fn main() {}
/// ```
///
/// If one block cipher takes several key sizes, list them as `128 | 192 | 256 => …`, or give the
/// smallest, the largest and the step: `40..=128 step 8 => …`.
#[macro_export]
macro_rules! suite {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $suite:ident;
        name: $name:expr,
        $(aliases: $aliases:expr,)?
        block_size: $block_size:expr,
        is_constant_time: $is_constant_time:expr,
        $(speed: $speed:expr,)?
        $(kernels: $kernels:expr,)?
        keys: { $($keys:tt)+ } $(,)?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        $visibility struct $suite;

        impl $crate::CipherSuite for $suite {
            fn name(&self) -> &'static str {
                $name
            }
            $(fn aliases(&self) -> &'static [&'static str] {
                $aliases
            })?
            fn key_sizes(&self) -> $crate::KeySizes {
                $crate::suite!(@sizes $($keys)+)
            }
            fn block_size(&self) -> usize {
                $block_size
            }
            fn is_constant_time(&self) -> bool {
                $is_constant_time
            }
            $(fn speed(&self) -> $crate::SpeedClass {
                $speed
            })?
            $(fn kernels(&self) -> ::std::vec::Vec<&'static str> {
                $kernels
            })?
            fn keyed(
                &self,
                key: &[u8],
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::CbcCipher>, $crate::SuiteError>
            {
                $crate::keyed_by_size(self, key, $crate::suite!(@table $($keys)+))
            }
        }

        $crate::register!(&$suite);
    };

    // What `key_sizes` returns.
    (@sizes $min:literal..=$max:literal step $step:literal => $keyed:expr $(,)?) => {
        $crate::KeySizes::Range { min: $min, max: $max, step: $step }
    };
    (@sizes $($($bits:literal)|+ => $keyed:expr),+ $(,)?) => {
        $crate::KeySizes::List(&[$($($bits),+),+])
    };

    // The key sizes of each function.
    (@table $min:literal..=$max:literal step $step:literal => $keyed:expr $(,)?) => {
        &[($crate::KeySizes::Range { min: $min, max: $max, step: $step }, $keyed)]
    };
    (@table $($($bits:literal)|+ => $keyed:expr),+ $(,)?) => {
        &[$(($crate::KeySizes::List(&[$($bits),+]), $keyed)),+]
    };
}

/// Keys a cipher with the first function in `table` that takes keys of this size.
// `suite!` expands to a call of it.
#[doc(hidden)]
pub fn keyed_by_size(
    suite: &dyn CipherSuite,
    key: &[u8],
    table: &[(KeySizes, Keyed)],
) -> Result<Box<dyn CbcCipher>, SuiteError> {
    let fits = |sizes: KeySizes| KeySize::from_bytes(key.len()).is_some_and(|s| sizes.contains(s));
    match table.iter().find(|(sizes, _)| fits(*sizes)) {
        Some((_, keyed)) => keyed(key),
        None => {
            let (got, expected) = (key.len(), suite.key_sizes());
            Err(SuiteError::KeyLength { suite: suite.name(), got, expected })
        }
    }
}
