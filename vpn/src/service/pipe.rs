//! The pipe service: it joins standard input and output of both sides (PROTOCOL.md §4.9).

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::net::limits::SHUTDOWN;
use crate::session::{
    Admitting, ClientError, Connected, Drain, Feed, Handler, Local, LocalEnd, OpenRequest, Refusal,
    Resources, ServerEnd, ServerError, ServerSession, Service, ServiceFuture, ServiceResult, Stdio,
    TransferError, admitted, transfer,
};
use crate::term::{Counted, Progress};
use vpn_proto::classic::Role;

/// How long a pipe may go on after the server was told to stop. The rest of [`SHUTDOWN`] is for the
/// alert.
pub(super) const GRACE: Duration = SHUTDOWN.checked_div(2).expect("2 is not 0");

/// The service.
#[derive(Debug)]
pub(super) struct Pipe;

/// The names of the server's ends that do not use standard input and output.
const DISCARD: &str = "discard";
const GENERATE: &str = "generate";

impl Service for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn about(&self) -> &'static str {
        "a pipe between standard input and output of both sides; the server serves one session"
    }

    fn ends(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            (self.name(), self.about()),
            (DISCARD, "a pipe to nothing: what the client sends is dropped"),
            (GENERATE, "a pipe from nothing but zeros, as fast as the client takes them"),
        ]
    }

    fn serve(&self, end: &str, _: &Resources) -> Arc<dyn ServerEnd> {
        match end {
            DISCARD => Arc::new(Synthetic::Discard),
            GENERATE => Arc::new(Synthetic::Generate),
            _ => Arc::new(PipeOutcome::default()),
        }
    }

    fn local_end(&self) -> LocalEnd {
        LocalEnd::Bytes
    }

    fn run(
        &self,
        session: Connected,
        local: Local,
    ) -> ServiceFuture<'static, Result<(), ClientError>> {
        Box::pin(run_bytes(session, local))
    }
}

/// Runs the client's end of a service of bytes: moves bytes between standard input and output and
/// the server.
pub(super) async fn run_bytes(session: Connected, local: Local) -> Result<(), ClientError> {
    let progress = match local.shows_progress {
        true => Progress::start(Counted::Bytes, Stdio::input_size()),
        false => Progress::none(),
    };
    let streams = Stdio::take().map(Stdio::open).ok_or(TransferError::Stopped);
    let stopped = std::future::pending();
    let ended = transfer(session.connection, streams, Role::Client, progress, stopped).await;
    Ok(ended.map_err(|error| error.with_peer("the server"))?)
}

/// Runs the server's end of a service of bytes: moves bytes between `streams` and the client, and
/// closes the session. A client that is expected to ping and falls silent, or takes nothing, for three
/// times the keepalive is given up.
///
/// # Errors
///
/// Why not everything was handed over.
pub(super) async fn serve_bytes(
    session: ServerSession,
    streams: Result<(Feed, Drain), TransferError>,
    expect_pings: bool,
) -> Result<(), TransferError> {
    let ServerSession { mut connection, mut shutdown, keepalive, .. } = session;
    connection.expect_pings(expect_pings.then_some(keepalive));
    connection.read_at_most(usize::MAX);
    let stopped = async {
        shutdown.wait().await;
        sleep(GRACE).await;
    };
    let ended = transfer(connection, streams, Role::Server, Progress::none(), stopped).await;
    ended.map_err(|error| error.with_peer("the client"))
}

/// The result of a transfer, as a line for the log.
pub(super) fn told(ended: &Result<(), TransferError>) -> ServiceResult {
    match ended {
        Ok(()) => Ok("the client closed the session"),
        Err(error) => Err(ServerError::Transfer(error.to_string())),
    }
}

/// A server's end without standard input and output.
#[derive(Clone, Copy, Debug)]
enum Synthetic {
    /// Drops everything.
    Discard,
    /// Sends zeros.
    Generate,
}

