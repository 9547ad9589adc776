//! `vpn server`.

use std::io::Write;
use std::sync::Arc;

use gethostname::gethostname;
use vpn_suite::Registry;

use super::args::ServerArgs;
use super::failure::{Exit, Failure};
use super::watching::Watching;
use super::{Threads, finish, runtime, sealed};
use crate::config::{DEFAULT_PORT, PipeEnd, Settings};
use crate::identity::{Host, one_port};
use crate::net::{Server, Shutdown, Visitors, bind, endpoint};
use crate::service::{Console, ConsoleClosed, Label, MessageServer, PipeOutcome};

pub(super) fn run(args: &ServerArgs, registry: &Registry) -> Result<(), Failure> {
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let (host, port) = listening_at(args, &settings)?;
    let host = host.as_deref();
    let sealed = sealed::server(&args.sealed, &settings)?;
    let (has_sealed, spoken) = (sealed.is_some(), sealed::spoken(sealed.as_ref()));
    let watching = Watching::start(&args.common)?;
    raise_descriptors();
    keep_memory_private();
    let pipe = sealed.as_ref().map_or(PipeEnd::None, |sealed| sealed.pipe);
    let runtime = runtime(match pipe {
        PipeEnd::Stdio => Threads::One,
        _ => Threads::Several,
    })?;
    let outcome = PipeOutcome::default();
    let (console, printer) = match pipe {
        // Standard output is the pipe's.
        PipeEnd::Stdio => Console::start(std::io::stderr(), Label::NONE),
        _ => Console::start(std::io::stdout(), Label::NONE),
    };
    let ended = outcome.clone();
    let result = runtime.block_on(async {
        let listeners = bind(host, port)?;
        match has_sealed {
            // If standard error is gone there is nowhere to say so.
            true => drop(writeln!(std::io::stderr(), "vpn: speaking {spoken}")),
            false => log::info!("speaking {spoken}"),
        }
        let (stop, shutdown) = Shutdown::new();
        let signals = Signals::install()?;
        let (watched, piped) = (console.clone(), outcome.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = signals.wait() => log::info!("stopping"),
                () = piped.wait() => log::info!("the pipe has come to its end: stopping"),
                () = watched.closed() => log::info!("standard output is closed: stopping"),
            }
            // The server may be gone already.
            let _ = stop.send(true);
        });
        let service = MessageServer::new(
            settings.classic(),
            settings.limits,
            console.clone(),
            shutdown.clone(),
        )
        .observed_by(watching.observers.clone());
        // Whoever speaks the classic profile only cannot authenticate anyway.
        let visitors = sealed
            .is_some()
            .then(|| Visitors::new(settings.limits.sources, settings.exempt.clone()));
        let service = match sealed {
            Some(sealed) => {
                let only = sealed.is_sealed_only;
                service.sealing(sealed.config, sealed.clients, only, (pipe, outcome))
            }
            None => service,
        };
        let server = Server::new(listeners, settings.limits.sessions).asking(visitors);
        serve(server, host, service, console, shutdown).await
    });
    runtime.shutdown_background();
    watching.finish();
    finish(printer)?;
    if let Some(Err(words)) = ended.get() {
        return Err(Failure::new(Exit::Rejected, words));
    }
    result
}

/// The host and port to listen on: the command line's, or else the configuration's.
fn listening_at(args: &ServerArgs, settings: &Settings) -> Result<(Option<String>, u16), Failure> {
    let Some(text) = args.host.as_deref().or(settings.host.as_deref()) else {
        return Ok((None, args.port.or(settings.port).unwrap_or(DEFAULT_PORT)));
    };
    let parsed = Host::parse(text).and_then(|(host, own)| {
        let port = one_port(text, own, args.port)?;
        Ok((Some(host.to_string()), port.or(settings.port).unwrap_or(DEFAULT_PORT)))
    });
    parsed.map_err(|error| Failure::new(Exit::Usage, error))
}

/// Announces the listening address and serves until the signal comes.
pub(super) async fn serve(
    server: Server,
    host: Option<&str>,
    service: MessageServer,
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
        // The printer says why, if that is worth saying.
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

/// Asks for as many descriptors as the system allows: every session needs one, and the usual 1,024
/// are fewer than the sessions of the default configuration.
fn raise_descriptors() {
    #[cfg(unix)]
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => log::debug!("at most {limit} descriptors"),
        Err(error) => log::warn!("cannot ask for more descriptors: {error}"),
    }
}

/// Keeps secrets out of core files, and other processes of the same user out of our memory.
fn keep_memory_private() {
    #[cfg(unix)]
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        log::warn!("cannot forbid core files: {error}");
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            log::warn!("cannot keep memory private: {error}");
        }
    }
}

/// The signals that end a server: the first one politely, the second one at once.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let terminate = signal(SignalKind::terminate()).map_err(|error| {
                Failure::new(Exit::Local, format_args!("cannot watch for signals: {error}"))
            })?;
            Ok(Self { terminate })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has a second signal"))]
    async fn wait(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(Exit::Interrupted as i32);
        });
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        // Without signals the server runs until it is killed.
        let _ = tokio::signal::ctrl_c().await;
    }
}
