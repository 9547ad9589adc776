//! Two byte streams over a sealed session, one in each direction. Each ends by itself.
//!
//! Success is a promise (PROTOCOL.md §4.5): a side sends close_notify only when it has written and
//! flushed everything that it received. A side has succeeded only when it has the other's
//! close_notify.

use std::io;

use super::streams::{Drain, Feed, Written};
use crate::net::{IoEvent, SealedConnection, SealedIoError};
use crate::term::Progress;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{Alert, Event, SealedError, Undelivered};

/// Moves bytes between the local streams and the peer until all streams have ended, and closes the
/// session. If `stopped` resolves before that, the transfer fails. `progress` counts the bytes.
///
/// # Errors
///
/// Why not everything was handed over. The peer gets the alert for it.
pub(crate) async fn transfer(
    mut connection: SealedConnection,
    streams: Result<(Feed, Drain), TransferError>,
    role: Role,
    mut progress: Progress,
    stopped: impl Future<Output = ()>,
) -> Result<(), TransferError> {
    let moved = async {
        let (input, output) = streams?;
        move_bytes(&mut connection, input, output, &mut progress).await?;
        // The client sends its close_notify first.
        while role == Role::Server && !connection.session().is_closed() {
            connection.next().await?;
        }
        Ok(())
    };
    let moved = tokio::select! {
        moved = moved => moved,
        () = stopped => Err(TransferError::Stopped),
    };
    match moved {
        Ok(()) => Ok(connection.close_when_peer_does().await?),
        Err(error) => {
            connection.abort(error.alert()).await;
            Err(error)
        }
    }
}

/// Moves bytes until both directions have ended and everything from the peer is written and
/// flushed.
///
/// Neither direction waits for the other: if our output blocks, our input is still sent.
///
/// # Errors
///
/// Why a direction failed. The bytes written so far are incomplete.
async fn move_bytes(
    connection: &mut SealedConnection,
    mut input: Feed,
    mut output: Drain,
    progress: &mut Progress,
) -> Result<(), TransferError> {
    let (mut has_ended, mut peer_has_ended) = (false, false);
    let mut is_written = false;
    // The last data from the peer, until the output takes it. Nothing more is read meanwhile.
    let mut received = None;
    loop {
        if peer_has_ended && received.is_none() {
            output.end();
        }
        if has_ended && is_written && connection.is_flushed() {
            return Ok(());
        }
        connection.pause_reading(received.is_some());
        while let Some(used) = output.used() {
            connection.recycle(used);
        }
        tokio::select! {
            // One chunk at a time, so that we read no more than the peer takes. During a fresh key
            // exchange our key cannot change, and more data could bring it to its limit.
            read = input.next(),
                if !has_ended && connection.is_flushed() && !connection.session().is_exchanging() =>
            {
                let mut chunk = read.map_err(TransferError::Input)?;
                if chunk.is_empty() {
                    has_ended = true;
                    connection.session().send_eof().map_err(SealedIoError::Sealed)?;
                } else {
                    input.gather(&mut chunk);
                    connection.session().send(&chunk).map_err(SealedIoError::Sealed)?;
                    progress.add(chunk.len());
                    input.reuse(chunk);
                }
                connection.stage();
            }
            written = output.write(&mut received), if !is_written => {
                match written.map_err(TransferError::of_output)? {
                    Written::Chunk => {}
                    Written::All => is_written = true,
                }
            }
            io_event = connection.advance() => match io_event? {
                IoEvent::Event(Event::Data(data)) => {
                    progress.add_received(data.len());
                    received = Some(data);
                }
                IoEvent::Event(Event::Eof) => peer_has_ended = true,
                // The peer has everything. It waits until we have written everything, too.
                IoEvent::Event(Event::CloseRequested)
                    if has_ended && peer_has_ended && connection.is_flushed() => {}
                IoEvent::Event(Event::CloseRequested | Event::Closed) => {
                    return Err(TransferError::EndedEarly);
                }
                IoEvent::Event(Event::Alert(alert)) => log::info!("the peer says: {alert}"),
                IoEvent::Event(_) | IoEvent::Flushed => {}
            },
        }
    }
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The connection was cut. It is unknown which bytes arrived.
    #[error("the connection was cut: not everything was handed over")]
    Cut(#[source] io::Error),
    /// The peer closed the session too early.
    #[error("the other side ended the session before everything was handed over")]
    EndedEarly,
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write standard output")]
    Output(#[source] io::Error),
    /// The reader of standard output has closed it.
    #[error("the reader of standard output has gone before it had everything")]
    ReaderGone,
    /// The session failed.
    #[error(transparent)]
    Sealed(SealedIoError),
    /// This side stopped the transfer.
    #[error("the pipe was cut off: not everything was handed over")]
    Stopped,
    /// The peer could not hand over everything.
    #[error("{}", undelivered(.by, *.what))]
    Undelivered {
        /// The peer's name in messages.
        by: &'static str,
        /// The direction that failed.
        what: Undelivered,
    },
}

impl TransferError {
    /// The failure to write an output.
    pub(crate) fn of_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Output(error),
        }
    }

    /// Sets the peer's name in messages.
    pub(crate) fn with_peer(self, peer: &'static str) -> Self {
        match self {
            Self::Undelivered { what, .. } => Self::Undelivered { by: peer, what },
            error => error,
        }
    }

    /// The alert for the peer, if the session can still send one.
    pub(crate) fn alert(&self) -> Alert {
        match self {
            Self::Input(_) => Alert::Undelivered(Undelivered::Input),
            Self::Output(_) | Self::ReaderGone => Alert::Undelivered(Undelivered::Output),
            Self::Cut(_) | Self::EndedEarly | Self::Stopped | Self::Undelivered { .. } => {
                Alert::Undelivered(Undelivered::Unspecified)
            }
            // Such a session has sent its alert already.
            Self::Sealed(_) => Alert::ProtocolError,
        }
    }
}

impl From<SealedIoError> for TransferError {
    fn from(error: SealedIoError) -> Self {
        match error {
            SealedIoError::Io(error) => Self::Cut(error),
            SealedIoError::Sealed(SealedError::Alert(Alert::Undelivered(what))) => {
                Self::Undelivered { by: "the other side", what }
            }
            error => Self::Sealed(error),
        }
    }
}

fn undelivered(by: &str, what: Undelivered) -> String {
    match what {
        Undelivered::Output => {
            format!("{by} could not write to its standard output everything that we sent")
        }
        Undelivered::Input => {
            format!("{by} could not read all of its standard input: what came here is incomplete")
        }
        Undelivered::Unspecified => format!("{by} says that not everything was handed over"),
    }
}
