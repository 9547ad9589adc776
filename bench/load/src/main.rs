//! The helper of `bench/peers`: the ends of plain connections, and clients
//! that measure round trips or hold many sessions. Each prints one line of JSON.

mod bulk;
mod channel;
mod crowd;
mod echo;
mod entry;
mod flood;
mod keys;
mod opens;
mod rtt;
mod target;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use vpn_suites as _;

/// The deadline of every operation.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
#[command(name = "load", about = "The clients and helpers of bench/peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer every connection with what it sends
    Echo {
        #[arg(long)]
        port: u16,
        /// A thread that blocks for each connection, instead of tasks that wait together
        #[arg(long)]
        threads: bool,
    },
    /// Count this many bytes of one connection, then answer with one
    Sink {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        bytes: u64,
    },
    /// Count this many bytes of standard input
    Drain {
        #[arg(long)]
        bytes: u64,
    },
    /// Send standard input to a sink's port, and wait for its answer
    Feed {
        #[arg(long)]
        port: u16,
    },
    /// Count this many bytes from a source's port, then answer with one
    Fetch {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        bytes: u64,
    },
    /// Send standard input to the first connection, and wait for its answer
    Source {
        #[arg(long)]
        port: u16,
    },
    /// Serve `flood` and `keys`: each connection says what it wants
    Target {
        #[arg(long)]
        port: u16,
    },
    /// Move bytes through many connections at once, to or from a target
    Flood {
        #[command(flatten)]
        to: entry::Entry,
        #[arg(long)]
        connections: usize,
        /// For each connection
        #[arg(long)]
        bytes: u64,
        #[arg(long)]
        way: target::Way,
    },
    /// Open a connection to an echo, send a byte, read a byte, close; again and again
    Opens {
        #[command(flatten)]
        to: entry::Entry,
        #[arg(long)]
        at_once: usize,
        #[arg(long)]
        seconds: f64,
    },
    /// Send 16 bytes to a target every 5 ms, while another connection moves bytes
    Keys {
        #[command(flatten)]
        to: entry::Entry,
        #[arg(long)]
        seconds: f64,
        /// The direction of the other connection; without it, there is none
        #[arg(long)]
        way: Option<target::Way>,
    },
    /// Time round trips of 16 bytes, one after the other
    Rtt {
        #[arg(long)]
        count: usize,
        #[command(subcommand)]
        to: Rtt,
    },
    /// Hold idle sessions: print `held N` for each of the numbers, and go on with each line of
    /// standard input
    Hold {
        #[arg(long, value_delimiter = ',')]
        steps: Vec<usize>,
        #[command(flatten)]
        to: Peer,
    },
    /// Make round trips of 16 bytes in this many sessions at once
    Busy {
        #[arg(long)]
        sessions: usize,
        #[arg(long)]
        seconds: f64,
        #[command(flatten)]
        to: Peer,
    },
}

#[derive(Debug, Subcommand)]
enum Rtt {
    /// To a port, with sockets that block
    Tcp {
        #[arg(long)]
        port: u16,
    },
    /// Through the message service
    Sealed(Peer),
    /// Through standard input and output of a program
    Run {
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

/// The server: an echo, or with keys our server with the message service.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Peer {
    /// Its port on this machine
    #[arg(long)]
    pub(crate) port: u16,
    /// A folder with `client` and `server.pub`; then sessions are sealed
    #[arg(long)]
    pub(crate) keys: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<String> {
    match command {
        Command::Echo { port, threads: true } => echo::threads(port),
        Command::Echo { port, threads: false } => echo::tasks(port),
        Command::Sink { port, bytes } => bulk::sink(port, bytes),
        Command::Drain { bytes } => bulk::drain(bytes),
        Command::Feed { port } => bulk::feed(port),
        Command::Fetch { port, bytes } => bulk::fetch(port, bytes),
        Command::Source { port } => bulk::source(port),
        Command::Target { port } => target::serve(port),
        Command::Flood { to, connections, bytes, way } => {
            flood::measure(&to, connections, bytes, way)
        }
        Command::Opens { to, at_once, seconds } => opens::measure(&to, at_once, seconds),
        Command::Keys { to, seconds, way } => keys::measure(&to, seconds, way),
        Command::Rtt { count, to: Rtt::Tcp { port } } => rtt::tcp(port, count),
        Command::Rtt { count, to: Rtt::Sealed(peer) } => rtt::sealed(&peer, count),
        Command::Rtt { count, to: Rtt::Run { program } } => rtt::program(&program, count),
        Command::Hold { steps, to } => crowd::hold(&to, &steps),
        Command::Busy { sessions, seconds, to } => crowd::busy(&to, sessions, seconds),
    }
}