impl ServerEnd for Synthetic {
    fn admit<'a>(&'a self, _: OpenRequest<'a>) -> Admitting<'a> {
        admitted(*self)
    }
}

impl Handler for Synthetic {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let input = match *self {
                Self::Discard => Feed::Empty,
                Self::Generate => Feed::Zeros,
            };
            told(&serve_bytes(session, Ok((input, Drain::nothing())), false).await)
        })
    }
}

impl ServerEnd for PipeOutcome {
    fn admit<'a>(&'a self, _: OpenRequest<'a>) -> Admitting<'a> {
        match self.take() {
            Ok(owner) => admitted(owner),
            Err(taken) => Box::pin(ready(Err(Refusal::Busy(taken.to_string())))),
        }
    }

    fn owns_stdio(&self) -> bool {
        true
    }

    fn done(&self) -> ServiceFuture<'_, ()> {
        Box::pin(self.wait())
    }

    fn outcome(&self) -> Option<Result<(), TransferError>> {
        self.result()
    }
}

impl Handler for PipeOwner {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let ended = serve_bytes(session, self.open(), false).await;
            let told = told(&ended);
            self.end(ended);
            told
        })
    }
}

/// The pipe of a server, and its result. There is one pipe, for one session.
#[derive(Clone, Debug, Default)]
struct PipeOutcome(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    has_ended: Notify,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Taken,
    Ended(Option<Result<(), TransferError>>),
}

/// Why a session cannot have the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum PipeTaken {
    #[error("the server's pipe is in use by another client")]
    InUse,
    #[error("the server's pipe has served its one session, and the server is about to end")]
    Used,
}

impl PipeOutcome {
    /// Takes the pipe for a session. Nothing is read or written yet.
    fn take(&self) -> Result<PipeOwner, PipeTaken> {
        let mut state = self.state();
        match *state {
            State::Free => {}
            State::Taken => return Err(PipeTaken::InUse),
            State::Ended(_) => return Err(PipeTaken::Used),
        }
        *state = State::Taken;
        drop(state);
        Ok(PipeOwner { outcome: self.clone(), result: Err(TransferError::Stopped) })
    }

    /// Waits until the session has ended.
    async fn wait(&self) {
        self.0.has_ended.notified().await;
    }

    /// The result of the session, if there was one. It is returned once.
    fn result(&self) -> Option<Result<(), TransferError>> {
        match &mut *self.state() {
            State::Free => None,
            // The server stopped before the session ended.
            State::Taken => Some(Err(TransferError::Stopped)),
            State::Ended(result) => result.take(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The owner of the pipe. When it is dropped, the pipe has ended. Without a result it has failed.
#[derive(Debug)]
struct PipeOwner {
    outcome: PipeOutcome,
    result: Result<(), TransferError>,
}

impl PipeOwner {
    /// Opens standard input and output.
    fn open(&self) -> Result<(Feed, Drain), TransferError> {
        Stdio::take().map(Stdio::open).ok_or(TransferError::Stopped)
    }

    /// Sets the result, and ends the pipe.
    fn end(mut self, result: Result<(), TransferError>) {
        self.result = result;
    }
}

impl Drop for PipeOwner {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        *self.outcome.state() = State::Ended(Some(result));
        self.outcome.0.has_ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_serves_one_session() {
        let outcome = PipeOutcome::default();
        assert!(outcome.result().is_none());
        let owner = outcome.take().unwrap();
        assert_eq!(outcome.take().unwrap_err(), PipeTaken::InUse);
        owner.end(Ok(()));
        assert_eq!(outcome.take().unwrap_err(), PipeTaken::Used);
        assert!(matches!(outcome.result(), Some(Ok(()))));
    }

    #[tokio::test]
    async fn a_dropped_session_has_failed() {
        let outcome = PipeOutcome::default();
        drop(outcome.take().unwrap());
        outcome.wait().await;
        assert!(matches!(outcome.result(), Some(Err(TransferError::Stopped))));
    }
}
