//! A client's whole sealed session: from dialling to the end of the service.

use std::sync::Arc;

use super::error::{ClientError, Verdict};
use super::output::{ClientOptions, Output};
use super::sealed_client::connect_sealed_client;
use super::service::{Local, Service};
use crate::net::limits::Limits;
use crate::term::{Console, Texts};
use vpn_proto::sealed::{ClientConfig, PeerIdentity};

/// Connects, shakes hands, asks for a service and uses it to its end. `judge` decides about the server
/// that was met.
///
/// # Errors
///
/// [`ClientError`] says what ended the session before its time.
pub async fn run_sealed_client(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    service: &dyn Service,
    texts: Option<Texts>,
    console: Console,
    judge: impl FnMut(PeerIdentity) -> Verdict + Send,
) -> Result<(), ClientError> {
    let out = Output::new(console, options);
    // What the way to a session needs is not kept while it lasts.
    let connecting = Box::pin(connect_sealed_client(options, config, limits, &out, judge));
    let mut session = connecting.await?;
    // First, so that nothing of standard input is read for a server that does not want it.
    session.open(service.name()).await?;
    service.run(session, Local { texts, out }).await
}
