//! `vpn server`.

use std::sync::Arc;
use std::time::Duration;

use gethostname::gethostname;
use tokio::sync::watch;
use vpn_suite::Registry;

use super::args::ServerArgs;
use super::failure::{Exit, Failure};
use super::observation::Observation;
use super::{Threads, console, runtime, sealed};
use crate::config::Settings;
use crate::net::{AdmissionControl, DEFAULT_PORT, DhPool, Server, Shutdown, bind, endpoint};
use crate::output::Stream;
use crate::output::log::SESSION;
use crate::session::{ClassicServer, SealedServer, ServerEnd, SessionServer};
use crate::term::{Console, ConsoleClosed, Label, Observers, Unread};
use crate::trust::{Host, merge_ports};

/// How long a server waits at its end until its last lines are printed.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(super) fn run(args: &ServerArgs, registry: &Registry) -> Result<(), Failure> {
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let (host, port) = listening_at(args, &settings)?;
    let host = host.as_deref();
    let sealed = sealed::server(&args.sealed, &settings)?;
    let (has_sealed, spoken) = (sealed.is_some(), sealed::spoken(sealed.as_ref()));
    let observation = Observation::start(&args.common, Unread::LeftOut)?;
    raise_descriptors();
    let end = sealed.as_ref().map(|sealed| sealed.offer.end.clone());
    // A service may use standard output itself.
    let owns_stdio = end.as_ref().is_some_and(|end| end.owns_stdio());
    let (threads, stream) = match owns_stdio {
        true => (Threads::One, Stream::Err),
        false => (Threads::Several, Stream::Out),
    };
    let runtime = runtime(threads)?;
    let (console, printer) = console(stream, Label::NONE, Unread::LeftOut)?;
    let (stop, shutdown) = Shutdown::new();
    handle_signals(stop.clone())?;
    let result = runtime.block_on(async {
        let listeners = bind(host, port)?;
        match has_sealed {
            true => log::info!(target: SESSION, "speaking {spoken}"),
            false => log::info!("speaking {spoken}"),
        }
        let (watched, served) = (console.clone(), end.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = done(served) => log::info!("the service has come to its end: stopping"),
                () = watched.closed() => log::info!("{stream} is closed: stopping"),
            }
            // An error means that the server has stopped already.
            let _ = stop.send(true);
        });
        // Limits for each source need the sealed profile: classic clients never authenticate.
        let control = has_sealed.then(|| {
            AdmissionControl::new(settings.limits.net.sources, settings.limits.exempt.clone())
        });
        let observers = observation.observers.clone();
        let service = profiles(sealed, &settings, observers, console.clone(), &shutdown);
        let server = Server::new(listeners, settings.limits.net.sessions).controlled_by(control);
        serve(server, host, service, console, shutdown).await
    });
    runtime.shutdown_background();
    observation.finish(Some(LAST_LINES));
    let printed = printer.finish(Some(LAST_LINES));
    if let Some(Err(error)) = end.and_then(|end| end.outcome()) {
        return Err(error.into());
    }
    if stream == Stream::Out {
        // With a service on standard output, the lines go to standard error and may be lost.
        printed?;
    }
    result
}

/// Resolves when a service has nothing more to serve.
async fn done(end: Option<Arc<dyn ServerEnd>>) {
    match end {
        Some(end) => end.done().await,
        None => std::future::pending().await,
    }
}

/// Makes the server of each profile that is enabled.
fn profiles(
    sealed: Option<sealed::SealedService>,
    settings: &Settings,
    observers: Observers,
    console: Console,
    shutdown: &Shutdown,
) -> SessionServer {
    let limits = settings.limits.net;
    let pool = DhPool::for_server(limits.dh_workers);
    let is_sealed_only = sealed.as_ref().is_some_and(|sealed| sealed.is_sealed_only);
    let key_log = observers.key_log.clone();
    let classic = (!is_sealed_only).then(|| {
        ClassicServer::new(
            settings.classic_params(),
            limits,
            pool.clone(),
            console.clone(),
            shutdown.clone(),
        )
        .observed_by(observers)
    });
    let sealed = sealed.map(|sealed| {
        let clients = (sealed.clients, sealed.psk_grant);
        let (config, offer) = (sealed.config, sealed.offer);
        SealedServer::new(config, clients, offer, limits, pool, console, shutdown.clone())
            .logging_keys(key_log)
    });
    SessionServer::new(classic, sealed, limits.first_byte)
}

/// The host and port to listen on: the command line's, or else the configuration's.
fn listening_at(args: &ServerArgs, settings: &Settings) -> Result<(Option<String>, u16), Failure> {
    let Some(text) = args.host.as_deref().or(settings.server.host.as_deref()) else {
        return Ok((None, args.port.or(settings.server.port).unwrap_or(DEFAULT_PORT)));
    };
    let parsed = Host::parse(text).and_then(|(host, own)| {
        let port = merge_ports(text, own, args.port)?;
        Ok((Some(host.to_string()), port.or(settings.server.port).unwrap_or(DEFAULT_PORT)))
    });
    parsed.map_err(|error| Failure::new(Exit::Usage, error))
}

/// Prints the listening address, and serves until `shutdown` says to stop.
pub(super) async fn serve(
    server: Server,
    host: Option<&str>,
    service: SessionServer,
    console: Console,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let port = server.port();
    let name = host.map_or_else(|| gethostname().to_string_lossy().into_owned(), str::to_owned);
    let announced = async {
        console.line(format!("Listening on {}", endpoint(&name, port))).await?;
        console.flush().await
    };
    if announced.await == Err(ConsoleClosed) {
        // The printer has the error.
        return Ok(());
    }
    drop(console);
    let service = Arc::new(service);
    server
        .run(shutdown, move |stream, peer, admission| {
            service.clone().serve(stream, peer, admission)
        })
        .await;
    Ok(())
}

/// Raises the limit of file descriptors as far as the system allows. Every session needs one, and
/// the usual limit of 1,024 is too low for the sessions of the default configuration.
fn raise_descriptors() {
    #[cfg(unix)]
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => log::debug!("at most {limit} descriptors"),
        Err(error) => log::warn!("cannot ask for more descriptors: {error}"),
    }
}

/// Handles the signals that end a server: the first one stops it politely, the second one at once.
/// They have their own thread, so that nothing else can delay them.
fn handle_signals(stop: watch::Sender<bool>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::local("cannot watch for", "signals", &error);
    let runtime = runtime(Threads::One)?;
    let mut signals = runtime.block_on(async { Signals::install() }).map_err(cannot)?;
    let handle = async move {
        signals.next().await;
        log::info!("stopping");
        // An error means that the server has stopped already.
        let _ = stop.send(true);
        signals.next().await;
        std::process::exit(Exit::Interrupted as i32);
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(handle)).map(|_| ()).map_err(cannot)
}

/// Ctrl-C, and on Unix SIGTERM.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    fn install() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        // Without signals the server runs until it is killed.
        let _ = tokio::signal::ctrl_c().await;
    }
}
