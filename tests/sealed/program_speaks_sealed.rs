//! The sealed profile through the program: keys, trust, refusals, and a conversation.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vpn_test_needs::needs;

use crate::support::{
    Keys, Process, SHIPPED, Server, ServerBuilder, accept, client_of, finish, known_line, listener,
    read_in_time, read_to_end, run, set_mode, vpn, wait_until,
};

#[test]
fn a_conversation_is_sealed_both_ways() {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    let ended =
        keys.client(&server, "client", &["--accept-new", "-m", "hello", "-m", "", "-m", "日本"]);
    // Beside the lines of the assignment, on the other stream: what kind of session it is.
    let key = keys.fingerprint("server");
    let kind = format!("vpn: sealed session with {key}, x25519-mlkem768, AES256\n");
    assert_eq!((ended.code, ended.stderr), (Some(0), kind));
    assert_eq!(
        ended.stdout.lines().collect::<Vec<_>>()[1..],
        [
            "Negotiating the cipher",
            "We are going to use AES256",
            "Negotiating the key",
            "The key has been established",
            "Server says: olleh",
            "Server says: ",
            "Server says: 本日",
        ]
    );
    assert!(server.out.next().starts_with("New client: 127.0.0.1:"));
    for line in [
        "Negotiating the cipher",
        "We are going to use AES256",
        "Negotiating the key",
        "The key has been established",
        "Received: hello",
        "Received: ",
        "Received: 日本",
    ] {
        assert_eq!(server.out.next(), line);
    }
    server.log.until("the client closed the session");
    // The longest text, and one byte more.
    let long = "x".repeat(1 << 20);
    let known = keys.path("known");
    let identity = keys.path("client");
    let config =
        keys.folder.file("c.toml", format!("{SHIPPED}\n[limits]\nmessage_bytes = 2000000\n"));
    let args = [
        "--sealed",
        "--identity",
        &identity,
        "--known-servers",
        &known,
        "-q",
        "--config",
        config.to_str().unwrap(),
    ];
    let ended = server.client(&args, format!("{long}\n").as_bytes());
    assert_eq!((ended.stdout.trim_end().len(), ended.code), (1 << 20, Some(0)), "{}", ended.stderr);
    let ended = server.client(&args, format!("one\n{long}x\n").as_bytes());
    assert_eq!((ended.stdout.as_str(), ended.code), ("eno\n", Some(2)));
    // Classic clients are served on the same port.
    server.assert_alive();
}

#[test]
fn both_sides_log_the_same_keys() {
    let keys = Keys::new();
    let (ours, theirs) = (keys.path("ours.log"), keys.path("theirs.log"));
    let server = keys.server(&["--keylog", &theirs]);
    let ended = keys.client(&server, "client", &["--accept-new", "-m", "x", "--keylog", &ours]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("vpn: warning: the keys of every session go to "));
    let text = keys.read("ours.log");
    assert_eq!(text, keys.read("theirs.log"));
    let labels: Vec<&str> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(labels, ["SEALED_C_HS", "SEALED_S_HS", "SEALED_C_AP", "SEALED_S_AP"]);
    assert!(text.lines().all(|l| l.len() == "SEALED_C_HS".len() + 2 * 65));
    let ended = keys.client(&server, "client", &["-m", "x", "--explain"]);
    assert_eq!(ended.code, Some(2));
}

