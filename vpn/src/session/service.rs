//! What a service is: what a sealed session is for (PROTOCOL.md §4.9).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::error::ClientError;
use super::output::Output;
use super::sealed_client::Connected;
use super::transfer::TransferError;
use crate::net::limits::{CLOSE, Limits};
use crate::net::{SealedConnection, SealedIoError, Shutdown};
use crate::term::{Console, ConsoleClosed, Texts};
use vpn_proto::sealed::{Alert, PeerIdentity, SealedError, Undelivered};

/// The work of one end of a service.
pub type ServiceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a session of a service ended on the server: the words for the log, or what went wrong.
pub type ServiceResult = Result<&'static str, Ended>;

/// A service: its name, and both of its ends.
///
/// A service is one file in `service/` and one line in the list there. It sees an established session
/// and moves data; sockets, handshakes and permits are looked after before it is asked.
pub trait Service: fmt::Debug + Send + Sync {
    /// Its name on the wire, in `permit` and in `--service`.
    fn name(&self) -> &'static str;

    /// What it is for: one line for `--help` and for the documentation.
    fn about(&self) -> &'static str;

    /// The names that `vpn server --service` has for its server's ends, each with one line about it.
    fn ends(&self) -> Vec<(&'static str, &'static str)> {
        vec![(self.name(), self.about())]
    }

    /// Makes one of its server's ends, once for a server.
    fn serve(&self, end: &str, limits: &Limits) -> Arc<dyn ServerEnd>;

    /// What the client's end takes from the program.
    fn local_end(&self) -> LocalEnd;

    /// The client's end: uses the session until the work is done, and closes it.
    ///
    /// The server has granted the service already. Success means that the server has everything.
    fn run(
        &self,
        session: Connected,
        local: Local,
    ) -> ServiceFuture<'static, Result<(), ClientError>>;
}

/// What the client's end of a service takes from the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalEnd {
    /// Texts that a person types or a script gives, and a place to print replies.
    Texts,
    /// Standard input and standard output, byte for byte.
    Bytes,
}

/// What the program lends the client's end of a service.
#[derive(Debug)]
pub struct Local {
    /// The texts to send, for [`LocalEnd::Texts`].
    pub texts: Option<Texts>,
    /// Where replies go.
    pub(crate) out: Output,
}

/// The server's end of a service. It serves many sessions at once.
pub trait ServerEnd: fmt::Debug + Send + Sync {
    /// Takes what one more session needs, before the client is told that it has the service.
    ///
    /// # Errors
    ///
    /// Why it cannot be had now, in the words for the client.
    fn admit(&self) -> Result<Box<dyn Handler>, String>;

    /// Whether it reads standard input and writes standard output. Then nothing else may.
    fn owns_stdio(&self) -> bool {
        false
    }

    /// Resolves when there is nothing more to serve and the server is to stop.
    fn done(&self) -> ServiceFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// How its one session ended, if a server has only one. It is told once.
    fn outcome(&self) -> Option<Result<(), TransferError>> {
        None
    }
}

/// Serves one session of a service.
pub trait Handler: Send {
    /// Serves the session to its end, and closes it.
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult>;
}

/// An established session on the server, as a service sees it.
#[derive(Debug)]
pub struct ServerSession {
    /// Moves data and events.
    pub connection: SealedConnection,
    /// Who the client is.
    pub client: PeerIdentity,
    /// Where the server prints what concerns this client.
    pub console: Console,
    /// Says when the server is told to stop.
    pub shutdown: Shutdown,
    /// How long nothing may happen.
    pub idle: Duration,
    /// How often the client was asked for a sign of life.
    pub keepalive: Duration,
}

impl ServerSession {
    /// Says last words according to how the session ended.
    ///
    /// # Errors
    ///
    /// How it ended, or why the last words were not heard.
    pub async fn leave(self, ended: ServiceResult) -> ServiceResult {
        let alert = match &ended {
            Ok(_) => {
                self.connection.close(CLOSE).await?;
                return ended;
            }
            Err(ended) => ended.alert(),
        };
        self.connection.abort(alert).await;
        ended
    }
}

/// Why a session ended on the server that should not have.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The server has no room for it.
    #[error("turned away: {0}")]
    Busy(String),
    /// The server's output is closed.
    #[error("{0}")]
    Console(#[from] ConsoleClosed),
    /// The client may not have what it asks for.
    #[error("turned away: {0}")]
    Denied(String),
    /// The client went beyond a limit.
    #[error("{0}")]
    Policy(String),
    /// The connection or the protocol failed.
    #[error("{0}")]
    Sealed(#[from] SealedIoError),
    /// The client took too long.
    #[error("a message was not there in time")]
    Slow,
    /// A byte stream ended before its end.
    #[error("{0}")]
    Transfer(String),
}

impl Ended {
    /// What the client is told.
    pub fn alert(&self) -> Alert {
        match self {
            Self::Busy(_) => Alert::Busy,
            Self::Console(_) => Alert::Undelivered(Undelivered::Output),
            Self::Denied(_) => Alert::AccessDenied,
            Self::Policy(_) => Alert::Policy,
            // A session that has failed by itself has said its last words already.
            Self::Sealed(_) | Self::Transfer(_) => Alert::ProtocolError,
            Self::Slow => Alert::Timeout,
        }
    }
}

impl From<SealedError> for Ended {
    fn from(error: SealedError) -> Self {
        Self::Sealed(error.into())
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Sealed(error.into())
    }
}
