//! `vpn client`.

use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::{Exit, Failure};
use super::watching::Watching;
use super::{Threads, console, described, input, runtime, sealed};
use crate::config::Settings;
use crate::net::SealedIoError;
use crate::output::Stream;
use crate::session::{ClientError, ClientOptions, LocalEnd, run_classic_client, run_sealed_client};
use crate::term::{Label, Unread};

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<(), Failure> {
    let (args, server) = &described::client(args.clone())?;
    if let Some(flag) = args.sealed_only().filter(|_| !args.sealed.sealed) {
        let problem = format!("{flag} is for the sealed profile");
        return Err(Failure::new(Exit::Usage, problem).hint("add --sealed"));
    }
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let service = args.service();
    // Standard output is the service's, if it moves bytes.
    let (source, stream) = match service.local_end() {
        LocalEnd::Bytes => (None, Stream::Err),
        LocalEnd::Texts => {
            let messages = args.texts.messages.clone();
            let source = input::source(messages, Label::NONE, settings.limits.net.message)?;
            (Some(source), Stream::Out)
        }
    };
    let sealed = sealed::client(args, server, &settings)?;
    let gate_hint = sealed.as_ref().and_then(sealed::SealedClient::hint_at_gate);
    let watching = Watching::start(&args.common, Unread::Waited)?;
    let options = ClientOptions {
        host: server.host().to_string(),
        port: server.port(),
        is_quiet: args.texts.quiet || stream == Stream::Err,
        is_interactive: source.as_ref().is_some_and(|s| s.is_interactive),
        observers: watching.observers.clone(),
    };
    let runtime = runtime(Threads::One)?;
    let (console, printer) = console(stream, Label::NONE, Unread::Waited)?;
    let limits = settings.limits.net;
    let (texts, terminal) = source.map(|s| (s.texts, s.terminal)).unzip();
    let result = runtime.block_on(async {
        match sealed {
            Some(sealed) => {
                let (config, judge) = sealed.parts();
                run_sealed_client(&options, config, limits, service, texts, console, judge).await
            }
            None => {
                // A service of bytes needs the sealed profile, and that was checked.
                let Some(texts) = texts else { return Ok(()) };
                run_classic_client(&options, settings.classic_params(), limits, texts, console)
                    .await
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
