//! The arithmetic of `vpn`: the work that takes most of the time, in the fastest form that the
//! processor can run.
//!
//! * [`mac`]: HMAC-SHA256 of many messages at once (RFC 2104, FIPS 180-4).
//! * [`modexp`]: modular powers with secret exponents, in constant time.
//! * [`jacobi`]: Jacobi symbols of public numbers, in variable time.
//! * [`primes`]: the primes of RFC 3526 and RFC 7919.
//! * [`kernels`]: the table of all kernels, and the choice between them.
//!
//! A *kernel* is code for one kind of processor. Each kernel has a portable twin with the same
//! results, and tests compare the two. Only the three kernel modules contain `unsafe` code.
//!
//! # Examples
//!
//! The HMAC of a record, and a modular power in RFC 3526 group 14:
//!
//! ```
//! use num_bigint::BigUint;
//! use vpn_crypto::kernels::MacKernel;
//! use vpn_crypto::mac::MacKey;
//! use vpn_crypto::modexp::{Exponent, Modulus};
//! use vpn_crypto::primes;
//!
//! // HMAC-SHA256(key, 0000000000000007 || "hello").
//! let key = MacKey::new(&[0x4b; 32], MacKernel::choose());
//! let tag = key.tag(7, b"hello");
//! assert_eq!(tag[..4], [0x27, 0xd0, 0x9a, 0x7e]);
//!
//! let modulus = Modulus::new(primes::MODP_2048, 2048, 225);
//! let exponent = Exponent::from_be_bytes(&[10]);
//! let power = modulus.power(&BigUint::from(3u8), &exponent);
//! // 256 bytes, big-endian: 3^10 = 59049 = e6a9h.
//! assert_eq!(power.len(), 256);
//! assert_eq!(power[254..], [0xe6, 0xa9]);
//! // The generator of every group here is 2.
//! assert_eq!(modulus.power_of_two(&exponent)[254..], [0x04, 0x00]);
//! ```

#![warn(clippy::too_many_lines)]
#![deny(unsafe_code)]

pub mod jacobi;
pub mod kernels;
pub mod mac;
pub mod modexp;
pub mod primes;
