//! `vpn client`.

use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::{Exit, Failure};
use super::watching::Watching;
use super::{Threads, console, described, input, runtime, sealed};
use crate::config::Settings;
use crate::net::SealedIoError;
use crate::service::{
    ClientError, ClientOptions, Label, SealedWork, Unread, run_client, run_sealed_client,
};
use crate::term::Stream;

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<(), Failure> {
    let (args, server) = &described::client(args.clone())?;
    if let Some(flag) = args.sealed_only().filter(|_| !args.sealed.sealed) {
        let problem = format!("{flag} is for the sealed profile");
        return Err(Failure::new(Exit::Usage, problem).hint("add --sealed"));
    }
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let is_pipe = args.sealed.pipe;
    let source = match is_pipe {
        true => None,
        false => {
            let messages = args.texts.messages.clone();
            Some(input::source(messages, Label::NONE, settings.limits.message)?)
        }
    };
    let sealed = sealed::client(args, server, &settings)?;
    let gate_hint = sealed.as_ref().and_then(sealed::SealedClient::hint_at_gate);
    let watching = Watching::start(&args.common, Unread::Waited)?;
    let options = ClientOptions {
        host: server.host().to_string(),
        port: server.port(),
        is_quiet: args.texts.quiet || is_pipe,
        is_interactive: source.as_ref().is_some_and(|s| s.is_interactive),
        observers: watching.observers.clone(),
    };
    let runtime = runtime(Threads::One)?;
    // Standard output is the pipe's, if there is one.
    let stream = if is_pipe { Stream::Err } else { Stream::Out };
    let (console, printer) = console(stream, Label::NONE, Unread::Waited)?;
    let limits = settings.limits;
    let (texts, terminal) = source.map(|s| (s.texts, s.terminal)).unzip();
    let result = runtime.block_on(async {
        match sealed {
            Some(sealed) => {
                let (config, judge) = sealed.parts();
                let work = match texts {
                    Some(texts) => SealedWork::Messages(texts),
                    None => SealedWork::Pipe,
                };
                run_sealed_client(&options, config, limits, work, console, judge).await
            }
            None => {
                // A pipe needs the sealed profile, and that was checked.
                let Some(texts) = texts else { return Ok(()) };
                run_client(&options, settings.classic(), limits, texts, console).await
            }
        }
    });
    runtime.shutdown_background();
    drop(options);
    // The session may have ended while the user was typing.
    terminal.unwrap_or_default().restore();
    watching.finish(None);
    // Why standard output is closed is the printer's to say.
    printer.finish(None)?;
    match result {
        Err(ClientError::Console(_)) => Ok(()),
        Err(error @ ClientError::Sealed(SealedIoError::NoAnswer)) => {
            let failure = Failure::of_client(error, &settings);
            Err(match gate_hint {
                Some(hint) => failure.hint_too(hint),
                None => failure,
            })
        }
        result if args.common.explain.is_some() => {
            result.map_err(|error| Failure::of_client(error, &settings))
        }
        result => result.map_err(|error| Failure::of_client(error, &settings).hint_at_explain()),
    }
}
