//! `vpn demo`: a server and a client in one process and one terminal.

use std::sync::Arc;

use tokio::sync::Notify;
use vpn_suite::Registry;

use super::args::DemoArgs;
use super::failure::Failure;
use super::observation::Observation;
use super::{Threads, console, input, runtime, server};
use crate::config::Settings;
use crate::net::{DhPool, Server, Shutdown, bind};
use crate::output::Stream;
use crate::session::{
    ClassicServer, ClientError, ClientOptions, SessionServer, run_classic_client,
};
use crate::term::{Console, Label, Texts, Unread};

/// Only this machine can reach the demo.
const HOST: &str = "127.0.0.1";

pub(super) fn run(args: &DemoArgs, registry: &Registry) -> Result<(), Failure> {
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let (cyan, green) = if Stream::Out.has_colour() { ("36", "32") } else { ("", "") };
    let server_label = Label { text: "server | ", colour: cyan };
    let client_label = Label { text: "client | ", colour: green };
    let source = input::source(args.messages.clone(), client_label, settings.limits.net.message)?;
    let terminal = source.terminal;
    let observation = Observation::start(&args.common, Unread::Waited)?;
    let runtime = runtime(Threads::Several)?;
    let (console, printer) = console(Stream::Out, client_label, Unread::Waited)?;
    let result = runtime.block_on(async {
        let listeners = bind(Some(HOST), 0)?;
        let options = ClientOptions {
            host: HOST.to_owned(),
            port: listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port()),
            is_quiet: false,
            is_interactive: source.is_interactive,
            shows_progress: false,
            observers: observation.observers.clone(),
        };
        let served = console.labelled(server_label);
        let server = Server::new(listeners, settings.limits.net.sessions);
        run_both(server, served, &options, source.texts, console, &settings).await
    });
    runtime.shutdown_background();
    terminal.restore();
    observation.finish(None);
    // If standard output failed, this error has the reason; the client's error does not.
    printer.finish(None)?;
    match result? {
        Err(ClientError::Console(_)) => Ok(()),
        client => client.map_err(Failure::from),
    }
}

/// Runs a server that prints to `served`, and a client of it that prints to `console`. Returns the
/// client's result; the outer error is the server's.
async fn run_both(
    server: Server,
    served: Console,
    options: &ClientOptions,
    texts: Texts,
    console: Console,
    settings: &Settings,
) -> Result<Result<(), ClientError>, Failure> {
    let (stop, shutdown) = Shutdown::new();
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
    .observed_by(options.observers.clone());
    let service = SessionServer::new(Some(service), None, limits.first_byte);
    let (ready, announced) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(async move {
        let serving = server::serve(server, Some(HOST), service, served.clone(), shutdown);
        tokio::pin!(serving);
        tokio::select! {
            biased;
            result = &mut serving => return result,
            // This waits for the line that announces the address. The client's lines come after it.
            _ = served.flush() => {}
        }
        // An error means that the client has ended.
        let _ = ready.send(());
        drop(served);
        serving.await
    });
    let _ = announced.await;
    // The prompt comes after the lines of both sides.
    let texts = texts.after(established);
    let client =
        run_classic_client(options, settings.classic_params(), limits, texts, console).await;
    // An error means that the server has stopped already.
    let _ = stop.send(true);
    if let Ok(result) = serving.await {
        result?;
    }
    Ok(client)
}
