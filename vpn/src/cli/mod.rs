//! The command line: arguments in, lines and an exit code out.

mod args;
mod client;
mod demo;
mod failure;
mod forward_args;
mod input;
mod keygen;
mod named_server;
mod observation;
mod probe;
mod sealed;
mod server;
mod speed;
mod suites;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use vpn_suite::Registry;

use args::{Cli, Command};
use failure::{Exit, Failure};

use crate::output::log::{Level, Log};
use crate::output::{Reason, Stream, one_line};
use crate::term::{Console, Label, Printer, Unread};

/// Runs the program with the arguments of the process and every suite that is linked into it.
///
/// Your own program calls this from its `main`, and names the crates of its suites:
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
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| {
            let what = panic.payload_as_str().unwrap_or("a panic");
            let at = panic.location().map(|at| format!(" ({at})")).unwrap_or_default();
            Stream::tell(one_line(&format!("internal error: {what}{at}")));
        }));
    }
    // A library may panic when the system refuses it something. That is an ordinary failure here.
    let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
        Err(Failure::new(Exit::Local, "this is a fault of the program, please report it"))
    });
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<ExitCode, Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version`.
        Err(error) if !error.use_stderr() => {
            return print(&error.render().to_string()).map(|()| ExitCode::SUCCESS);
        }
        Err(error) => return Err(usage(&error)),
    };
    keep_memory_private();
    let log = Log::start(level(&cli));
    let result = Registry::linked().map_err(Failure::from).and_then(|registry| {
        let done = match cli.command {
            // The exit code of a command at the server is that of the client.
            Command::Client(args) => return client::run(&args, &registry),
            Command::Fingerprint(args) => keygen::show(&args),
            Command::Keygen(args) => keygen::run(&args),
            Command::Demo(args) => demo::run(&args, &registry),
            Command::Probe(args) => probe::run(&args, &registry),
            Command::Server(args) => server::run(&args, &registry),
            Command::Speed(args) => speed::run(&args, &registry),
            Command::Suites(args) => suites::run(&args, &registry),
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    log.flush();
    result
}

/// The level of the log. The default is warnings; a server also logs its sessions.
fn level(cli: &Cli) -> Level {
    match cli.verbose {
        0 if matches!(cli.command, Command::Server(_)) => Level::Sessions,
        0 => Level::Warnings,
        1 => Level::Info,
        2 => Level::Debug,
        _ => Level::Trace,
    }
}

/// Prints the whole output of a command.
fn print(text: &str) -> Result<(), Failure> {
    match Stream::Out.write(text) {
        // A reader that closes early has what it wants, as with `head`.
        Err(error) if error.is_broken_pipe() => Ok(()),
        result => Ok(result?),
    }
}

/// Forbids core files, and forbids other processes of the same user to read our memory.
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

/// Turns an error of clap into our form: one line, and a hint.
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

/// The threads that move bytes. Long computations have other threads.
#[derive(Clone, Copy)]
enum Threads {
    /// One thread, for a process with one connection. It saves the time to wake another thread.
    One,
    /// A thread for each core.
    Several,
}

fn runtime(threads: Threads) -> Result<tokio::runtime::Runtime, Failure> {
    let cannot = |error: &io::Error| Failure::local("cannot start", "the program", error);
    have_descriptors().map_err(|error| {
        let failure = Failure::new(Exit::Local, format_args!("cannot start: {}", Reason(&error)));
        failure.hint(format!("the limit must be {DESCRIPTORS} at least (ulimit -n)"))
    })?;
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Several => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build().map_err(|error| cannot(&error))
}

/// Enough file descriptors for a command before it connects, standard streams included.
const DESCRIPTORS: usize = 24;

/// Checks that the process can open [`DESCRIPTORS`] files. Some libraries panic if they cannot.
fn have_descriptors() -> io::Result<()> {
    #[cfg(unix)]
    {
        let first = std::fs::File::open("/dev/null")?;
        let others = (4..DESCRIPTORS).map(|_| first.try_clone());
        others.collect::<io::Result<Vec<_>>>()?;
    }
    Ok(())
}

/// A console on a standard stream.
fn console(stream: Stream, label: Label, unread: Unread) -> Result<(Console, Printer), Failure> {
    Console::start(stream, label, unread)
        .map_err(|error| Failure::local("cannot start", "a thread", &error))
}
