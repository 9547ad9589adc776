//! The server's end of a session with channels, for any use of them (PROTOCOL.md §4.10).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::pipe::GRACE;
use crate::net::limits::USER_TIMEOUT;
use crate::net::{ChannelStream, DriveEnd, Multiplexer, Request, drive};
use crate::session::{
    ANSWER, Admitting, Handler, OpenRequest, Refusal, ServerSession, ServiceFuture, ServiceResult,
    admitted,
};
use vpn_proto::classic::Role;
use vpn_proto::sealed::{ChannelLimits, Question, WindowBudget};

/// The name of the service, and its argument: the version.
pub const CHANNELS: &str = "channels";
/// See [`CHANNELS`].
pub const CHANNELS_VERSION: &[u8] = &[1];

/// What a server does with the channels of one session.
pub(crate) trait Dispatch: Send {
    /// Serves a channel that the client wants, to its end. It runs in the task of the session.
    fn channel(
        &mut self,
        channel: ChannelStream,
        kind: String,
        argument: Vec<u8>,
    ) -> ServiceFuture<'static, ()>;

    /// Answers a question of the client.
    fn question(&mut self, channels: &Multiplexer, number: u32, question: Question) {
        channels.refuse_question(number, &question);
    }

    /// How long channels may go on when the session is over; `None` as long as they like.
    fn patience(&self) -> Option<Duration>;
}

/// Lets a client in that asks for the version of channels that this program has.
pub(crate) fn admit_channels<'a>(
    request: &OpenRequest<'_>,
    handler: impl Handler + 'static,
) -> Admitting<'a> {
    if request.argument == CHANNELS_VERSION {
        return admitted(handler);
    }
    let text = "this server has another version of channels".to_owned();
    Box::pin(std::future::ready(Err(Refusal::NotPermitted(text))))
}

/// Serves a session with channels to its end. `budget` is the memory for their windows.
///
/// # Errors
///
/// As [`drive`].
pub(crate) async fn serve_channels<D: Dispatch>(
    session: ServerSession,
    budget: Arc<WindowBudget>,
    dispatch: impl FnOnce(&Multiplexer) -> D,
) -> ServiceResult {
    let ServerSession { mut connection, grant, doubts, mut shutdown, keepalive, .. } = session;
    connection.expect_pings(Some(keepalive));
    connection.read_at_most(usize::MAX);
    connection.set_user_timeout(USER_TIMEOUT);
    let usual = ChannelLimits::default();
    let limits = ChannelLimits {
        channels: grant.max_channels.unwrap_or(usual.channels),
        budget: Some(budget),
        ..usual
    };
    let channels = Multiplexer::new(Role::Server, limits);
    let mut dispatch = dispatch(&channels);
    let mut doubted = doubts.subscribe();
    let driving = drive(connection, &channels);
    let stopping = async {
        shutdown.wait().await;
        channels.finish();
        sleep(GRACE).await;
        // The client connects again, to a server that goes on.
        channels.stop();
        std::future::pending::<()>().await;
    };
    tokio::pin!(driving, stopping);
    // All in one task: a channel and its session wake each other often, and between two threads that
    // takes longer than the work.
    let mut tasks = FuturesUnordered::new();
    let mut is_over = false;
    let ended = loop {
        tokio::select! {
            // The driver comes behind the channels: it yields to them when it has woken them.
            biased;
            Some(()) = tasks.next() => {}
            ended = &mut driving => break ended,
            request = channels.next_request(), if !is_over => match request {
                Some(Request::Channel { channel, kind, argument }) => {
                    tasks.push(dispatch.channel(channel, kind, argument));
                }
                Some(Request::Question { number, question }) => {
                    dispatch.question(&channels, number, question);
                }
                None => is_over = true,
            },
            () = doubted.asked() => channels.probe(ANSWER),
            () = &mut stopping => {}
        }
    };
    // The channels have ended, too. Those that ended normally still have to hand over what they have.
    let closing = async { while tasks.next().await.is_some() {} };
    let patience = dispatch.patience();
    // Nothing new begins meanwhile.
    drop(dispatch);
    match patience {
        // What is left then is cut.
        Some(patience) => drop(timeout(patience, closing).await),
        None => closing.await,
    }
    match ended? {
        DriveEnd::ByPeer => Ok("the client closed the session"),
        DriveEnd::Finished | DriveEnd::Stopped => Ok("closed, the server is stopping"),
    }
}
