//! The service of a program that uses the library: one channel in a session, or many.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::channel::{Channel, Peer};
use super::session::VERSION;
use crate::net::limits::{Limits, SHUTDOWN, USER_TIMEOUT};
use crate::net::{Multiplexer, Request, drive};
use crate::session::{
    Admitting, Handler, OpenRequest, Refusal, ServerEnd, ServerError, ServerSession, ServiceFuture,
    ServiceResult, admitted,
};
use crate::trust::Grant;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{Answer, ChannelLimits, OpenStatus, WindowBudget};

/// How long channels may stay open after the server was told to stop. The last words need time, too.
const GRACE: Duration = SHUTDOWN.checked_div(2).expect("2 is not 0");

/// The function that serves a channel.
pub(super) type Handle = Arc<dyn Fn(Channel) -> ServiceFuture<'static, ()> + Send + Sync>;

/// The service, with one channel in each session.
#[derive(Clone)]
pub(super) struct Custom {
    pub(super) service: Arc<str>,
    pub(super) handle: Handle,
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({})", self.service)
    }
}

impl ServerEnd for Custom {
    fn admit<'a>(&'a self, _: OpenRequest<'a>) -> Admitting<'a> {
        admitted(self.clone())
    }
}

impl Handler for Custom {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let ServerSession { mut connection, client, mut shutdown, .. } = session;
            // The program may read as slowly as it likes, so pings are not expected.
            connection.expect_pings(None);
            connection.read_at_most(usize::MAX);
            let stopped = async move {
                shutdown.wait().await;
                sleep(GRACE).await;
            };
            let (channel, work) = Channel::whole(connection, client, Role::Server, stopped);
            let handled = (self.handle)(channel);
            let (ended, ()) = tokio::join!(work, handled);
            ended.map(|()| "the client closed the session").map_err(ServerError::Transfer)
        })
    }
}

/// The service, with many channels in a session.
#[derive(Clone, Debug)]
pub(super) struct Multiplexed {
    custom: Custom,
    budget: Arc<WindowBudget>,
}

impl Multiplexed {
    pub(super) fn new(custom: Custom, limits: &Limits) -> Self {
        Self { custom, budget: WindowBudget::new(limits.channel_bytes) }
    }
}

impl ServerEnd for Multiplexed {
    fn is_permitted(&self, _: &str, grant: &Grant) -> bool {
        grant.permit.permits(&self.custom.service)
    }

    fn rule(&self, _: &str) -> String {
        self.custom.service.to_string()
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

impl Handler for Multiplexed {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let ServerSession { mut connection, client, grant, mut shutdown, keepalive, .. } =
                session;
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
            let driving = drive(connection, &channels);
            let stopping = async {
                shutdown.wait().await;
                channels.finish();
                sleep(GRACE).await;
                channels.stop();
                std::future::pending::<()>().await;
            };
            tokio::pin!(driving, stopping);
            let mut tasks = JoinSet::new();
            loop {
                tokio::select! {
                    ended = &mut driving => {
                        // The handlers see the end, and may still do their work.
                        while tasks.join_next().await.is_some() {}
                        return ended.map(|_| "the session is over").map_err(Into::into);
                    }
                    request = channels.next_request() => match request {
                        Some(Request::Channel { channel, kind, .. }) if *kind == *self.custom.service => {
                            if channel.accept().is_ok() {
                                let channel = Channel::part(channel, Peer::new(client), None);
                                tasks.spawn((self.custom.handle)(channel));
                            }
                        }
                        Some(Request::Channel { channel, kind, .. }) => {
                            let text = format!("there is no service '{kind}'");
                            channel.refuse(OpenStatus::UnknownKind, &text);
                        }
                        Some(Request::Question { number, .. }) => {
                            let text = "this server does not listen for clients".to_owned();
                            let status = OpenStatus::NotPermitted;
                            channels.answer(number, Answer::NotListening { status, text });
                        }
                        None => {
                            let ended = (&mut driving).await;
                            while tasks.join_next().await.is_some() {}
                            return ended.map(|_| "the session is over").map_err(Into::into);
                        }
                    },
                    Some(_) = tasks.join_next() => {}
                    () = &mut stopping => {}
                }
            }
        })
    }
}
