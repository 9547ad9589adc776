//! A client's whole sealed session, from connecting to the end of the service.

use std::sync::Arc;

use super::error::{ClientError, Untrusted};
use super::output::{ClientOptions, Output};
use super::sealed_client::connect_sealed_client;
use super::service::{Local, Service};
use crate::net::limits::Limits;
use crate::term::{Console, Texts};
use vpn_proto::sealed::{ClientConfig, PeerIdentity};

/// Connects, shakes hands, opens a service with an argument and runs it to its end. `check_server` decides whether
/// the server is trusted.
///
/// # Errors
///
/// [`ClientError`] says why the session failed.
pub async fn run_sealed_client(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    (service, argument): (&dyn Service, &[u8]),
    texts: Option<Texts>,
    console: Console,
    check_server: impl FnMut(PeerIdentity) -> Result<(), Untrusted> + Send,
) -> Result<(), ClientError> {
    let out = Output::new(console, options);
    // Boxed, so that the session does not keep the memory of the handshake.
    let connecting = Box::pin(connect_sealed_client(options, config, limits, &out, check_server));
    let mut session = connecting.await?;
    // Open comes first: if the server refuses, nothing of standard input is read.
    session.open(service.name(), argument).await?;
    service.run(session, Local { texts, out, shows_progress: options.shows_progress }).await
}
