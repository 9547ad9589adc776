//! The command line: arguments in, lines and an exit code out.

mod args;
mod client;
mod demo;
mod described;
mod failure;
mod input;
mod keygen;
mod probe;
mod sealed;
mod server;
mod speed;
mod suites;
mod watching;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use vpn_suite::Registry;

use args::{Cli, Command};
use failure::{Exit, Failure};

/// Runs the program with the arguments of the process and every suite that is linked into it.
///
/// A program of one's own calls this from its `main` after naming the crates of its suites:
///
/// ```no_run
/// use std::process::ExitCode;
/// # mod vpn_suites {}
/// use vpn_suites as _; // and `use my_suite as _;`
///
/// fn main() -> ExitCode {
///     vpn::cli::main()
/// }
/// ```
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // --help and --version; a closed pipe is no reason to complain.
            let _ = error.print();
            return Ok(());
        }
        Err(error) => return Err(usage(&error)),
    };
    start_log(cli.verbose);
    let registry = Registry::linked()?;
    match cli.command {
        Command::Client(args) => client::run(&args, &registry),
        Command::Fingerprint(args) => keygen::show(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Demo(args) => demo::run(&args, &registry),
        Command::Probe(args) => probe::run(&args, &registry),
        Command::Server(args) => server::run(&args, &registry),
        Command::Speed(args) => speed::run(&args, &registry),
        Command::Suites(args) => suites::run(&args, &registry),
    }
}

/// Clap's message in our form: what is wrong in one line, where to look in another.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let problem: Vec<&str> =
        text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let problem = problem.join(" ");
    let problem = problem.strip_prefix("error: ").unwrap_or(&problem);
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(
            Exit::Usage,
            "a command is missing: server, client, demo, suites, speed, probe, keygen or fingerprint",
        )
        .hint("vpn --help explains them; vpn demo shows it all in one terminal");
    }
    let tip = text.lines().map(str::trim).find_map(|line| line.strip_prefix("tip: "));
    let failure = Failure::new(Exit::Usage, problem);
    failure.hint(tip.unwrap_or("see `vpn --help`, and `vpn COMMAND --help`"))
}

/// Logs go to standard error, and nowhere unless asked for.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "off",
        1 => "vpn=info",
        2 => "vpn=debug",
        _ => "trace",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
}

/// Whether labels may be coloured: a terminal, and nobody who minds.
fn wants_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// How many threads move bytes; what takes long is computed on others.
#[derive(Clone, Copy)]
enum Threads {
    /// For one connection, or little else beside it: it never waits for a thread to wake up.
    One,
    /// One for each core.
    Several,
}

fn runtime(threads: Threads) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Several => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Local, format_args!("cannot start: {error}")))
}

fn finish(printer: crate::service::Printer) -> Result<(), Failure> {
    printer.finish().map_err(|error| {
        Failure::new(Exit::Local, format_args!("cannot write to standard output: {error}"))
    })
}
