//! `vpn client`.

use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::{Exit, Failure};
use super::watching::Watching;
use super::{Threads, console, input, runtime, sealed};
use crate::config::{ClientEntry, Settings};
use crate::identity::folder;
use crate::service::{
    ClientError, ClientOptions, Label, SealedWork, Unread, run_client, run_sealed_client,
};
use crate::term::Stream;

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<(), Failure> {
    let args = &described(args.clone())?;
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
    let sealed = sealed::client(args, &settings)?;
    let watching = Watching::start(&args.common, Unread::Waited)?;
    let options = ClientOptions {
        host: args.host.clone(),
        port: args.port(),
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
        result if args.common.explain.is_some() => {
            result.map_err(|error| Failure::of_client(error, &settings))
        }
        result => result.map_err(|error| Failure::of_client(error, &settings).hint_at_explain()),
    }
}

/// What the command line does not say, as far as client.toml describes the server.
fn described(mut args: ClientArgs) -> Result<ClientArgs, Failure> {
    let Some(path) = folder().map(|folder| folder.join("client.toml")) else { return Ok(args) };
    let Some(entry) = ClientEntry::find(&path, &args.host)? else { return Ok(args) };
    args.host = entry.host.unwrap_or(args.host);
    args.port = args.port.or(entry.port);
    args.common.config = args.common.config.or(entry.config);
    let sealed = &mut args.sealed;
    if sealed.insecure_classic {
        return Ok(args);
    }
    sealed.sealed |= entry.sealed;
    if sealed.sealed {
        sealed.identity = sealed.identity.take().or(entry.identity);
        sealed.psk = sealed.psk.take().or(entry.psk);
        sealed.server_key = sealed.server_key.take().or(entry.server_key);
    }
    Ok(args)
}
