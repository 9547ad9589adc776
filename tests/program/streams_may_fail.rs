//! Standard streams that are full, closed or not read change no exit code that they need not change.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{
    DEADLINE, Keys, Lines, Process, Server, ServerBuilder, client_of, finish, listener, run,
    run_all, vpn, wait_until,
};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// Every command with an error of its own, and its exit code.
const FAILING: [(&[&str], i32); 6] = [
    (&["client", "--port", "1"], 3),
    (&["server", "--host", "192.0.2.1", "--port", "0"], 3),
    (&["probe", "127.0.0.1", "--port", "1"], 3),
    (&["dance"], 2),
    (&["suites", "--config", "/none"], 2),
    (&["fingerprint", "/dev/null"], 2),
];

#[test]
fn a_full_standard_error_changes_no_exit_code() {
    for (args, code) in FAILING {
        for verbose in [&[][..], &["-vv"]] {
            let mut command = vpn();
            command.args(args).args(verbose).stdout(Stdio::null()).stderr(full());
            let mut process = Process::start(&mut command);
            assert_eq!(process.wait().code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn a_full_standard_output_is_said_by_every_command_that_prints() {
    let commands: [&[&str]; 8] = [
        &["suites"],
        &["suites", "--json"],
        &["suites", "--show-config"],
        &["--help"],
        &["--version"],
        &["client", "--help"],
        &["speed", "--suite", "AES:128", "--size", "64", "--time", "1", "--no-kex"],
        &["demo", "-m", "x"],
    ];
    for args in commands {
        let mut command = vpn();
        command.args(args).stdout(full()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let errors = Lines::of(process.0.stderr.take().unwrap());
        errors.until("vpn: cannot write standard output: no space left on device");
        assert_eq!(process.wait().code(), Some(9), "{args:?}");
    }
}

/// A server whose standard output or standard error is a pipe that is full and that nobody reads.
struct Unread {
    server: Process,
    port: u16,
    /// Keeps the pipe open, and reads it at the end.
    _reader: std::io::PipeReader,
    _builder: ServerBuilder,
}

impl Unread {
    fn start(is_output: bool) -> Self {
        // Nobody reads which port the server has, so the test chooses it.
        let (_, port) = listener();
        let builder = ServerBuilder::new().port(port).args(&["-v"]);
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'.'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        let mut command = builder.command();
        match is_output {
            true => command.stdout(writer).stderr(Stdio::null()),
            false => command.stdout(Stdio::null()).stderr(writer),
        };
        let server = Process::start(&mut command);
        Self { server, port, _reader: reader, _builder: builder }
    }

    /// Waits until it takes connections, and shows that it serves.
    fn assert_serves(&self) {
        let address = ("127.0.0.1", self.port);
        wait_until("a server that listens", || std::net::TcpStream::connect(address).is_ok());
        for _ in 0..3 {
            let ended = client_of(self.port, &["-q", "-m", "abc", "-m", "def"], b"");
            assert_eq!(
                (ended.stdout.as_str(), ended.code),
                ("cba\nfed\n", Some(0)),
                "{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn a_server_whose_output_nobody_reads_serves_and_can_be_ended() {
    let cells = [(true, "TERM"), (true, "INT"), (false, "TERM"), (false, "INT")];
    run_all("unread streams", &cells, |&(is_output, signal)| {
        let mut unread = Unread::start(is_output);
        unread.assert_serves();
        unread.server.signal(signal);
        let asked = Instant::now();
        let code = unread.server.wait().code();
        // Sessions have five seconds, the last lines one each.
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        // Lost output is an error of this machine. The log may be lost.
        assert_eq!(code, Some(if is_output { 9 } else { 0 }), "{is_output} {signal}");
    });
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let mut server = Server::start(&[]);
    // A client that stays inside a message keeps the server waiting.
    let mut stream = server.connect();
    stream.write_all(b"ProposedCiphers:AES:[256]\n").unwrap();
    server.out.until("We are going to use AES256");
    server.process.signal("TERM");
    server.log.until("stopping");
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(130));
}

#[test]
fn too_few_descriptors_are_said_and_no_panic() {
    for args in ["client --port 1", "server --port 0", "demo -m x", "probe 127.0.0.1 --port 1"] {
        for limit in [5, 6, 8, 12] {
            let mut command = Command::new("sh");
            let program = env!("CARGO_BIN_EXE_vpn");
            command.args(["-c", &format!("ulimit -n {limit}; exec {program} {args}")]);
            command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
            let ended = finish(command, b"");
            assert_eq!(ended.code, Some(9), "{args} {limit}: {}", ended.stderr);
            assert!(
                ended.stderr.contains("vpn: cannot start: too many open files")
                    && ended.stderr.contains("ulimit -n"),
                "{args} {limit}: {}",
                ended.stderr
            );
        }
    }
}

#[test]
fn the_exit_code_of_help_is_zero_also_for_a_reader_that_has_enough() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = vpn();
    command.arg("--help").stdout(writer).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(run(&["--help"], b"").stderr, "");
}

#[test]
fn a_pipe_carries_everything_though_standard_error_cannot_be_written() {
    let keys = Keys::new();
    keys.authorize("permit=\"pipe\"");
    let output = keys.folder.path().join("output");
    let (_, port) = listener();
    let builder = keys.server_builder().not_verbose().port(port).args(&["--service", "pipe"]);
    let mut command = builder.command();
    command.stdout(File::create(&output).unwrap()).stderr(full());
    let mut server = Process::start(&mut command);
    let start = Instant::now();
    // Not with a connection of its own: the pipe serves one session.
    let client = || {
        let mut command = vpn();
        command.args(["client", "--sealed", "--pipe", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string(), "--identity", &keys.path("client")]);
        command.args(["--server-key", &keys.fingerprint("server")]);
        finish(command, &[7; 100_000])
    };
    let mut ended = client();
    while ended.code == Some(3) {
        assert!(start.elapsed() < DEADLINE, "{}", ended.stderr);
        assert_eq!(server.0.try_wait().unwrap(), None, "the server has gone");
        ended = client();
    }
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(std::fs::read(output).unwrap(), [7; 100_000]);
}
