//! The two roles of a connection, the same in both profiles.

/// One of the two sides of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that connects and sends first.
    Client,
    /// The side that listens.
    Server,
}

impl Role {
    /// The role of the peer.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// `client` or `server`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_is_the_peer_of_the_other() {
        assert_eq!((Role::Client.peer(), Role::Server.peer()), (Role::Server, Role::Client));
        assert_eq!((Role::Client.name(), Role::Server.name()), ("client", "server"));
    }
}
