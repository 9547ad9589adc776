//! `vpn client`.

use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::Failure;
use super::watching::Watching;
use super::{finish, input, runtime, sealed};
use crate::config::Settings;
use crate::service::{ClientError, ClientOptions, Console, Label, run_client, run_sealed_client};

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<(), Failure> {
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let source = input::source(args.texts.messages.clone(), Label::NONE, settings.limits.message)?;
    let sealed = sealed::client(args, &settings)?;
    let watching = Watching::start(&args.common)?;
    let options = ClientOptions {
        host: args.host.clone(),
        port: args.port,
        is_quiet: args.texts.quiet,
        is_interactive: source.is_interactive,
        observers: watching.observers.clone(),
    };
    let runtime = runtime()?;
    let (console, printer) = Console::start(std::io::stdout(), Label::NONE);
    let (limits, texts) = (settings.limits, source.texts);
    let result = runtime.block_on(async {
        match sealed {
            Some(sealed) => {
                let (config, judge) = sealed.parts();
                run_sealed_client(&options, config, limits, texts, console, judge).await
            }
            None => run_client(&options, settings.classic(), limits, texts, console).await,
        }
    });
    runtime.shutdown_background();
    drop(options);
    watching.finish();
    // Why standard output is closed is the printer's to say.
    finish(printer)?;
    match result {
        Err(ClientError::Console(_)) => Ok(()),
        result if args.common.explain.is_some() => result.map_err(Failure::from),
        result => result.map_err(|error| Failure::from(error).hint_at_explain()),
    }
}
