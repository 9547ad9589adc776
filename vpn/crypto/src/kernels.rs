//! The table of kernels, and the choice between them. No other module of this crate chooses.
//!
//! | work | kernel | processor features it needs |
//! |---|---|---|
//! | HMAC-SHA256 of many messages | `avx-512 x16, sha-ni x2` | `avx512f`, `avx512bw`, `sha`, `ssse3`, `sse4.1` |
//! | | `sha-ni x2` | `sha`, `ssse3`, `sse4.1` |
//! | | `avx-512 x16` | `avx512f`, `avx512bw` |
//! | | `sha2` | none |
//! | modular powers | `avx-512 ifma` | `avx512f`, `avx512ifma` |
//! | | `crypto-bigint` | none |
//!
//! The first kernel that the processor can run is used. After [`vpn_suite::force_portable`] it is
//! the last kernel of each kind, and [`vpn_suite::force_kernels`] forces kernels by their names.
//! The kernels of ciphers have tables in their suites.

use vpn_suite::choose_kernel;

#[cfg(target_arch = "x86_64")]
use crate::mac::{avx512::Avx512, shani::ShaNi};
#[cfg(target_arch = "x86_64")]
use crate::modexp::ifma::Avx512Ifma;

/// The names of the kernels that this processor can run, for each kind of work in the table. In
/// each list the fastest one is first.
pub fn names() -> [Vec<&'static str>; 2] {
    [
        MacKernel::all().map(MacKernel::name).collect(),
        PowerKernel::all().map(PowerKernel::name).collect(),
    ]
}

/// A kernel for the HMACs of many messages. All kernels have the same results.
#[derive(Clone, Copy, Debug)]
pub struct MacKernel(pub(crate) Mac);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Mac {
    /// One message at a time, by the sha2 crate.
    Portable,
    /// Two messages at a time.
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    /// Sixteen messages at a time. A few messages are done in pairs, if the processor can do that.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Option<ShaNi>),
}

impl MacKernel {
    /// The kernel that every machine has.
    pub const PORTABLE: Self = Self(Mac::Portable);

    /// The kernel to use: the fastest one, unless another one is forced.
    pub fn choose() -> Self {
        choose_kernel(Self::all(), Self::PORTABLE, Self::name)
    }

    /// All kernels that this processor can run, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let special = {
            let (pairs, lanes) = (ShaNi::detect(), Avx512::detect());
            [
                lanes.map(|lanes| Mac::Avx512(lanes, pairs)),
                pairs.map(Mac::ShaNi),
                // For tests: lanes without pairs, on a processor that has both.
                lanes.filter(|_| pairs.is_some()).map(|lanes| Mac::Avx512(lanes, None)),
            ]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let special: [Option<Mac>; 0] = [];
        special.into_iter().flatten().chain([Mac::Portable]).map(Self)
    }

    /// The name that `vpn speed` shows.
    pub fn name(self) -> &'static str {
        match self.0 {
            Mac::Portable => "sha2",
            #[cfg(target_arch = "x86_64")]
            Mac::ShaNi(_) => "sha-ni x2",
            #[cfg(target_arch = "x86_64")]
            Mac::Avx512(_, Some(_)) => "avx-512 x16, sha-ni x2",
            #[cfg(target_arch = "x86_64")]
            Mac::Avx512(_, None) => "avx-512 x16",
        }
    }
}

/// A kernel for modular powers. All kernels have the same results.
#[derive(Clone, Copy, Debug)]
pub struct PowerKernel(pub(crate) Power);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Power {
    /// By the crypto-bigint crate.
    Portable,
    /// Eight products of 52 by 52 bits at a time.
    #[cfg(target_arch = "x86_64")]
    Ifma(Avx512Ifma),
}

impl PowerKernel {
    /// The kernel that every machine has.
    pub const PORTABLE: Self = Self(Power::Portable);

    /// The kernel to use: the fastest one, unless another one is forced.
    pub fn choose() -> Self {
        choose_kernel(Self::all(), Self::PORTABLE, Self::name)
    }

    /// All kernels that this processor can run, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let special = [Avx512Ifma::detect().map(Power::Ifma)];
        #[cfg(not(target_arch = "x86_64"))]
        let special: [Option<Power>; 0] = [];
        special.into_iter().flatten().chain([Power::Portable]).map(Self)
    }

    /// The name that `vpn speed` shows.
    pub fn name(self) -> &'static str {
        match self.0 {
            Power::Portable => "crypto-bigint",
            #[cfg(target_arch = "x86_64")]
            Power::Ifma(_) => "avx-512 ifma",
        }
    }
}
