//! Keys in files, and the files that say which keys are trusted (PROTOCOL.md §4.8).
//!
//! | module | files |
//! |---|---|
//! | `private`, `keys` | Ed25519 keys in OpenSSH's format |
//! | `psk` | pre-shared keys |
//! | `known` | `known_servers`: the keys of servers that a client has met |
//! | `authorized` | `authorized_clients`: the keys of clients that a server lets in |
//!
//! The modules use each other in one direction: `authorized`, `known`, `pin` and `private` -> `keys` ->
//! `format` and `error`.

mod authorized;
mod error;
mod format;
mod keys;
mod known;
mod name;
mod pin;
mod private;
mod psk;

pub use authorized::{AuthorizedClients, ClientList, Grant, Permit, ServiceNames};
pub use error::TrustError;
pub use keys::{PublicKey, fingerprint, generate, read_public_key, read_public_keys};
pub use known::{KnownKey, KnownServers};
pub use name::{Host, NameError, ServerName, merge_ports};
pub use pin::Pin;
pub use private::read_identity;
pub use psk::read_psk;

use std::path::PathBuf;

use crate::files::home;

/// The folder of the user's files: `$XDG_CONFIG_HOME/vpn`, or `~/.config/vpn` if the variable is not
/// set. `None` if there is no home folder.
///
/// The XDG Base Directory Specification says that a relative path in the variable is ignored.
pub fn config_folder() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = set.or_else(|| Some(home()?.join(".config")))?;
    Some(base.join("vpn"))
}
