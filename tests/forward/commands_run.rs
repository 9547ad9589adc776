//! Named commands of the server run for a client, with its standard streams, and end with it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{BYTES, keys_with};
use crate::support::{
    Ended, Keys, Process, Running, SHIPPED, Server, finish, read_in_time, wait_until,
};

/// What a server may run; the shell gets these scripts.
const SCRIPTS: [(&str, &str); 10] = [
    ("cat", "cat"),
    ("both", "echo out; echo err >&2"),
    ("seven", "echo to the log >&2; exit 7"),
    ("killed", "kill -KILL $$"),
    ("told", "kill -TERM $$"),
    ("deaf", "echo I do not read"),
    ("left-behind", "exec 3<&0; sleep 1000 <&3 >/dev/null 2>&1 & echo done; exit 4"),
    ("who", "echo $VPN_CLIENT; env | cut -d= -f1 | sort | tr '\\n' ' '"),
    ("stays", "sleep 1000 & echo $$ $!; wait"),
    ("much", "head -c 1000000 /dev/zero | tr '\\0' e >&2; head -c 1000000 /dev/zero | tr '\\0' o"),
];

fn command_server() -> (Keys, Server) {
    let rules: Vec<_> = SCRIPTS.iter().map(|(name, _)| format!("exec:{name}")).collect();
    let keys = keys_with(&format!("{},exec:missing,exec:no-program", rules.join(",")));
    let tables = SCRIPTS.map(|(name, script)| {
        format!("[exec.{name}]\ncommand = ['/bin/sh', '-c', '''{script}''']\n")
    });
    let other = "[exec.no-program]\ncommand = ['/no/such/program']\n\
                 [exec.secret]\ncommand = ['/bin/true']\n";
    let server = keys.server_with(&format!("{SHIPPED}\n{}{other}", tables.concat()), &[]);
    (keys, server)
}

/// The command of a client that runs one, without logs.
fn exec(keys: &Keys, server: &Server, name: &str) -> Command {
    let mut command = keys.client_command("client", server.port, &["--exec", name]);
    command.env("RUST_LOG", "off");
    command
}

/// Runs a command of the server to its end.
fn run(keys: &Keys, server: &Server, name: &str, input: &[u8]) -> Ended {
    let mut ended = finish(exec(keys, server, name), input);
    // The first line of the client says who the server is.
    if let Some(rest) = ended.stderr.strip_prefix("vpn: sealed session with ") {
        ended.stderr = rest.split_once('\n').unwrap().1.to_owned();
    }
    ended
}

