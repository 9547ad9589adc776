//! `server_cipher.toml`, and the client's own `client.toml`: what they say, checked and resolved.

mod ciphers;
mod client;
mod file;
mod settings;
mod toml;

pub use client::{ClientEntries, ClientEntry};
pub use settings::{
    BUILT_IN, ConfigError, DEFAULT_PATH, Overrides, Problem, SealedSettings, Set, Settings, Source,
};
