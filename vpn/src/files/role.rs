//! What files are for, and what each kind of file requires.

use std::path::Path;

use super::paths::shown;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `authorized_clients`: the clients that a server lets in.
    AuthorizedClients,
    /// `client.toml`: the servers that the user has given names.
    ClientToml,
    /// `server_cipher.toml`: ciphers and other settings.
    Config,
    /// A private key.
    Identity,
    /// The log of session keys.
    KeyLog,
    /// `known_servers`: the keys of servers that the client has met.
    KnownServers,
    /// A pre-shared key.
    Psk,
    /// A file of public keys, for `vpn fingerprint`.
    PublicKey,
}

/// What other users must not be able to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing depends on the file. Other users may do anything.
    None,
    /// Other users must not be able to change the file.
    Integrity,
    /// Other users must not be able to read or change the file.
    Secrecy,
}

impl Role {
    /// What messages call the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthorizedClients => "list of authorized clients",
            Self::ClientToml => "client.toml",
            Self::Config => "configuration",
            Self::Identity => "private key",
            Self::KeyLog => "key log",
            Self::KnownServers => "list of known servers",
            Self::Psk => "PSK",
            Self::PublicKey => "key",
        }
    }

    /// What the user can do if the file does not exist.
    pub(super) fn remedy_if_missing(self, path: &Path) -> Option<String> {
        let path = shown(path);
        match self {
            Self::AuthorizedClients => Some(
                "give it a line for each client: the text of the client's .pub file; \
                 --authorized-clients names it"
                    .to_owned(),
            ),
            Self::Identity => {
                Some(format!("`vpn keygen --out {path}` makes one; --identity names another"))
            }
            Self::Psk => Some(format!(
                "`(umask 077; openssl rand -hex 32 > {path})` makes one; --psk names another"
            )),
            Self::ClientToml
            | Self::Config
            | Self::KeyLog
            | Self::KnownServers
            | Self::PublicKey => None,
        }
    }

    /// What other users must not be able to do with the file.
    pub fn protection(self) -> Protection {
        match self {
            Self::Identity | Self::Psk | Self::KeyLog => Protection::Secrecy,
            Self::AuthorizedClients | Self::ClientToml | Self::KnownServers => {
                Protection::Integrity
            }
            // Some tables of a configuration need integrity. The reader of those tables checks
            // `Contents::trust`.
            Self::Config | Self::PublicKey => Protection::None,
        }
    }

    /// The greatest length of the file in bytes. A longer file is not read.
    pub fn max_bytes(self) -> u64 {
        match self {
            // About 150,000 clients.
            Self::AuthorizedClients => 16 * 1024 * 1024,
            _ => 1024 * 1024,
        }
    }
}
