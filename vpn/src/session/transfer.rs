//! Two byte streams over a sealed session, each with an end of its own.
//!
//! Success is a promise: each side says close_notify only when it has written and flushed everything
//! that it received, and counts as done only when it has heard the same of the other side.

use std::io;

use super::streams::{Drain, Feed, Given};
use crate::net::{IoEvent, SealedConnection, SealedIoError};
use vpn_proto::classic::Role;
use vpn_proto::sealed::{Alert, Event, SealedError, Undelivered};

/// Joins these streams to the peer's to their ends, and says and hears the last words. A transfer that
/// is stopped has failed.
///
/// # Errors
///
/// Why not everything was handed over.
pub(crate) async fn transfer(
    mut connection: SealedConnection,
    streams: Result<(Feed, Drain), TransferError>,
    role: Role,
    stopped: impl Future<Output = ()>,
) -> Result<(), TransferError> {
    let joined = async {
        let (input, output) = streams?;
        join(&mut connection, input, output).await?;
        // The client says first that it has passed on everything, or it was cut.
        while role == Role::Server && !connection.session().is_closed() {
            connection.next().await?;
        }
        Ok(())
    };
    let joined = tokio::select! {
        joined = joined => joined,
        () = stopped => Err(TransferError::Stopped),
    };
    match joined {
        // We have passed on everything, and the peer says when it has.
        Ok(()) => Ok(connection.close_when_peer_does().await?),
        Err(error) => {
            connection.abort(error.alert()).await;
            Err(error)
        }
    }
}

/// Moves bytes both ways until both directions have come to their ends and everything that the peer
/// sent is written and flushed.
///
/// Neither direction waits for the other: while nobody takes what the peer sent, what we have to say
/// still goes out.
///
/// # Errors
///
/// Why it ended before; what was written by then is incomplete.
async fn join(
    connection: &mut SealedConnection,
    mut input: Feed,
    mut output: Drain,
) -> Result<(), TransferError> {
    let (mut has_ended, mut peer_has_ended) = (false, false);
    let mut is_written = false;
    // What the peer sent last and nobody has taken yet; nothing more is read meanwhile.
    let mut untaken = None;
    loop {
        if peer_has_ended && untaken.is_none() {
            output.end();
        }
        if has_ended && is_written && connection.is_flushed() {
            return Ok(());
        }
        connection.pause_reading(untaken.is_some());
        while let Some(used) = output.used() {
            connection.recycle(used);
        }
        tokio::select! {
            // One chunk at a time: what the peer does not take we do not read.
            // While a fresh exchange holds our key fast its limit could come too near.
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
                    input.reuse(chunk);
                }
                connection.stage();
            }
            given = output.give(&mut untaken), if !is_written => {
                match given.map_err(TransferError::of_output)? {
                    Given::Taken => {}
                    Given::Finished => is_written = true,
                }
            }
            io_event = connection.advance() => match io_event? {
                IoEvent::Event(Event::Data(data)) => untaken = Some(data),
                IoEvent::Event(Event::Eof) => peer_has_ended = true,
                // It has all that we sent; it waits for our word until what it sent is written.
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

/// Why a pipe ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The connection was lost, and nobody knows what arrived.
    #[error("the connection was cut: not everything was handed over")]
    Cut(#[source] io::Error),
    /// The peer said that it was the end when it was not.
    #[error("the other side ended the session before everything was handed over")]
    EndedEarly,
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write standard output")]
    Output(#[source] io::Error),
    /// Whoever reads our standard output does so no more.
    #[error("the reader of standard output has gone before it had everything")]
    ReaderGone,
    /// The session ended.
    #[error(transparent)]
    Sealed(SealedIoError),
    /// The pipe was given up before its end, for a reason of this side.
    #[error("the pipe was cut off: not everything was handed over")]
    Stopped,
    /// The peer says that it could not hand over everything.
    #[error("{}", undelivered(.by, *.what))]
    Undelivered {
        /// The peer.
        by: &'static str,
        /// What it could not hand over.
        what: Undelivered,
    },
}

impl TransferError {
    fn of_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Output(error),
        }
    }

    /// Names the peer.
    pub(crate) fn said_by(self, peer: &'static str) -> Self {
        match self {
            Self::Undelivered { what, .. } => Self::Undelivered { by: peer, what },
            error => error,
        }
    }

    /// What the peer is to be told, if it is not the peer that told us.
    pub(crate) fn alert(&self) -> Alert {
        match self {
            Self::Input(_) => Alert::Undelivered(Undelivered::Input),
            Self::Output(_) | Self::ReaderGone => Alert::Undelivered(Undelivered::Output),
            Self::Cut(_) | Self::EndedEarly | Self::Stopped | Self::Undelivered { .. } => {
                Alert::Undelivered(Undelivered::Unspecified)
            }
            // A session that has failed by itself has said its last words already.
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
