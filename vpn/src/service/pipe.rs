//! The pipe service: two byte streams over a sealed session, each with an end of its own.

use super::streams::{Drain, Feed};
use crate::net::{Moved, SealedConnection, SealedIoError};
use crate::proto::sealed::{Event, SealedError};

/// The name of the service.
pub(super) const PIPE: &str = "pipe";

/// Moves bytes both ways until both directions have come to their ends.
///
/// Neither direction waits for the other: while nobody takes what the peer sent, what we have to say
/// still goes out.
///
/// # Errors
///
/// Why it ended before; what was written by then is incomplete.
pub(super) async fn join(
    connection: &mut SealedConnection,
    mut input: Feed,
    mut output: Drain,
) -> Result<(), PipeError> {
    let (mut has_ended, mut peer_has_ended) = (false, false);
    // What the peer sent last and nobody has taken yet; nothing more is read meanwhile.
    let mut untaken = None;
    while !(has_ended && peer_has_ended && untaken.is_none() && connection.is_flushed()) {
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
                let mut chunk = read.map_err(PipeError::Input)?;
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
            is_taken = output.take(&mut untaken), if untaken.is_some() => {
                if !is_taken {
                    let error = output.finish().await.err();
                    let gone = || std::io::ErrorKind::BrokenPipe.into();
                    return Err(PipeError::Output(error.unwrap_or_else(gone)));
                }
            }
            moved = connection.advance() => match moved? {
                Moved::Event(Event::Data(data)) => untaken = Some(data),
                Moved::Event(Event::Eof) => peer_has_ended = true,
                Moved::Event(Event::Closed) => {
                    return Err(SealedIoError::Sealed(SealedError::Cut).into());
                }
                Moved::Event(Event::Alert(alert)) => log::warn!("the peer says: {alert}"),
                Moved::Event(_) | Moved::Sent => {}
            },
        }
    }
    connection.pause_reading(false);
    output.finish().await.map_err(PipeError::Output)
}

/// Why a pipe ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipeError {
    #[error("cannot read standard input: {0}")]
    Input(std::io::Error),
    #[error("cannot write standard output: {0}")]
    Output(std::io::Error),
    #[error("{0}")]
    Sealed(#[from] SealedIoError),
}
