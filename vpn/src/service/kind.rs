//! The interface of a kind of channel (PROTOCOL.md §4.10).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use crate::net::ChannelStream;
use crate::session::{ExecCommands, ServiceFuture};
use crate::trust::Grant;
use vpn_proto::sealed::OpenStatus;

/// A kind of channel that clients open: its name, and the server's end.
///
/// A kind is one file in `service/` and one line in the list there.
pub(super) trait ChannelKind: fmt::Debug + Send + Sync {
    /// The name on the wire.
    fn name(&self) -> &'static str;

    /// Checks a request, answers it, and serves the channel to its end.
    fn serve(&self, request: ChannelRequest) -> ServiceFuture<'static, Result<(), ChannelFailure>>;
}

/// A channel that a client wants.
#[derive(Debug)]
pub(super) struct ChannelRequest {
    /// The channel. Accept or refuse it.
    pub(super) channel: ChannelStream,
    /// The argument, for the kind.
    pub(super) argument: Vec<u8>,
    pub(super) context: Arc<ChannelContext>,
}

/// What the channels of one session share on the server.
#[derive(Debug)]
pub(super) struct ChannelContext {
    /// What the client may do.
    pub(super) grant: Arc<Grant>,
    /// The client, for commands: the fingerprint of its key, or `psk`.
    pub(super) client: String,
    /// The commands that clients may run.
    pub(super) commands: Arc<ExecCommands>,
    /// How many commands the client may still start.
    pub(super) processes: Arc<Semaphore>,
    /// How many refusals the log has.
    pub(super) told: AtomicUsize,
}

/// Why a channel was not served to its normal end, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChannelFailure {
    /// The request was refused.
    Refused(OpenStatus, String),
    /// The channel or its local end failed later.
    Failed(String),
}

impl ChannelRequest {
    /// Refuses the channel. Returns the failure for the log.
    pub(super) fn refuse(self, status: OpenStatus, text: impl fmt::Display) -> ChannelFailure {
        let text = text.to_string();
        self.channel.refuse(status, &text);
        ChannelFailure::Refused(status, text)
    }

    /// The argument as text.
    pub(super) fn text(&self) -> Option<String> {
        str::from_utf8(&self.argument).ok().map(str::to_owned)
    }
}
