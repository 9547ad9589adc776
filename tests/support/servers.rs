//! Our server, started on a free port of loopback.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Ended, Lines, Process, Running, TempDir, connect, run, vpn};

/// The shipped list of ciphers, for configurations with other tables.
pub(crate) const SHIPPED: &str = include_str!("../../server_cipher.toml");

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Standard output, if the test has not sent it elsewhere.
    pub(crate) out: Lines,
    pub(crate) log: Lines,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Server {
    /// A server with the shipped configuration, which logs with `-v`.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::with_config(SHIPPED, args)
    }

    pub(crate) fn with_config(config: &str, args: &[&str]) -> Self {
        ServerBuilder::new().config(config).args(args).start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A raw connection.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// A client of ours against this server, up to its end.
    pub(crate) fn client(&self, args: &[&str], input: &[u8]) -> Ended {
        client_of(self.port, args, input)
    }

    /// A client of ours that stays until its input ends.
    pub(crate) fn staying_client(&self, args: &[&str]) -> Running {
        let mut command = vpn();
        command.args(["client", "--host", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(args);
        Running::start(command)
    }

    /// Shows that the server still serves.
    pub(crate) fn assert_alive(&self) {
        let ended = self.client(&["-q", "--message", "still there?"], b"");
        assert_eq!(ended.stdout, "?ereht llits\n", "{}", ended.stderr);
    }

    /// The most memory the server ever had, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The memory that the server has now, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// How much work the server has done so far, in ticks of a clock.
    #[cfg(target_os = "linux")]
    pub(crate) fn work(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.0.id())).unwrap();
        // Behind the name, which may have blanks: user time and system time are fields 14 and 15 of all.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    #[cfg(target_os = "linux")]
    fn status(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A client of ours against a loopback port, up to its end.
pub(crate) fn client_of(port: u16, args: &[&str], input: &[u8]) -> Ended {
    let port = port.to_string();
    let at = ["client", "--host", "127.0.0.1", "--port", &port];
    run(&[&at, args].concat(), input)
}

/// The port in a line that ends with it.
pub(crate) fn port_in(announced: &str) -> u16 {
    let (_, port) = announced.trim_end().rsplit_once([':', ' ']).expect("a line with a port");
    port.parse().unwrap_or_else(|_| panic!("no port in '{announced}'"))
}

/// How a server is to be started.
#[derive(Debug)]
pub(crate) struct ServerBuilder {
    args: Vec<String>,
    config: PathBuf,
    descriptors: Option<u32>,
    folder: TempDir,
    host: Option<&'static str>,
    input: Stdio,
    is_verbose: bool,
    output: Option<Stdio>,
    port: u16,
}

impl ServerBuilder {
    /// On a free port of 127.0.0.1, with the shipped configuration and `-v`.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new();
        Self {
            args: Vec::new(),
            config: folder.file("server.toml", SHIPPED),
            descriptors: None,
            folder,
            host: Some("127.0.0.1"),
            input: Stdio::null(),
            is_verbose: true,
            output: None,
            port: 0,
        }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// The text of the configuration.
    pub(crate) fn config(self, text: &str) -> Self {
        std::fs::write(&self.config, text).unwrap();
        self
    }

    /// A configuration beside other files.
    pub(crate) fn config_file(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.config);
        self
    }

    /// At most so many open files.
    pub(crate) fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// No `--host`: on every address.
    pub(crate) fn everywhere(mut self) -> Self {
        self.host = None;
        self
    }

    /// No `-v`.
    pub(crate) fn not_verbose(mut self) -> Self {
        self.is_verbose = false;
        self
    }

    /// A port that the test knows beforehand.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Standard streams for the service `pipe`, whose server announces itself in its log.
    pub(crate) fn pipe(mut self, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Self {
        self.args.extend(["--service".to_owned(), "pipe".to_owned()]);
        (self.input, self.output) = (input.into(), Some(output.into()));
        self
    }

    /// The command, for a test that starts it itself. `self` has to live as long as the process.
    pub(crate) fn command(&self) -> Command {
        let program = vpn();
        let mut command = match self.descriptors {
            None => program,
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\"")]);
                shell.arg(program.get_program()).env_remove("RUST_LOG").stdin(Stdio::null());
                shell
            }
        };
        command.args(["server", "--port", &self.port.to_string(), "--config"]).arg(&self.config);
        if let Some(host) = self.host.filter(|_| !self.args.iter().any(|arg| arg == "--host")) {
            command.args(["--host", host]);
        }
        if self.is_verbose {
            command.arg("-v");
        }
        command.args(&self.args);
        command
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(self) -> Server {
        let mut command = self.command();
        command.stdin(self.input).stdout(self.output.unwrap_or_else(Stdio::piped));
        command.stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        // What the command holds of the child's streams would keep them open.
        drop(command);
        let log = Lines::of(process.0.stderr.take().unwrap());
        let (out, announced) = match process.0.stdout.take() {
            Some(out) => {
                let out = Lines::of(out);
                let announced = out.next();
                (out, announced)
            }
            None => (Lines::of(std::io::empty()), log.until("Listening on ")),
        };
        assert!(announced.contains("Listening on "), "{announced}");
        Server { process, out, log, port: port_in(&announced), _folder: self.folder }
    }
}
