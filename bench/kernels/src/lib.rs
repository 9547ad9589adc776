//! `cargo bench -p vpn-bench-kernels` runs what is in `benches/`.
