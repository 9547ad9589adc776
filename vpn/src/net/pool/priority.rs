//! The priority of a computation.

/// What a computation is for. Within a source, the least value is computed first: the later steps of a
/// handshake, and those whose client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net) enum Priority {
    /// A computation of an established session, or of a client.
    Session,
    /// A sealed handshake of a client that knows our key or a PSK.
    SealedKnown,
    /// A sealed handshake of any other client.
    SealedUnknown,
    /// A sealed handshake of a client that has closed its side.
    SealedClosed,
    /// The secret of a classic handshake whose client has already sent its first message.
    ClassicAwaited,
    /// The check of a classic client's public value.
    ClassicCheck,
    /// Our key pair for a classic client whose public value is good.
    ClassicPair,
    /// The secret of a classic handshake whose client has not sent its first message yet.
    ClassicSecret,
    /// Our key pair for a classic client that has not sent its public value.
    ClassicEarly,
    /// Any computation for a classic client that has closed its side and left nothing to read.
    ClassicClosed,
}

impl Priority {
    /// The lane of the queue for computations like this: [`SEALED`] or [`CLASSIC`].
    pub(super) const fn lane(self) -> usize {
        match self {
            Self::Session | Self::SealedKnown | Self::SealedUnknown | Self::SealedClosed => SEALED,
            _ => CLASSIC,
        }
    }
}

/// The lane of sealed computations, which take 0.3 ms, and of those of established sessions.
pub(super) const SEALED: usize = 0;
/// The lane of classic computations, which take 25 ms.
pub(super) const CLASSIC: usize = 1;
