//! The arithmetic of `vpn`: what takes most of the time, in the fastest way that the processor has.
//!
//! * [`mac`]: HMAC-SHA256 of many messages at once;
//! * [`modexp`]: modular powers with secret exponents, in constant time;
//! * [`jacobi`]: Jacobi symbols of public numbers;
//! * [`primes`]: the primes of RFC 3526 and RFC 7919;
//! * [`kernels`]: the table of all kernels, and the choice between them.
//!
//! A *kernel* is code for one kind of processor. Each has a portable twin with the same results, and
//! tests compare them. Only kernels hold `unsafe` code, each in a module of its own.

pub mod jacobi;
pub mod kernels;
pub mod mac;
pub mod modexp;
pub mod primes;
