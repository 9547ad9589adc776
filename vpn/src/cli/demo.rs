//! `vpn demo`: a server and a client in one process and one terminal.

use std::sync::Arc;

use tokio::sync::Notify;
use vpn_suite::Registry;

use super::args::DemoArgs;
use super::failure::Failure;
use super::watching::Watching;
use super::{Threads, console, input, runtime, server};
use crate::config::Settings;
use crate::net::{DhPool, Server, Shutdown, bind};
use crate::output::Stream;
use crate::session::{
    ClassicServer, ClientError, ClientOptions, SessionServer, run_classic_client,
};
use crate::term::{Label, Unread};

/// Nobody but this machine is to reach the demonstration.
const HOST: &str = "127.0.0.1";

pub(super) fn run(args: &DemoArgs, registry: &Registry) -> Result<(), Failure> {
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let (cyan, green) = if Stream::Out.has_colour() { ("36", "32") } else { ("", "") };
    let server_label = Label { text: "server | ", colour: cyan };
    let client_label = Label { text: "client | ", colour: green };
    let source = input::source(args.messages.clone(), client_label, settings.limits.net.message)?;
    let terminal = source.terminal;
    let watching = Watching::start(&args.common, Unread::Waited)?;
    let runtime = runtime(Threads::Several)?;
    let (console, printer) = console(Stream::Out, client_label, Unread::Waited)?;
    let result: Result<Result<(), ClientError>, Failure> = runtime.block_on(async {
        let listeners = bind(Some(HOST), 0)?;
        let port = listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port());
        let (stop, shutdown) = Shutdown::new();
        let served = console.labelled(server_label);
        let established = Arc::new(Notify::new());
        let limits = settings.limits.net;
        let service = ClassicServer::new(
            settings.classic_params(),
            limits,
            DhPool::for_server(limits.dh_workers),
            served.clone(),
            shutdown.clone(),
        )
        .notifying(established.clone())
        .observed_by(watching.observers.clone());
        let service = SessionServer::new(Some(service), None, limits.first_byte);
        let server = Server::new(listeners, settings.limits.net.sessions);
        let (ready, announced) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(async move {
            let serving = server::serve(server, Some(HOST), service, served.clone(), shutdown);
            tokio::pin!(serving);
            tokio::select! {
                biased;
                result = &mut serving => return result,
                // Queued behind the announcement, so the client's lines come after it.
                _ = served.flush() => {}
            }
            // The client waits for this and nothing else.
            let _ = ready.send(());
            drop(served);
            serving.await
        });
        let _ = announced.await;
        let options = ClientOptions {
            host: HOST.to_owned(),
            port,
            is_quiet: false,
            is_interactive: source.is_interactive,
            observers: watching.observers.clone(),
        };
        // The prompt comes when both sides have said what they have to say.
        let texts = source.texts.after(established);
        let client =
            run_classic_client(&options, settings.classic_params(), limits, texts, console).await;
        // The server may have ended by itself.
        let _ = stop.send(true);
        if let Ok(result) = serving.await {
            result?;
        }
        Ok(client)
    });
    runtime.shutdown_background();
    terminal.restore();
    watching.finish(None);
    // What cannot be printed makes the client fail too, but not for its own reasons.
    printer.finish(None)?;
    match result? {
        Err(ClientError::Console(_)) => Ok(()),
        client => client.map_err(Failure::from),
    }
}
