//! The service of a program that uses the library: one channel in a session, or many.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::channel::{Channel, Peer};
use crate::net::ChannelStream;
use crate::net::limits::{Limits, SHUTDOWN};
use crate::service::{Dispatch, admit_channels, serve_channels};
use crate::session::{
    Admitting, Handler, OpenRequest, ServerEnd, ServerError, ServerSession, ServiceFuture,
    ServiceResult, admitted,
};
use crate::trust::Grant;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{OpenStatus, WindowBudget};

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
        admit_channels(&request, self.clone())
    }
}

impl Handler for Multiplexed {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        let Self { custom, budget } = *self;
        let peer = Peer::new(session.client);
        Box::pin(serve_channels(session, budget, |_| Session { custom, peer }))
    }
}

/// The channels of one session.
struct Session {
    custom: Custom,
    peer: Peer,
}

impl Dispatch for Session {
    fn channel(
        &mut self,
        channel: ChannelStream,
        kind: String,
        _: Vec<u8>,
    ) -> ServiceFuture<'static, ()> {
        if *kind != *self.custom.service {
            channel.refuse(OpenStatus::UnknownKind, &format!("there is no service '{kind}'"));
        } else if channel.accept().is_ok() {
            let channel = Channel::part(channel, self.peer.clone(), None);
            // A handler may compute for long, so it does not run in the task of its session.
            let handling = tokio::spawn((self.custom.handle)(channel));
            return Box::pin(async move { drop(handling.await) });
        }
        Box::pin(std::future::ready(()))
    }

    /// The handlers see the end, and may still do their work.
    fn patience(&self) -> Option<Duration> {
        None
    }
}
