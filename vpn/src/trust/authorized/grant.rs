//! What a client may do.

use super::names::ServiceNames;
use super::permit::Permit;
use crate::net::limits::SESSIONS_OF_A_KEY;

/// What a client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The services that the client may open, with their targets.
    pub permit: Permit,
    /// The greatest number of sessions that the client may have at once.
    pub max_sessions: Option<usize>,
    /// The greatest number of channels that each of its sessions may have at once. `None` means the
    /// server's limit.
    pub max_channels: Option<usize>,
    /// The comment of its line.
    pub comment: String,
}

impl Grant {
    /// The grant of a client whose line has no options.
    pub fn usual(services: &ServiceNames) -> Self {
        Self {
            permit: Permit::service(services.usual()),
            max_sessions: Some(SESSIONS_OF_A_KEY),
            max_channels: None,
            comment: String::new(),
        }
    }
}