#[test]
fn streams_and_exit_codes_are_those_of_the_command() {
    let (keys, server) = command_server();
    let fingerprint = keys.fingerprint("client");
    let who = format!("{fingerprint}\nPATH PWD VPN_CLIENT ");
    let cases: [(&str, &[u8], i32, &str, &str); 6] = [
        ("cat", b"a few\nlines\n", 0, "a few\nlines\n", ""),
        ("cat", b"", 0, "", ""),
        ("both", b"", 0, "out\n", "err\n"),
        ("seven", b"", 7, "", "to the log\n"),
        ("killed", b"", 128 + 9, "", ""),
        ("told", b"", 128 + 15, "", ""),
    ];
    for (name, input, code, out, err) in cases {
        let ended = run(&keys, &server, name, input);
        let seen = (ended.code, ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(seen, (Some(code), out, err), "{name}");
    }
    let ended = run(&keys, &server, "who", b"");
    // Shells add variables of their own.
    let variables: Vec<&str> = ended.stdout.lines().nth(1).unwrap().split(' ').collect();
    assert!(ended.stdout.starts_with(who.lines().next().unwrap()), "{}", ended.stdout);
    let expected = ["PATH", "VPN_CLIENT", "PWD", "OLDPWD", "SHLVL", "_", ""];
    assert!(variables.iter().all(|name| expected.contains(name)), "{variables:?}");
}

#[test]
fn large_streams_come_whole_and_apart() {
    let (keys, server) = command_server();
    let ended = run(&keys, &server, "much", b"");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout == "o".repeat(1_000_000), "{} bytes", ended.stdout.len());
    assert!(ended.stderr == "e".repeat(1_000_000), "{} bytes", ended.stderr.len());
    // Bytes that are no text, there and back.
    let mut command = exec(&keys, &server, "cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let mut input = process.0.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&BYTES).unwrap());
    let output = read_in_time(process.0.stdout.take().unwrap(), usize::MAX);
    writer.join().unwrap();
    assert!(output == *BYTES, "{} bytes of {}", output.len(), BYTES.len());
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_command_need_not_read_its_input() {
    let (keys, server) = command_server();
    for (name, code, out) in [("deaf", 0, "I do not read\n"), ("left-behind", 4, "done\n")] {
        // More than all buffers on the way, and without an end.
        let mut command = exec(&keys, &server, name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let mut input = process.0.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            // The client goes when the command has ended.
            while input.write_all(&[b'x'; 100_000]).is_ok() {}
        });
        let output = read_in_time(process.0.stdout.take().unwrap(), usize::MAX);
        assert_eq!(
            (process.wait().code(), output.as_slice()),
            (Some(code), out.as_bytes()),
            "{name}"
        );
        writer.join().unwrap();
    }
}

#[test]
fn commands_that_are_not_there_end_with_255() {
    let (keys, server) = command_server();
    for (name, words) in [
        (
            "secret",
            "this key may not run 'secret': permit in its line of authorized_clients needs exec:secret",
        ),
        ("missing", "the server has no command 'missing': its configuration needs [exec.missing]"),
        (
            "no-program",
            "the server cannot start the command 'no-program': no such file or directory",
        ),
    ] {
        let ended = run(&keys, &server, name, b"");
        let expected = (Some(255), "", format!("vpn: {words}\n"));
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr), expected, "{name}");
    }
}

/// Whether a process runs. One that has ended may wait for its parent.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']))
}

#[test]
fn a_command_ends_with_its_client_and_with_all_that_it_has_started() {
    let (keys, server) = command_server();
    for signal in ["KILL", "TERM"] {
        let client = Running::start(exec(&keys, &server, "stays"));
        let line = client.out.next();
        let pids: Vec<&str> = line.split(' ').collect();
        assert!(pids.len() == 2 && pids.iter().all(|pid| is_running(pid)), "{line}");
        client.process.signal(signal);
        for pid in pids {
            wait_until("the end of a process", || !is_running(pid));
        }
    }
}

#[test]
fn a_session_that_is_cut_is_no_exit_code_of_the_command() {
    let (keys, server) = command_server();
    let mut client = Running::start(exec(&keys, &server, "stays"));
    let line = client.out.next();
    server.process.signal("KILL");
    assert_eq!(client.code(), Some(255));
    // Nobody is left who could end them.
    for pid in line.split(' ') {
        let _ = Command::new("kill").args(["-KILL", pid]).status();
    }
}

#[test]
fn every_frame_is_explained() {
    let (keys, server) = command_server();
    let mut command = exec(&keys, &server, "cat");
    command.arg("--explain");
    let ended = finish(command, b"one line\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "one line\n"), "{}", ended.stderr);
    let told: Vec<&str> =
        ended.stderr.lines().filter_map(|line| line.strip_prefix("explain: ")).collect();
    assert!(told[0].starts_with("each frame is one encrypted record."), "{told:?}");
    // The two directions may pass each other.
    let of = |side: &str| -> Vec<&str> {
        told.iter().filter_map(|line| line.strip_prefix(side)).collect()
    };
    assert_eq!(
        of("-> "),
        [
            "ChanOpen: channel 1 for exec 'cat'; the other side may send 65536 bytes on it",
            "ChanData: 9 bytes of channel 1",
            "ChanEof: this direction of channel 1 has ended",
            "ChanClose: channel 1 is over, and every byte was handed over",
        ]
    );
    assert_eq!(
        of("<- "),
        [
            "ChanReply: channel 1 is accepted; besides the first 65536 bytes, 0 more may be sent",
            "ChanData: 9 bytes of channel 1",
            "ChanNote: the command of channel 1 ended with 0",
            "ChanEof: this direction of channel 1 has ended",
            "ChanClose: channel 1 is over, and every byte was handed over",
        ]
    );
}
