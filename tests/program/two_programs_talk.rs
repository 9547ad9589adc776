//! Two programs hold a classic conversation and print the lines of the assignment.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{
    DEADLINE, Process, Server, ServerBuilder, TempDir, client_of, port_in, run, vpn,
};

/// What a client says of a classic session.
const CLASSIC: &str = "vpn: classic session with AES256: the server is not authenticated, and it \
                       answers in the clear\n";

#[test]
fn both_sides_print_the_lines_of_the_assignment() {
    let server = Server::start(&[]);
    let ended = server.client(&[], b"hello\n");
    let connected = format!("Connected to 127.0.0.1:{}", server.port);
    assert_eq!(
        ended.lines(),
        [
            connected.as_str(),
            "Negotiating the cipher",
            "We are going to use AES256",
            "Negotiating the key",
            "The key has been established",
            "Server says: olleh",
        ]
    );
    // The kind of session is on standard error, apart from the lines of the assignment.
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), CLASSIC));
    assert!(server.out.next().starts_with("New client: 127.0.0.1:"));
    for line in [
        "Negotiating the cipher",
        "We are going to use AES256",
        "Negotiating the key",
        "The key has been established",
        "Received: hello",
    ] {
        assert_eq!(server.out.next(), line);
    }
}

#[test]
fn quiet_prints_replies_and_nothing_else() {
    let server = Server::start(&[]);
    let ended = server.client(&["-q"], "hello\nhéllo 日本\r\n\n\\quit\nnever sent\n".as_bytes());
    assert_eq!(ended.lines(), ["olleh", "本日 olléh", ""]);
    assert_eq!(ended.code, Some(0));
    let ended = server.client(&["-q", "--message", "one", "-m", "two"], b"not read\n");
    assert_eq!(ended.lines(), ["eno", "owt"]);
}

#[test]
fn every_suite_and_size_is_spoken() {
    let cells = [
        ("AES", 128),
        ("AES", 192),
        ("AES", 256),
        ("DES3", 128),
        ("DES3", 192),
        ("Blowfish", 32),
        ("Blowfish", 112),
        ("Blowfish", 448),
    ];
    for (name, bits) in cells {
        let config = format!("[[supported_cipher]]\nname = '{name}'\nkeys = [{bits}]\n");
        let server = Server::with_config(&config, &[]);
        let folder = TempDir::new();
        let all = "[[supported_cipher]]\nname = 'Blowfish'\nkeys = [32, 112, 448]\n\
                   [[supported_cipher]]\nname = 'TDES'\nkeys = [128, 192]\n\
                   [[supported_cipher]]\nname = 'aes'\nkeys = [128, 192, 256]\n";
        let offered = folder.file("all.toml", all);
        let text = format!("{name} says {}", "x".repeat(300));
        let args = ["--config", offered.to_str().unwrap(), "--message", &text, "-m", "again"];
        let ended = server.client(&args, b"");
        assert_eq!(ended.lines()[2], format!("We are going to use {name}{bits}"));
        let reversed: String = text.chars().rev().collect();
        assert_eq!(
            ended.lines()[5..],
            [format!("Server says: {reversed}"), "Server says: niaga".to_owned()]
        );
    }
}

#[test]
fn many_clients_talk_at_once() {
    let server = Server::start(&[]);
    std::thread::scope(|scope| {
        for n in 0..10 {
            let port = server.port;
            scope.spawn(move || {
                let text = format!("client {n}");
                let input: String = (0..20).map(|_| format!("{text}\n")).collect();
                let ended = client_of(port, &["-q"], input.as_bytes());
                let reversed: String = text.chars().rev().collect();
                assert_eq!(ended.lines(), vec![reversed.as_str(); 20], "{}", ended.stderr);
            });
        }
    });
}

#[test]
fn addresses_of_both_families_and_names_work() {
    let server = ServerBuilder::new().everywhere().start();
    let port = server.port.to_string();
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let hosts = ["127.0.0.1", "localhost", "::1", "[::1]"];
    for host in hosts.into_iter().filter(|h| has_ipv6 || !h.contains("::")) {
        let ended = run(&["client", "--host", host, "--port", &port, "-m", "hello"], b"");
        assert_eq!(ended.code, Some(0), "{host}: {}", ended.stderr);
        let shown = if host == "::1" { "[::1]" } else { host };
        assert_eq!(ended.lines()[0], format!("Connected to {shown}:{port}"));
    }
    server.out.until("New client: 127.0.0.1:");
}

