//! The interface of a service. Each sealed session runs one service (PROTOCOL.md §4.9).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::error::ClientError;
use super::exec::ExecCommands;
use super::key_sessions::Doubts;
use super::output::Output;
use super::sealed_client::Connected;
use super::transfer::TransferError;
use crate::net::limits::{CLOSE, Limits};
use crate::net::{SealedConnection, SealedIoError, Shutdown};
use crate::term::{Console, ConsoleClosed, Texts};
use crate::trust::Grant;
use vpn_proto::sealed::{Alert, PeerIdentity, SealedError, Undelivered};

/// The future of one end of a service.
pub type ServiceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer to a client that asks for a service.
pub type Admitting<'a> = ServiceFuture<'a, Result<Box<dyn Handler>, Refusal>>;

/// The answer that lets a client in at once.
pub fn admitted<'a>(handler: impl Handler + 'static) -> Admitting<'a> {
    Box::pin(std::future::ready(Ok(Box::new(handler) as Box<dyn Handler>)))
}

/// The end of a session on the server: a line for the log, or the error.
pub type ServiceResult = Result<&'static str, ServerError>;

/// A service: its name, and both of its ends.
///
/// A service is one file in `service/` and one line in the list there. It gets an established
/// session and moves data. Sockets, handshakes and permits are done before.
pub trait Service: fmt::Debug + Send + Sync {
    /// The name on the wire, in `permit` and in `--service`.
    fn name(&self) -> &'static str;

    /// What the service does: one line for `--help` and for the documentation.
    fn about(&self) -> &'static str;

    /// The server's ends of this service: their names for `vpn server --service`, each with one
    /// line about it.
    fn ends(&self) -> Vec<(&'static str, &'static str)> {
        vec![(self.name(), self.about())]
    }

    /// Whether every server has it. Then `permit` alone decides who may use it, and `--service` does
    /// not name it.
    fn is_always_there(&self) -> bool {
        false
    }

    /// Makes the server's end with this name. A server calls it once.
    fn serve(&self, end: &str, resources: &Resources) -> Arc<dyn ServerEnd>;

    /// What the client's end needs from the program.
    fn local_end(&self) -> LocalEnd;

    /// Runs the client's end until the work is done, and closes the session.
    ///
    /// The server has permitted the service already. Success means that the server has everything.
    ///
    /// # Errors
    ///
    /// Why the work is not done.
    fn run(
        &self,
        session: Connected,
        local: Local,
    ) -> ServiceFuture<'static, Result<(), ClientError>>;
}

/// What a server gives to its ends of services.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The limits of the server.
    pub limits: Limits,
    /// The commands that clients may run.
    pub commands: Arc<ExecCommands>,
}

/// A client's request for a service.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest<'a> {
    /// The argument for the service.
    pub argument: &'a [u8],
    /// The identity that the client has proved.
    pub client: PeerIdentity,
    /// What the client may do.
    pub grant: &'a Grant,
}

/// Why a client does not get a service. The texts are for the client and the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no room for the session now.
    #[error("{0}")]
    Busy(String),
    /// The client may not use it.
    #[error("{0}")]
    NotPermitted(String),
    /// The target of the service cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// What the client's end of a service needs from the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalEnd {
    /// Texts that a user types or a script sends, and a place to print replies.
    Texts,
    /// Standard input and standard output, byte for byte.
    Bytes,
    /// Nothing: it has sockets of its own.
    Nothing,
}

/// What the program passes to the client's end of a service.
#[derive(Debug)]
pub struct Local {
    /// The texts to send, for [`LocalEnd::Texts`].
    pub texts: Option<Texts>,
    /// Where replies go.
    pub(crate) out: Output,
    /// Whether a line on the terminal shows the progress of [`LocalEnd::Bytes`].
    pub shows_progress: bool,
}

/// The server's end of a service, which all sessions of the server share.
pub trait ServerEnd: fmt::Debug + Send + Sync {
    /// Whether a client with this grant may use the service with this name.
    fn is_permitted(&self, service: &str, grant: &Grant) -> bool {
        grant.permit.permits(service)
    }

    /// The rules that a client needs, for messages, if one with the name of the service is not enough.
    fn rules(&self) -> Option<&'static str> {
        None
    }

    /// The rule in `permit` that a client needs, for messages.
    fn rule(&self, service: &str) -> String {
        service.to_owned()
    }

    /// Reserves what one more session needs, and returns its handler. The client hears of it after.
    ///
    /// # Errors
    ///
    /// Why the client does not get the service.
    fn admit<'a>(&'a self, request: OpenRequest<'a>) -> Admitting<'a>;

    /// Whether it uses standard input and output. Then nothing else may use them.
    fn owns_stdio(&self) -> bool {
        false
    }

    /// Resolves when there is nothing more to serve, so that the server stops.
    fn done(&self) -> ServiceFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// The result of the session, for an end that serves only one. It is returned once.
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
    /// Sends data and receives events.
    pub connection: SealedConnection,
    /// The identity that the client has proved.
    pub client: PeerIdentity,
    /// What the client may do.
    pub grant: Arc<Grant>,
    /// Says when the session has to show that it is alive.
    pub doubts: Doubts,
    /// Prints lines about this client.
    pub console: Console,
    /// Says when the server has to stop.
    pub shutdown: Shutdown,
    /// How long the session may be idle.
    pub idle: Duration,
    /// How often the client sends a ping when it sends nothing else.
    pub keepalive: Duration,
}

impl ServerSession {
    /// Closes the session: with close_notify if `result` is a success, else with the error's alert.
    /// Returns `result`.
    ///
    /// # Errors
    ///
    /// The error of `result`, or the failure to close.
    pub async fn close(self, result: ServiceResult) -> ServiceResult {
        let alert = match &result {
            Ok(_) => {
                self.connection.close(CLOSE).await?;
                return result;
            }
            Err(error) => error.alert(),
        };
        self.connection.abort(alert).await;
        result
    }
}

/// Why a session failed on the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server has no room for the session.
    #[error("turned away: {0}")]
    Busy(String),
    /// The server's output is closed.
    #[error("{0}")]
    Console(#[from] ConsoleClosed),
    /// The client may not use the service.
    #[error("turned away: {0}")]
    Denied(String),
    /// The target that the client asked for cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The client exceeded a limit.
    #[error("{0}")]
    Policy(String),
    /// The connection or the protocol failed.
    #[error("{0}")]
    Sealed(#[from] SealedIoError),
    /// The client took too long.
    #[error("a message took too long")]
    Slow,
    /// A transfer of bytes failed.
    #[error("{0}")]
    Transfer(String),
}

impl ServerError {
    /// The alert for the client.
    pub fn alert(&self) -> Alert {
        match self {
            Self::Busy(_) => Alert::Busy,
            Self::Console(_) => Alert::Undelivered(Undelivered::Output),
            Self::Denied(_) => Alert::AccessDenied,
            // OpenReply has said why.
            Self::Unreachable(_) => Alert::CloseNotify,
            Self::Policy(_) => Alert::Policy,
            // Such a session has sent its alert already.
            Self::Sealed(_) | Self::Transfer(_) => Alert::ProtocolError,
            Self::Slow => Alert::Timeout,
        }
    }
}

impl From<SealedError> for ServerError {
    fn from(error: SealedError) -> Self {
        Self::Sealed(error.into())
    }
}

impl From<std::io::Error> for ServerError {
    fn from(error: std::io::Error) -> Self {
        Self::Sealed(error.into())
    }
}
