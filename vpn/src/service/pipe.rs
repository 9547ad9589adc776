//! The pipe service: two byte streams over a sealed session, each with an end of its own.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::net::{Moved, SealedConnection, SealedIoError};
use crate::proto::sealed::{Event, SealedError};

/// The name of the service.
pub(super) const PIPE: &str = "pipe";
/// How much is read from a stream at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Moves bytes both ways until both directions have come to their ends.
///
/// # Errors
///
/// Why it ended before; what was written by then is incomplete.
pub(super) async fn join(
    connection: &mut SealedConnection,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> Result<(), PipeError> {
    let mut chunk = vec![0; CHUNK];
    let mut has_ended = false;
    let mut peer_has_ended = false;
    while !(has_ended && peer_has_ended && connection.is_flushed()) {
        tokio::select! {
            // One chunk at a time: what the peer does not take we do not read.
            read = input.read(&mut chunk), if !has_ended && connection.is_flushed() => {
                match read.map_err(PipeError::Input)? {
                    0 => {
                        has_ended = true;
                        connection.session().send_eof().map_err(SealedIoError::Sealed)?;
                    }
                    n => connection.session().send(&chunk[..n]).map_err(SealedIoError::Sealed)?,
                }
                connection.stage();
            }
            moved = connection.advance() => match moved? {
                Moved::Event(Event::Data(data)) => {
                    output.write_all(&data).await.map_err(PipeError::Output)?;
                }
                Moved::Event(Event::Eof) => {
                    peer_has_ended = true;
                    output.flush().await.map_err(PipeError::Output)?;
                    output.shutdown().await.map_err(PipeError::Output)?;
                }
                Moved::Event(Event::Closed) => {
                    return Err(SealedIoError::Sealed(SealedError::Cut).into());
                }
                Moved::Event(Event::Alert(alert)) => log::warn!("the peer says: {alert}"),
                Moved::Event(_) | Moved::Sent => {}
            },
        }
    }
    Ok(())
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
