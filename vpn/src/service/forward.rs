//! Connections to targets that the server can reach: the kind of channel `forward`, and the service
//! `forward` for one connection in a session of its own (PROTOCOL.md §4.9, §4.10).

use std::io;
use std::sync::Arc;

use tokio::io::split;
use tokio::net::TcpStream;

use super::kind::{ChannelFailure, ChannelKind, ChannelRequest};
use super::pipe::{run_bytes, serve_bytes, told};
use crate::net::{CleanEnd, LocalSocket, connect_resetting, pump};
use crate::output::Reason;
use crate::session::{
    Admitting, ClientError, Connected, Destination, Drain, Feed, Handler, Local, LocalEnd,
    OpenRequest, Refusal, Resources, ServerEnd, ServerSession, Service, ServiceFuture,
    ServiceResult, Target, TargetError, resolve_permitted,
};
use crate::trust::Grant;
use vpn_proto::sealed::OpenStatus;

/// The name of the kind and of the service.
pub(super) const NAME: &str = "forward";

/// The kind of channel, and the service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward;

/// A connection to a target.
#[derive(Debug)]
enum Connection {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// Connects to a target that a client asks for, if the client may reach it.
async fn connect_target(
    argument: Option<&str>,
    grant: &Grant,
) -> Result<Connection, (OpenStatus, String)> {
    let unreachable = |error: &io::Error| {
        let status = match error.kind() {
            io::ErrorKind::ConnectionRefused => OpenStatus::Refused,
            io::ErrorKind::TimedOut => OpenStatus::Timeout,
            _ => OpenStatus::Unreachable,
        };
        (status, Reason(error).to_string())
    };
    let Some(argument) = argument else {
        return Err((OpenStatus::NotPermitted, "the target is no text".to_owned()));
    };
    let target = Target::parse(argument).map_err(|error| refusal(&error))?;
    let found = resolve_permitted(&grant.permit, &target, &[]).await;
    match found.map_err(|error| refusal(&error))? {
        Destination::Addresses(addresses) => {
            let stream = connect_resetting(addresses).await;
            Ok(Connection::Tcp(stream.map_err(|error| unreachable(&error))?))
        }
        #[cfg(unix)]
        Destination::Path(path) => {
            let stream = tokio::net::UnixStream::connect(path).await;
            Ok(Connection::Unix(stream.map_err(|error| unreachable(&error))?))
        }
        #[cfg(not(unix))]
        Destination::Path(_) => {
            Err((OpenStatus::Unreachable, "this system has no such sockets".to_owned()))
        }
    }
}

fn refusal(error: &TargetError) -> (OpenStatus, String) {
    let status = match error {
        TargetError::NotPermitted { .. } | TargetError::Malformed(_) => OpenStatus::NotPermitted,
        TargetError::NoSuchName(_) => OpenStatus::NoSuchName,
        TargetError::NoAnswer(_) => OpenStatus::Timeout,
        TargetError::Lookup { .. } => OpenStatus::Unreachable,
    };
    (status, error.to_string())
}

impl ChannelKind for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn serve(&self, request: ChannelRequest) -> ServiceFuture<'static, Result<(), ChannelFailure>> {
        Box::pin(async move {
            let target = request.text();
            let connected = tokio::select! {
                connected = connect_target(target.as_deref(), &request.context.grant) => connected,
                // A client that has closed the channel wants no connection any more.
                _ = request.channel.ended() => {
                    return Err(ChannelFailure::Failed("closed before it was open".to_owned()));
                }
            };
            let socket = match connected {
                Ok(Connection::Tcp(stream)) => LocalSocket::tcp(stream),
                #[cfg(unix)]
                Ok(Connection::Unix(stream)) => LocalSocket::unix(stream),
                Err((status, text)) => return Err(request.refuse(status, text)),
            };
            let failed = |error: &dyn std::fmt::Display| ChannelFailure::Failed(error.to_string());
            request.channel.accept().map_err(|error| failed(&error))?;
            let ChannelRequest { channel, .. } = request;
            pump(socket, channel).await.map_err(|error| failed(&error))
        })
    }
}

impl Service for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "one connection to a target, on standard input and output"
    }

    fn is_always_there(&self) -> bool {
        true
    }

    fn serve(&self, _: &str, _: &Resources) -> Arc<dyn ServerEnd> {
        Arc::new(*self)
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

impl ServerEnd for Forward {
    /// For a client that has such rules, the target decides.
    fn is_permitted(&self, _: &str, grant: &Grant) -> bool {
        grant.permit.permits_forwards()
    }

    fn rules(&self) -> Option<&'static str> {
        Some("forward:HOST:PORT")
    }

    fn admit<'a>(&'a self, request: OpenRequest<'a>) -> Admitting<'a> {
        Box::pin(async move {
            let target = str::from_utf8(request.argument).ok();
            match connect_target(target, request.grant).await {
                Ok(connection) => Ok(Box::new(connection) as Box<dyn Handler>),
                Err((OpenStatus::NotPermitted, text)) => Err(Refusal::NotPermitted(text)),
                Err((_, text)) => Err(Refusal::Unreachable(text)),
            }
        })
    }
}

impl Handler for Connection {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            // The halves do not shut the connection down when they are dropped: an early end must not
            // look like a clean one.
            let (streams, clean) = match *self {
                Self::Tcp(stream) => {
                    let clean = CleanEnd::of(&stream)?;
                    let (reader, writer) = split(stream);
                    ((Feed::stream(reader), Drain::stream(writer)), Some(clean))
                }
                #[cfg(unix)]
                Self::Unix(stream) => {
                    let (reader, writer) = split(stream);
                    ((Feed::stream(reader), Drain::stream(writer)), None)
                }
            };
            let ended = serve_bytes(session, Ok(streams), false).await;
            if ended.is_ok()
                && let Some(clean) = clean
            {
                clean.allow();
            }
            told(&ended)
        })
    }
}
