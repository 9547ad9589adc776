//! `server_cipher.toml`, and the client's own `client.toml`: what they say, checked and resolved.

mod client;
mod file;
mod settings;

pub use client::ClientEntry;
pub use settings::{
    BUILT_IN, ConfigError, DEFAULT_PATH, DEFAULT_PORT, Overrides, PipeEnd, Problem, SealedSettings,
    Settings, Source,
};