#[test]
fn servers_are_known_by_their_keys() {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    let shown = keys.fingerprint("server.pub");
    assert_eq!(shown, keys.fingerprint("server"));
    // Unknown, and nobody to ask.
    let ended = keys.client(&server, "client", &["-q", "-m", "x"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(6), ""));
    assert!(ended.stderr.contains(&format!("is unknown; its key is {shown}")), "{}", ended.stderr);
    // Pinned, rightly and wrongly; a pin is no acquaintance.
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &shown]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    assert!(!Path::new(&keys.path("known")).exists());
    let other = keys.fingerprint("stranger");
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &other]);
    assert_eq!(ended.code, Some(6));
    assert!(ended.stderr.contains(&shown) && ended.stderr.contains(&other), "{}", ended.stderr);
    // Met once, remembered.
    for more in [&["--accept-new"][..], &[]] {
        let ended = keys.client(&server, "client", &[&["-q", "-m", "abc"], more].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
    // Not in the clear by accident.
    let known = keys.path("known");
    let ended = server.client(&["-q", "-m", "abc", "--known-servers", &known], b"");
    assert_eq!(ended.code, Some(8));
    assert!(ended.stderr.contains("--insecure-classic"), "{}", ended.stderr);
    let ended =
        server.client(&["-q", "-m", "abc", "--known-servers", &known, "--insecure-classic"], b"");
    assert_eq!(ended.stdout, "cba\n");
    // Another key where one is known.
    let line = keys.read("known").replace(
        keys.read("server.pub").split(' ').nth(1).unwrap(),
        keys.read("stranger.pub").split(' ').nth(1).unwrap(),
    );
    keys.folder.file("known", line);
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--accept-new"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(6), ""));
    assert!(ended.stderr.contains("has changed"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&shown) && ended.stderr.contains(&other), "{}", ended.stderr);
}

#[test]
fn clients_are_let_in_by_their_keys_and_options() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let pin = keys.fingerprint("server");
    let args = ["-q", "-m", "abc", "--server-key", &pin];
    let denied = |reason: &str, key: &str| {
        let ended = keys.client(&server, key, &args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{}", ended.stderr);
        // The client is told the same whatever the reason is.
        assert!(ended.stderr.starts_with("vpn: the peer ended the session: access_denied\n"));
        server.log.until(reason);
    };
    denied("its key is unknown", "stranger");
    for (options, reason) in [
        ("expires=\"2020-01-01\"", "its key has expired"),
        ("from=\"10.0.0.0/8\"", "from an address that its key is not for"),
        ("max-sessions=0", "as many sessions as it may have"),
    ] {
        // The file is read anew for every client.
        let line = keys.read("client.pub");
        keys.folder.file("authorized", format!("# a comment\n\n{options} {line}"));
        denied(reason, "client");
    }
    keys.authorize("permit=\"pipe\"");
    let ended = keys.client(&server, "client", &args);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let needed = "this key may not use the service 'message': its line in authorized_clients needs \
                  permit=\"pipe,message\"";
    assert!(ended.stderr.contains(needed), "{}", ended.stderr);
    keys.authorize("expires=\"9999-12-31\" from=\"127.0.0.1\"");
    let ended = keys.client(&server, "client", &args);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}

#[test]
fn a_psk_lets_in_and_keys_the_gate() {
    let keys = Keys::new();
    let (psk, other) = (keys.path("psk"), keys.path("other"));
    let server = Server::start(&["--psk", &psk, "--no-classic", "--gate", "required"]);
    let client = |more: &[&str]| {
        let known = keys.path("known");
        server.client(
            &[&["--sealed", "--known-servers", &known, "-q", "-m", "abc"], more].concat(),
            b"",
        )
    };
    let ended = client(&["--psk", &psk]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    // Strangers hear nothing, whatever they speak.
    let ended = client(&["--psk", &other]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("closed without an answer"), "{}", ended.stderr);
    server.log.until("the gate does not match");
    for words in [&b"ProposedCiphers:AES:[256]\n"[..], b"\xf5VPN\x01\x01\x00\x00\x00", b"GET / "] {
        let mut stream = server.connect();
        stream.write_all(words).unwrap();
        assert_eq!(read_to_end(&mut stream), b"");
    }
}

#[test]
fn keys_are_made_once_and_read_as_openssh_reads_them() {
    use std::os::unix::fs::PermissionsExt;
    let keys = Keys::new();
    let mode =
        |name: &str| std::fs::metadata(keys.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("client"), mode("client.pub")), (0o600, 0o644));
    let before = keys.read("client");
    assert!(before.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    let ended = run(&["keygen", "--out", &keys.path("client")], b"");
    assert_eq!(ended.code, Some(9));
    assert!(ended.stderr.contains("exists already") && ended.stderr.contains("--force"));
    assert_eq!(keys.read("client"), before);
    let ended = run(&["keygen", "--out", &keys.path("client"), "--force", "--comment", "new"], b"");
    assert!(ended.stdout.ends_with("new\n") && keys.read("client") != before);
    // A key that others can read is none.
    let open = PathBuf::from(keys.path("stranger"));
    set_mode(&open, 0o644);
    let ended = run(&["client", "--sealed", "--identity", open.to_str().unwrap(), "-m", "x"], b"");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("must not be readable by others (chmod 600"), "{}", ended.stderr);
    let ended = run(&["fingerprint", &keys.path("authorized-not")], b"");
    assert_eq!(ended.code, Some(2), "a missing file is 2, whichever option names it");
}

#[needs(ssh_keygen)]
#[test]
fn keys_of_ssh_keygen_work() {
    let keys = Keys::new();
    let path = keys.path("theirs");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "theirs", "-f", &path]);
    assert!(command.status().expect("ssh-keygen").success());
    keys.folder.file("authorized", keys.read("theirs.pub"));
    let server = keys.server(&[]);
    let ended = keys.client(&server, "theirs", &["-q", "-m", "abc", "--accept-new"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}

#[test]
fn suites_with_small_blocks_have_to_be_allowed() {
    let keys = Keys::new();
    let config = "[[supported_cipher]]\nname = 'Blowfish'\nkeys = [448]\n\
                  [[supported_cipher]]\nname = 'AES'\nkeys = [128]\n";
    let server = keys.server_with(config, &["--allow-64bit"]);
    let ours = keys.folder.file("c.toml", config);
    let args = ["--accept-new", "--config", ours.to_str().unwrap(), "-m", "x"];
    // AES wins although its key is shorter.
    for more in [&[][..], &["--allow-64bit"]] {
        let ended = keys.client(&server, "client", &[&args, more].concat());
        assert_eq!(ended.lines()[2], "We are going to use AES128", "{}", ended.stderr);
    }
    let blowfish =
        keys.folder.file("b.toml", "[[supported_cipher]]\nname = 'Blowfish'\nkeys = [448]\n");
    let args = ["--config", blowfish.to_str().unwrap(), "-m", "x"];
    let ended = keys.client(&server, "client", &args);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--allow-64bit"), "{}", ended.stderr);
    let ended = keys.client(&server, "client", &[&args[..], &["--allow-64bit"]].concat());
    assert_eq!(ended.lines()[2], "We are going to use Blowfish448", "{}", ended.stderr);
    // Nothing in common is said with both lists.
    let des3 = keys.folder.file("d.toml", "[[supported_cipher]]\nname = 'DES3'\nkeys = [192]\n");
    let args = ["--config", des3.to_str().unwrap(), "-m", "x", "--allow-64bit"];
    let ended = keys.client(&server, "client", &args);
    assert_eq!(ended.code, Some(4));
    assert!(
        ended
            .stderr
            .contains("the peer has aes-128-cbc, blowfish-448-cbc, enabled here are des3-192-cbc"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_session_that_is_cut_is_no_success() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    // Somebody in between who lets the handshake through, and no more.
    let (listener, port) = listener();
    let upstream = server.connect();
    let proxy = std::thread::spawn(move || {
        let client = accept(&listener);
        let (mut up, mut down) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            // ServerHello, ServerAuth, Ready, OpenReply; the reply to the text does not pass.
            let mut passed = 0;
            let mut bytes = [0; 4096];
            while passed < 1167 + 290 + 290 + 50 {
                let n = up.read(&mut bytes).unwrap();
                assert!(n > 0);
                down.write_all(&bytes[..n]).unwrap();
                passed += n;
            }
            down.shutdown(std::net::Shutdown::Both).unwrap();
        });
        let (mut from, mut to) = (client, upstream);
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        back.join().unwrap();
    });
    let (identity, pin) = (keys.path("client"), keys.fingerprint("server"));
    let args = ["--sealed", "--identity", &identity, "--server-key", &pin, "-q", "-m", "abc"];
    let ended = client_of(port, &args, b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("did not say that it was the end"), "{}", ended.stderr);
    proxy.join().unwrap();
}

#[test]
fn a_probe_says_what_a_server_speaks() {
    let keys = Keys::new();
    let probe = |server: &Server| {
        let port = server.port.to_string();
        run(&["probe", "127.0.0.1", "--port", &port], b"")
    };
    let pin = keys.fingerprint("server");
    let ended = probe(&keys.server(&["--classic"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.lines();
    assert!(lines[0].ends_with(" is reachable"));
    assert_eq!(
        lines[1],
        format!(
            "sealed: yes, key {pin}, gate optional; key exchange x25519-mlkem768, ffdhe3072, \
             ffdhe4096, ffdhe8192; suites aes-256-cbc, aes-192-cbc, aes-128-cbc"
        )
    );
    assert_eq!(lines[2], "classic: yes, it chooses AES256");
    // Strangers are told nothing where the gate is required.
    let ended = probe(&keys.server(&["--no-classic", "--gate", "required"]));
    assert_eq!(ended.code, Some(4));
    assert!(!ended.stdout.contains("SHA256"), "{}", ended.stdout);
    let ended = probe(&Server::start(&[]));
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("sealed: no answer") && ended.stdout.contains("classic: yes"));
}

#[test]
fn the_configuration_says_the_same_as_the_flags() {
    let keys = Keys::new();
    let table = "[sealed]\nidentity = 'server'\nauthorized_clients = 'authorized'\n\
                 gate = 'required'\nclassic = false\n";
    let config = keys.folder.file("server.toml", format!("{SHIPPED}\n{table}"));
    // Paths are those beside the file.
    let server = ServerBuilder::new().config_file(&config).start();
    let port = server.port;
    let pin = keys.fingerprint("server");
    let mut stream = server.connect();
    stream.write_all(b"ProposedCiphers:AES:[256]\n").unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    // The gate wants the server's key, which a pin's fingerprint is not: first a line by hand.
    keys.folder.file("known", known_line(&format!("127.0.0.1:{port}"), &keys.read("server.pub")));
    let (identity, known) = (keys.path("client"), keys.path("known"));
    let args = ["--sealed", "--identity", &identity, "--known-servers", &known, "-q", "-m", "abc"];
    let ended = client_of(port, &[&args[..], &["--server-key", &pin]].concat(), b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}

/// A server with a pipe from a file and to a file.
fn pipe_server(keys: &Keys, input: &Path, output: &Path) -> Server {
    keys.authorize("permit=\"pipe\"");
    let (input, output) = (File::open(input).unwrap(), File::create(output).unwrap());
    keys.server_builder().pipe(input, output).start()
}

/// The command of a client that uses the pipe of a server.
fn pipe_client(keys: &Keys, server: &Server) -> Command {
    let mut command = vpn();
    let (port, pin) = (server.port.to_string(), keys.fingerprint("server"));
    command.args(["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "--pipe"]);
    command.args(["--identity", &keys.path("client"), "--server-key", &pin]);
    command.args(["--known-servers", &keys.path("known")]);
    command
}

#[test]
fn a_pipe_carries_both_directions_and_their_ends() {
    let keys = Keys::new();
    let (there, back): (Vec<u8>, Vec<u8>) =
        ((0..3_000_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect(), vec![7; 1_000_000]);
    let input = keys.folder.file("back", &back);
    let output = keys.folder.path().join("there");
    let mut server = pipe_server(&keys, &input, &output);
    let mut command = pipe_client(&keys, &server);
    let sent = keys.folder.file("sent", &there);
    let got = keys.folder.path().join("got");
    command.stdin(File::open(sent).unwrap()).stdout(File::create(&got).unwrap());
    let mut client = Process::start(&mut command);
    assert_eq!(client.wait().code(), Some(0));
    // It serves one session and ends.
    assert_eq!(server.process.wait().code(), Some(0));
    assert!(std::fs::read(&output).unwrap() == there);
    assert!(std::fs::read(&got).unwrap() == back);
}

#[test]
fn a_pipe_has_ended_when_the_server_has_passed_on_everything() {
    let keys = Keys::new();
    keys.authorize("permit=\"pipe\"");
    // The reader of the server's output takes its time.
    let (output, writer) = std::io::pipe().unwrap();
    let mut server = keys.server_builder().pipe(Stdio::null(), writer).start();
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let mut command = pipe_client(&keys, &server);
    command.stdin(File::open(keys.folder.file("sent", &sent)).unwrap());
    let mut client = Process::start(&mut command);
    // Longer than a peer has to say its last words, and nothing is read meanwhile.
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(3) {
        assert_eq!(client.0.try_wait().unwrap(), None, "nobody has the data yet");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(read_in_time(output, sent.len() + 1) == sent);
    assert!(client.wait().success() && server.process.wait().success());
}

#[test]
fn a_pipe_that_is_cut_is_no_success_on_either_side() {
    let keys = Keys::new();
    let output = keys.folder.path().join("there");
    let mut server = pipe_server(&keys, Path::new("/dev/null"), &output);
    let mut command = pipe_client(&keys, &server);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = Process::start(&mut command);
    let mut stdin = client.0.stdin.take().unwrap();
    stdin.write_all(&[1; 100_000]).unwrap();
    // All of it is there, and then the client dies.
    let arrived = || std::fs::metadata(&output).map_or(0, |file| file.len());
    wait_until("the bytes", || arrived() >= 100_000);
    client.signal("KILL");
    assert_eq!(server.process.wait().code(), Some(7));
    assert_eq!(client.wait().code(), None);
}

#[test]
fn the_ends_for_measurements_take_and_give() {
    let keys = Keys::new();
    keys.authorize("permit=\"pipe\"");
    for (service, input) in [("discard", vec![5; 500_000]), ("generate", Vec::new())] {
        let server = keys.server(&["--service", service]);
        let mut command = pipe_client(&keys, &server);
        if service == "discard" {
            let ended = finish(command, &input);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
        } else {
            // A reader that goes away when it has enough is no success: not everything was handed over.
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut client = Process::start(&mut command);
            let zeros = read_in_time(client.0.stdout.take().unwrap(), 300_000);
            assert!(zeros == vec![0; 300_000]);
            assert_eq!(client.wait().code(), Some(9));
            let mut words = String::new();
            client.0.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            let expected = "vpn: the reader of standard output has gone before it had everything\n";
            assert_eq!(words, expected);
            server.log.until("the client could not write to its standard output everything");
        }
    }
}

#[test]
fn servers_can_be_described_in_the_users_folder() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let (pin, port) = (keys.fingerprint("server"), server.port);
    let own = keys.folder.path().join("vpn");
    std::fs::create_dir(&own).unwrap();
    let client = |text: &str, args: &[&str]| {
        std::fs::write(own.join("client.toml"), text).unwrap();
        let mut command = vpn();
        command.args(["client", "--host"]).args(args);
        command.env("XDG_CONFIG_HOME", keys.folder.path());
        finish(command, b"")
    };
    let entry = format!(
        "[[server]]\nname = 'work'\nhost = '127.0.0.1'\nport = {port}\nsealed = true\n\
         identity = '../client'\nserver_key = '{pin}'\n"
    );
    let ended = client(&entry, &["work", "-q", "-m", "abc"]);
    assert_eq!((ended.stdout.as_str(), ended.code), ("cba\n", Some(0)), "{}", ended.stderr);
    server.log.until("the client closed the session");
    // The command line comes first.
    let other = keys.fingerprint("stranger");
    let ended = client(&entry, &["work", "-q", "-m", "abc", "--server-key", &other]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    for (text, part) in [
        (
            entry.replace("port", "prot"),
            "client.toml:4: unknown setting 'prot' of server; is port meant?",
        ),
        (format!("{entry}{entry}"), "client.toml:8: server 'work' is described twice"),
    ] {
        let ended = client(&text, &["work", "-q", "-m", "abc"]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let keys = Keys::new();
    let (identity, psk) = (keys.path("server"), keys.private("short", "abcd\n"));
    for (args, part) in [
        (vec!["server", "--no-classic"], "without --identity or --psk"),
        (vec!["server", "--identity", &identity], "nobody could come in"),
        (
            vec!["server", "--psk", psk.to_str().unwrap()],
            "too short: 2 bytes, at least 32 are needed",
        ),
        (vec!["client", "--accept-new"], "--accept-new is for the sealed profile"),
        (vec!["client", "--sealed", "--known-servers", "/none", "--identity", "/none"], "/none"),
    ] {
        let ended = run(&args, b"");
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
    }
    keys.folder.file("authorized", "speed=3 ssh-ed25519 AAAA\n");
    let (clients, identity) = (keys.path("authorized"), keys.path("server"));
    let args = ["server", "--port", "0", "--identity", &identity, "--authorized-clients", &clients];
    let ended = run(&args, b"");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("authorized:1: unknown option 'speed'"), "{}", ended.stderr);
}
