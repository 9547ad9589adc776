//! `vpn client`.

use vpn_suite::Registry;

use super::args::ClientArgs;
use super::failure::Failure;
use super::watching::Watching;
use super::{finish, input, runtime};
use crate::config::Settings;
use crate::service::{ClientError, ClientOptions, Console, Label, run_client};

pub(super) fn run(args: &ClientArgs, registry: &Registry) -> Result<(), Failure> {
    let settings =
        Settings::load(args.common.config.as_deref(), registry, &args.common.overrides())?;
    let source = input::source(args.texts.messages.clone(), Label::NONE, settings.limits.message)?;
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
    let client = run_client(&options, settings.classic(), settings.limits, source.texts, console);
    let result = runtime.block_on(client);
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