#[test]
fn signals_end_the_server_politely() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        // An idle session is no reason to stay.
        let mut client = server.staying_client(&[]);
        server.out.until("The key has been established");
        server.process.signal(signal);
        assert_eq!(server.process.wait().code(), Some(0), "{signal}");
        assert_eq!(client.code(), Some(7));
        assert_eq!(client.log.rest(), format!("{CLASSIC}vpn: the server closed the connection"));
    }
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let ended = run(&["server", "--host", "127.0.0.1", "--port", &port], b"");
    assert_eq!(ended.code, Some(3));
    assert_eq!(
        ended.stderr,
        format!(
            "vpn: cannot listen on 127.0.0.1:{port}: address already in use\n\
             vpn: hint: another server may be running; choose a port with --port\n"
        )
    );
}

#[test]
fn nothing_in_common_is_told_to_both_sides() {
    let server = Server::with_config("[[supported_cipher]]\nname = 'AES'\nkeys = [128]\n", &[]);
    let folder = TempDir::new();
    let config = folder.file("c.toml", "[[supported_cipher]]\nname = 'AES'\nkeys = [256]\n");
    let ended = server.client(&["--config", config.to_str().unwrap(), "-m", "x"], b"");
    assert_eq!(ended.code, Some(4));
    assert!(
        ended.stderr.contains("the server refused: 'Could not agree on a cipher'"),
        "{}",
        ended.stderr
    );
    let logged = server.log.until("no cipher in common");
    assert!(logged.contains("AES:[256]") && logged.contains("AES:[128]"), "{logged}");
    // Both lists are in the log. A client that offers the right one is served.
    let right = folder.file("d.toml", "[[supported_cipher]]\nname = 'AES'\nkeys = [128]\n");
    let ended = server.client(&["-q", "--config", right.to_str().unwrap(), "-m", "abc"], b"");
    assert_eq!(ended.stdout, "cba\n");
}

#[test]
fn the_demo_shows_both_sides() {
    let ended = run(&["demo"], "hello\nhéllo\n".as_bytes());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = |label: &str| -> Vec<String> {
        let lines = ended.stdout.lines().filter_map(|l| l.strip_prefix(label));
        lines.filter(|l| !l.contains("127.0.0.1")).map(str::to_owned).collect()
    };
    let common: [&'static str; 4] = [
        "Negotiating the cipher",
        "We are going to use AES256",
        "Negotiating the key",
        "The key has been established",
    ];
    let with = |more: [&'static str; 2]| [&common[..], &more[..]].concat();
    assert_eq!(said("server | "), with(["Received: hello", "Received: héllo"]));
    assert_eq!(said("client | "), with(["Server says: olleh", "Server says: olléh"]));
    let position = |line: &str| ended.lines().iter().position(|l| *l == line).unwrap();
    assert!(position("server | Received: hello") < position("client | Server says: olleh"));
}

#[test]
fn a_reader_that_goes_away_ends_the_server_quietly() {
    let builder = ServerBuilder::new().not_verbose();
    let mut server =
        Process::start(builder.command().stdout(Stdio::piped()).stderr(Stdio::piped()));
    // Read by hand, for `Lines` would go on reading; a server that says nothing is killed in time.
    let out = server.0.stdout.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // The reader takes the pipe along and closes it.
        BufReader::new(out).read_line(&mut line).unwrap();
        sender.send(line).unwrap();
    });
    let line = receiver.recv_timeout(DEADLINE).expect("a line within the deadline");
    // The server finds no reader for its next line. It may or may not serve this client.
    client_of(port_in(&line), &["-m", "x"], b"");
    assert_eq!(server.wait().code(), Some(0));
    let mut words = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    // There are only lines about the client's session, and no error.
    assert!(words.lines().all(|line| line.starts_with("vpn: 127.0.0.1:")), "{words}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = vpn();
    command.args(["demo", "-m", "x"]).stdout(full).stderr(Stdio::piped());
    let mut demo = Process::start(&mut command);
    assert_eq!(demo.wait().code(), Some(9));
    let mut words = String::new();
    demo.0.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(words, "vpn: cannot write standard output: no space left on device\n");
}
