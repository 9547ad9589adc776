//! Why a source is penalised.

use std::time::Duration;

use crate::net::limits::SourceLimits;

/// What an unauthenticated connection did wrong. Its source is penalised for it, as with sshd's
/// PerSourcePenalties (PROTOCOL.md §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// The client could not prove who it is.
    AuthFailed,
    /// The connection ended before the client authenticated.
    NoAuth,
    /// The client violated the protocol.
    Protocol,
}

impl Offence {
    /// How long the source counts as too busy for this.
    pub(super) fn penalty(self, limits: &SourceLimits) -> Duration {
        match self {
            Self::AuthFailed => limits.penalty_authentication,
            Self::NoAuth => limits.penalty_none,
            Self::Protocol => limits.penalty_protocol,
        }
    }
}
