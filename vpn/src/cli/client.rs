//! `vpn client`.

use std::process::ExitCode;

#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use vpn_proto::sealed::ChannelExit;
use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::{Exit, Failure};
use super::forward_args::ForwardArgs;
use super::observation::Observation;
use super::{Threads, console, input, named_server, runtime, sealed};
use crate::config::Settings;
use crate::net::SealedIoError;
use crate::output::Stream;
use crate::service::{self, Plan, Reconnect, run_exec, run_forwards};
use crate::session::{
    ClientError, ClientOptions, LocalEnd, Service, run_classic_client, run_sealed_client,
};
use crate::term::{Console, Label, Texts, Unread};

/// What a client does in its session.
enum Work {
    /// A service, with its argument.
    Service(&'static dyn Service, Vec<u8>),
    /// Forwards, until they are ended.
    Forwards(Plan),
    /// A command of the server.
    Exec(String),
}

impl Work {
    fn of(args: &ClientArgs) -> Self {
        let (forwards, given) = (args.forwards(), &args.forwards);
        if let Some(name) = &given.exec {
            return Self::Exec(name.clone());
        }
        if let Some(target) = &given.stdio {
            return Self::Service(service::to_target(), target.clone().into_bytes());
        }
        if forwards.is_empty() {
            return Self::Service(args.service(), Vec::new());
        }
        let reconnect = match given.reconnect() {
            Some(true) => Reconnect::Always,
            Some(false) => Reconnect::Off,
            None => Reconnect::AfterCut,
        };
        // Connections through a proxy are many, and a lost segment stops only those of its carrier.
        let usual = if forwards.socks.is_empty() { 1 } else { 3 };
        let carriers = given.carriers.map_or(usual, usize::from);
        Self::Forwards(Plan { forwards, reconnect, carriers })
    }

    fn local_end(&self) -> LocalEnd {
        match self {
            Self::Service(service, _) => service.local_end(),
            Self::Forwards(_) => LocalEnd::Nothing,
            Self::Exec(_) => LocalEnd::Bytes,
        }
    }
}

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<ExitCode, Failure> {
    let done = run_any(args.clone(), registry);
    match args.forwards.exec {
        Some(_) => done.map_err(Failure::instead_of_command),
        None => done,
    }
}

/// An option that has a meaning for forwards only, if the command line has one.
fn given_in_vain(given: &ForwardArgs) -> Option<&'static str> {
    let flags = [
        ("--reconnect", given.reconnect),
        ("--no-reconnect", given.no_reconnect),
        ("--carriers", given.carriers.is_some()),
    ];
    flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
}

fn run_any(mut args: ClientArgs, registry: &Registry) -> Result<ExitCode, Failure> {
    // Only the sealed profile has these.
    let given = &args.forwards;
    args.sealed.sealed |=
        !args.forwards().is_empty() || given.stdio.is_some() || given.exec.is_some();
    // Those of client.toml are for the times when there are forwards.
    let in_vain = given_in_vain(given);
    let (args, server) = &named_server::client(args)?;
    if let Some(flag) = args.sealed_only().filter(|_| !args.sealed.sealed) {
        let problem = format!("{flag} is for the sealed profile");
        return Err(Failure::new(Exit::Usage, problem).hint("add --sealed"));
    }
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let work = Work::of(args);
    if !matches!(work, Work::Forwards(_))
        && let Some(flag) = in_vain
    {
        return Err(Failure::new(Exit::Usage, format!("{flag} is for -L, -R and -D")));
    }
    if let (Work::Service(service, _), LocalEnd::Bytes) = (&work, work.local_end())
        && let Some(flag) = args.texts_only()
    {
        let problem = format!("{flag} is for messages, not for the service '{}'", service.name());
        return Err(Failure::new(Exit::Usage, problem).hint("the service reads standard input"));
    }
    // A service of bytes uses standard output itself.
    let (source, stream) = match work.local_end() {
        LocalEnd::Bytes => (None, Stream::Err),
        LocalEnd::Nothing => (None, Stream::Out),
        LocalEnd::Texts => {
            let messages = args.texts.messages.clone();
            let source = input::source(messages, Label::NONE, settings.limits.net.message)?;
            (Some(source), Stream::Out)
        }
    };
    let sealed = sealed::client(args, server, &settings)?;
    let gate_hint = sealed.as_ref().and_then(sealed::SealedClient::hint_at_gate);
    let observation = Observation::start(&args.common, Unread::Waited)?;
    let shows_progress = !args.forwards.no_progress;
    let options = ClientOptions {
        host: server.host().to_string(),
        port: server.port(),
        is_quiet: args.texts.quiet || stream == Stream::Err,
        is_interactive: source.as_ref().is_some_and(|s| s.is_interactive),
        shows_progress,
        observers: observation.observers.clone(),
    };
    let runtime = runtime(Threads::One)?;
    let (console, printer) = console(stream, Label::NONE, Unread::Waited)?;
    let (texts, terminal) = source.map(|s| (s.texts, s.terminal)).unzip();
    let result = runtime.block_on(connect(work, &options, &settings, sealed, texts, console));
    runtime.shutdown_background();
    drop(options);
    // The session may have ended while the user was typing.
    terminal.unwrap_or_default().restore();
    observation.finish(None);
    // If standard output failed, this error has the reason.
    printer.finish(None)?;
    let is_explained = args.common.explain.is_some();
    result.or_else(|error| failure(error, &settings, gate_hint, is_explained))
}

