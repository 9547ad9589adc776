//! The service of many channels in one session: the server's end (PROTOCOL.md §4.10).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::KINDS;
use super::exec::PROCESSES;
use super::kind::{ChannelContext, ChannelFailure, ChannelRequest};
use super::multiplexed::{CHANNELS, Dispatch, admit_channels, serve_channels};
use super::remote_forward::SessionListeners;
use crate::net::limits::{CLOSE, REPLY};
use crate::net::{ChannelStream, Multiplexer, on_session_thread};
use crate::output::log::SESSION;
use crate::session::{
    Admitting, ClientError, Connected, ExecCommands, Handler, Local, LocalEnd, OpenRequest,
    Resources, ServerEnd, ServerSession, Service, ServiceFuture, ServiceResult,
};
use crate::trust::{Grant, fingerprint};
use vpn_proto::Printable;
use vpn_proto::sealed::{OpenStatus, PeerIdentity, Question, WindowBudget};

/// After this many refusals in a session, others are in the log only if it has all details.
const TOLD: usize = 100;
/// How much of an argument the log has, in bytes.
const SHOWN: usize = 200;

/// The service.
#[derive(Debug)]
pub(super) struct Channels;

impl Service for Channels {
    fn name(&self) -> &'static str {
        CHANNELS
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
            processes: Processes::default(),
        })
    }

    fn local_end(&self) -> LocalEnd {
        LocalEnd::Nothing
    }

    fn run(&self, session: Connected, _: Local) -> ServiceFuture<'static, Result<(), ClientError>> {
        // A session without forwards ends at once.
        Box::pin(async move { Ok(session.connection.close(REPLY).await?) })
    }
}

/// The server's end, for all sessions.
#[derive(Clone, Debug)]
struct Server {
    budget: Arc<WindowBudget>,
    commands: Arc<ExecCommands>,
    processes: Processes,
}

impl ServerEnd for Server {
    fn is_permitted(&self, _: &str, grant: &Grant) -> bool {
        grant.permit.permits_channels()
    }

    fn rules(&self) -> Option<&'static str> {
        Some("forward:HOST:PORT, remote-forward:BIND:PORT or exec:NAME")
    }

    fn admit<'a>(&'a self, request: OpenRequest<'a>) -> Admitting<'a> {
        admit_channels(&request, self.clone())
    }
}

impl Handler for Server {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let client = session.client;
            let context = Arc::new(ChannelContext {
                grant: session.grant.clone(),
                client: match client {
                    PeerIdentity::Key(key) => fingerprint(&key),
                    PeerIdentity::PskOnly => "psk".to_owned(),
                },
                commands: self.commands.clone(),
                processes: self.processes.of(client),
                told: AtomicUsize::new(0),
            });
            let doubts = session.doubts.clone();
            on_session_thread(async move {
                let connection = session.connection.register_here()?;
                let session = ServerSession { connection, ..session };
                serve_channels(session, self.budget.clone(), move |channels| Session {
                    context,
                    listeners: SessionListeners::new(channels, doubts),
                })
                .await
            })
            .await?
        })
    }
}

/// The channels of one session.
struct Session {
    context: Arc<ChannelContext>,
    listeners: SessionListeners,
}

impl Dispatch for Session {
    fn channel(
        &mut self,
        channel: ChannelStream,
        kind: String,
        argument: Vec<u8>,
    ) -> ServiceFuture<'static, ()> {
        let request = ChannelRequest { channel, argument, context: self.context.clone() };
        Box::pin(serve_channel(kind, request))
    }

    fn question(&mut self, _: &Multiplexer, number: u32, question: Question) {
        self.listeners.handle(number, question, &self.context);
    }

    fn patience(&self) -> Option<Duration> {
        Some(CLOSE)
    }
}

/// How many commands each client may still start, as long as it has a session.
#[derive(Clone, Debug, Default)]
struct Processes(Arc<Mutex<HashMap<[u8; 32], Weak<Semaphore>>>>);

impl Processes {
    /// The commands of all sessions of this client together. Holders of the PSK count as one.
    fn of(&self, client: PeerIdentity) -> Arc<Semaphore> {
        let key = match client {
            PeerIdentity::Key(key) => key,
            PeerIdentity::PskOnly => [0; 32],
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turns| turns.strong_count() > 0);
        let known = all.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(PROCESSES));
            all.insert(key, Arc::downgrade(&turns));
            turns
        })
    }
}

/// Serves one channel to its end, and logs how it ended.
async fn serve_channel(kind: String, request: ChannelRequest) {
    let shown = request.argument.len().min(SHOWN);
    let argument = Printable(&request.argument[..shown]).to_string();
    let context = request.context.clone();
    let client = &context.client;
    let served = match KINDS.iter().find(|known| known.name() == kind) {
        Some(known) => known.serve(request).await,
        None => Err(request.refuse(OpenStatus::UnknownKind, "there is no such kind of channel")),
    };
    match served {
        Ok(()) => log::debug!("{client}: {kind} {argument}: closed"),
        Err(ChannelFailure::Refused(_, text)) => {
            let text: String = text.chars().take(2 * SHOWN).collect();
            let line = format!("{client}: {kind} {argument}: refused: {text}");
            match context.told.fetch_add(1, Ordering::Relaxed) {
                ..TOLD => log::info!(target: SESSION, "{line}"),
                TOLD => log::info!(target: SESSION, "{client}: more refusals are not logged"),
                _ => log::debug!("{line}"),
            }
        }
        Err(ChannelFailure::Failed(text)) => log::debug!("{client}: {kind} {argument}: {text}"),
    }
}
