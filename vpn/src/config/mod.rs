//! `server_cipher.toml`: what it says, checked and resolved.

mod file;
mod settings;

pub use settings::{
    BUILT_IN, ConfigError, DEFAULT_PATH, DEFAULT_PORT, Overrides, PipeEnd, Problem, SealedSettings,
    Settings, Source,
};