/// Connects and does the work.
async fn connect(
    work: Work,
    options: &ClientOptions,
    settings: &Settings,
    sealed: Option<sealed::SealedClient>,
    texts: Option<Texts>,
    console: Console,
) -> Result<ExitCode, ClientError> {
    let limits = settings.limits.net;
    let Some(sealed) = sealed else {
        // The flags were checked: without the sealed profile the service sends texts.
        let Some(texts) = texts else { return Ok(ExitCode::SUCCESS) };
        let params = settings.classic_params();
        run_classic_client(options, params, limits, texts, console).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let (config, check) = sealed.parts();
    let check = Box::new(check);
    match work {
        Work::Service(service, argument) => {
            let work = (service, argument.as_slice());
            run_sealed_client(options, config, limits, work, texts, console, check).await?;
            Ok(ExitCode::SUCCESS)
        }
        Work::Forwards(plan) => {
            let (sender, stopped) = oneshot::channel();
            let stop = async {
                let stop = stop().await;
                // The receiver waits for it.
                let _ = sender.send(stop);
            };
            run_forwards(options, config, limits, &plan, console, check, stop).await?;
            // Only a signal ends forwards without an error.
            match stopped.await {
                Ok(Stop::Terminated) => Ok(ExitCode::SUCCESS),
                _ => Err(ClientError::Interrupted),
            }
        }
        Work::Exec(name) => {
            let exit = run_exec(options, config, limits, &name, console, check).await?;
            Ok(ExitCode::from(match exit {
                ChannelExit::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
                // As shells count it.
                ChannelExit::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |n| n | 128),
            }))
        }
    }
}

/// The signal that ends a client with forwards.
enum Stop {
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM, as from a service manager.
    Terminated,
}

/// Resolves at a signal that ends the client.
async fn stop() -> Stop {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without signals the client runs until it is killed.
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        return tokio::select! {
            () = interrupted => Stop::Interrupted,
            _ = terminate.recv() => Stop::Terminated,
        };
    }
    interrupted.await;
    Stop::Interrupted
}

/// The failure of a client, with the hints that depend on its settings. A closed standard output is
/// no failure: its reader has enough.
fn failure(
    error: ClientError,
    settings: &Settings,
    gate_hint: Option<&str>,
    is_explained: bool,
) -> Result<ExitCode, Failure> {
    if matches!(error, ClientError::Console(_)) {
        return Ok(ExitCode::SUCCESS);
    }
    let has_no_answer = matches!(error, ClientError::Sealed(SealedIoError::NoAnswer));
    let failure = Failure::of_client(error, settings);
    Err(match gate_hint {
        Some(hint) if has_no_answer => failure.hint_too(hint),
        _ if has_no_answer || is_explained => failure,
        _ => failure.hint_at_explain(),
    })
}
