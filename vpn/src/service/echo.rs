//! The echo service: every byte comes back (RFC 862 over a sealed session).

use std::sync::Arc;

use tokio::io::simplex;

use super::pipe::{run_bytes, serve_bytes, told};
use crate::session::{
    Admitting, ClientError, Connected, Drain, Feed, Handler, Local, LocalEnd, OpenRequest,
    Resources, ServerEnd, ServerSession, Service, ServiceFuture, ServiceResult, admitted,
};

/// Bytes that may wait on the server until the client takes them.
const BUFFER: usize = 64 * 1024;

/// The service, and its server's end, which keeps nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo;

impl Service for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn about(&self) -> &'static str {
        "every byte comes back, to try a connection out"
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

impl ServerEnd for Echo {
    fn admit<'a>(&'a self, _: OpenRequest<'a>) -> Admitting<'a> {
        admitted(*self)
    }
}

impl Handler for Echo {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let (reader, writer) = simplex(BUFFER);
            let streams = (Feed::stream(reader), Drain::stream(writer));
            told(&serve_bytes(session, Ok(streams), true).await)
        })
    }
}
