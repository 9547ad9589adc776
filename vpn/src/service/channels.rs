//! The service of many channels in one session: the server's end (PROTOCOL.md §4.10).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};

use super::kind::{ChannelContext, ChannelFailure, ChannelRequest};
use super::remote_forward::{RemoteListeners, SessionListeners};
use super::{KINDS, pipe};
use crate::net::limits::{CLOSE, USER_TIMEOUT};
use crate::net::{DriveEnd, Multiplexer, Request, drive};
use crate::output::log::SESSION;
use crate::session::{
    Admitting, ClientError, Connected, ExecCommands, Handler, Local, LocalEnd, OpenRequest,
    Refusal, Resources, ServerEnd, ServerSession, Service, ServiceFuture, ServiceResult, admitted,
};
use crate::trust::{Grant, fingerprint};
use vpn_proto::Printable;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{ChannelLimits, OpenStatus, PeerIdentity, WindowBudget};

/// The name of the service, and its argument: the version.
pub(super) const NAME: &str = "channels";
pub(super) const VERSION: &[u8] = &[1];

/// Longer than a server takes to stop.
const FAR: Duration = Duration::from_secs(3600);
/// How much of an argument the log has, in bytes.
const SHOWN: usize = 200;

/// The service.
#[derive(Debug)]
pub(super) struct Channels;

impl Service for Channels {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "many connections in one session: forwards, SOCKS and named commands"
    }

    fn is_always_there(&self) -> bool {
        true
    }

    fn serve(&self, _: &str, resources: &Resources) -> Arc<dyn ServerEnd> {
        Arc::new(Server {
            budget: WindowBudget::new(resources.limits.channel_bytes),
            commands: resources.commands.clone(),
            listeners: RemoteListeners::default(),
        })
    }

    fn local_end(&self) -> LocalEnd {
        LocalEnd::Nothing
    }

    fn run(&self, session: Connected, _: Local) -> ServiceFuture<'static, Result<(), ClientError>> {
        // A session without forwards ends at once.
        Box::pin(async move { Ok(session.connection.close(crate::net::limits::REPLY).await?) })
    }
}

/// The server's end, for all sessions.
#[derive(Clone, Debug)]
struct Server {
    budget: Arc<WindowBudget>,
    commands: Arc<ExecCommands>,
    listeners: RemoteListeners,
}

impl ServerEnd for Server {
    fn is_permitted(&self, _: &str, grant: &Grant) -> bool {
        grant.permit.permits_channels()
    }

    fn rules(&self) -> Option<&'static str> {
        Some("forward:HOST:PORT, remote-forward:BIND:PORT or exec:NAME")
    }

    fn admit<'a>(&'a self, request: OpenRequest<'a>) -> Admitting<'a> {
        match request.argument == VERSION {
            true => admitted(self.clone()),
            false => {
                let text = "this server has another version of channels".to_owned();
                Box::pin(std::future::ready(Err(Refusal::NotPermitted(text))))
            }
        }
    }
}

impl Handler for Server {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(self.serve_channels(session))
    }
}

impl Server {
    async fn serve_channels(self: Box<Self>, session: ServerSession) -> ServiceResult {
        let ServerSession { mut connection, client, grant, mut shutdown, keepalive, .. } = session;
        connection.expect_pings(Some(keepalive));
        connection.read_at_most(usize::MAX);
        connection.set_user_timeout(USER_TIMEOUT);
        let usual = ChannelLimits::default();
        let limits = ChannelLimits {
            channels: grant.max_channels.unwrap_or(usual.channels),
            budget: Some(self.budget.clone()),
            ..usual
        };
        let channels = Multiplexer::new(Role::Server, limits);
        let context = Arc::new(ChannelContext {
            grant,
            client: match client {
                PeerIdentity::Key(key) => fingerprint(&key),
                PeerIdentity::PskOnly => "psk".to_owned(),
            },
            commands: self.commands.clone(),
        });
        let mut listeners = SessionListeners::new(self.listeners.clone(), client, &channels);
        let driving = drive(connection, &channels);
        tokio::pin!(driving);
        // All in one task: a channel and its session wake each other often, and between two threads
        // that takes longer than the work. They end with the session, because their channels do.
        let mut tasks = FuturesUnordered::new();
        let mut stop_at: Option<Instant> = None;
        let mut is_over = false;
        let ended = loop {
            let stopping = async {
                match stop_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut driving => break ended,
                request = channels.next_request(), if !is_over => match request {
                    Some(Request::Channel { channel, kind, argument }) => {
                        let request = ChannelRequest { channel, argument, context: context.clone() };
                        tasks.push(serve_channel(kind, request));
                    }
                    Some(Request::Question { number, question }) => {
                        listeners.handle(number, question, &context);
                    }
                    None => is_over = true,
                },
                Some(()) = tasks.next() => {}
                () = shutdown.wait(), if stop_at.is_none() => {
                    channels.finish();
                    stop_at = Some(Instant::now() + pipe::GRACE);
                }
                // The client connects again, to a server that goes on.
                () = stopping => {
                    channels.stop();
                    // Once is enough.
                    stop_at = Some(Instant::now() + FAR);
                }
            }
        };
        // Channels that have ended normally with the session still have to close their sockets.
        let closing = async { while tasks.next().await.is_some() {} };
        let _ = timeout(CLOSE, closing).await;
        ended.map_err(Into::into).map(told)
    }
}

fn told(end: DriveEnd) -> &'static str {
    match end {
        DriveEnd::ByPeer => "the client closed the session",
        DriveEnd::Finished | DriveEnd::Stopped => "closed, the server is stopping",
    }
}

/// Serves one channel to its end, and logs how it ended.
async fn serve_channel(kind: String, request: ChannelRequest) {
    let shown = request.argument.len().min(SHOWN);
    let argument = Printable(&request.argument[..shown]).to_string();
    let client = request.context.client.clone();
    let served = match KINDS.iter().find(|known| known.name() == kind) {
        Some(known) => known.serve(request).await,
        None => Err(request.refuse(OpenStatus::UnknownKind, "there is no such kind of channel")),
    };
    match served {
        Ok(()) => log::debug!("{client}: {kind} {argument}: closed"),
        Err(ChannelFailure::Refused(_, text)) => {
            let text: String = text.chars().take(2 * SHOWN).collect();
            log::info!(target: SESSION, "{client}: {kind} {argument}: refused: {text}");
        }
        Err(ChannelFailure::Failed(text)) => log::debug!("{client}: {kind} {argument}: {text}"),
    }
}
