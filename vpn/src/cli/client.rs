//! `vpn client`.

use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::{Exit, Failure};
use super::observation::Observation;
use super::{Threads, console, input, named_server, runtime, sealed};
use crate::config::Settings;
use crate::net::SealedIoError;
use crate::output::Stream;
use crate::session::{ClientError, ClientOptions, LocalEnd, run_classic_client, run_sealed_client};
use crate::term::{Label, Unread};

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<(), Failure> {
    let (args, server) = &named_server::client(args.clone())?;
    if let Some(flag) = args.sealed_only().filter(|_| !args.sealed.sealed) {
        let problem = format!("{flag} is for the sealed profile");
        return Err(Failure::new(Exit::Usage, problem).hint("add --sealed"));
    }
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let service = args.service();
    if let Some(flag) = args.texts_only().filter(|_| service.local_end() == LocalEnd::Bytes) {
        let problem = format!("{flag} is for messages, not for the service '{}'", service.name());
        return Err(Failure::new(Exit::Usage, problem).hint("the service reads standard input"));
    }
    // A service of bytes uses standard output itself.
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
    let observation = Observation::start(&args.common, Unread::Waited)?;
    let shows_progress = true;
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
    let limits = settings.limits.net;
    let (texts, terminal) = source.map(|s| (s.texts, s.terminal)).unzip();
    let result = runtime.block_on(async {
        match sealed {
            Some(sealed) => {
                let (config, check_server) = sealed.parts();
                run_sealed_client(&options, config, limits, service, texts, console, check_server)
                    .await
            }
            None => {
                // The flags were checked: without the sealed profile the service sends texts.
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
    observation.finish(None);
    // If standard output failed, this error has the reason.
    printer.finish(None)?;
    let is_explained = args.common.explain.is_some();
    result.or_else(|error| failure(error, &settings, gate_hint, is_explained))
}

/// The failure of a client, with the hints that depend on its settings. A closed standard output is
/// no failure: its reader has enough.
fn failure(
    error: ClientError,
    settings: &Settings,
    gate_hint: Option<&str>,
    is_explained: bool,
) -> Result<(), Failure> {
    if matches!(error, ClientError::Console(_)) {
        return Ok(());
    }
    let has_no_answer = matches!(error, ClientError::Sealed(SealedIoError::NoAnswer));
    let failure = Failure::of_client(error, settings);
    Err(match gate_hint {
        Some(hint) if has_no_answer => failure.hint_too(hint),
        _ if has_no_answer || is_explained => failure,
        _ => failure.hint_at_explain(),
    })
}
