//! A server lets in the clients of its list, as far as their options say, and clients with its PSK.

use std::io::Write;
use std::path::PathBuf;

use crate::support::{
    Keys, SHIPPED, Server, TempDir, client_of, fifo, finish, read_to_end, set_mode, vpn,
};

#[test]
fn clients_are_let_in_by_their_keys_and_options() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let pin = keys.fingerprint("server");
    let args = ["-q", "-m", "abc", "--server-key", &pin];
    let denied = |reason: &str, key: &str| {
        let ended = keys.client(&server, key, &args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""), "{}", ended.stderr);
        // The client is told the same for every reason.
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
    // Strangers hear nothing in either profile.
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
fn a_psk_alone_works_for_an_owner_of_a_key_who_can_leave_it_out() {
    let keys = Keys::new();
    let psk = PathBuf::from(keys.path("psk"));
    // As `xxd -p` writes it.
    std::fs::write(&psk, format!("{}\n{}\n", "5a".repeat(30), "a5".repeat(30))).unwrap();
    set_mode(&psk, 0o600);
    let psk = psk.to_str().unwrap();
    let server = Server::start(&["--psk", psk]);
    let own = TempDir::new();
    std::fs::create_dir(own.path().join("vpn")).unwrap();
    let mine = own.path().join("vpn/id_ed25519");
    std::fs::copy(keys.path("client"), &mine).unwrap();
    set_mode(&mine, 0o600);
    let port = server.port.to_string();
    for more in [&[][..], &["--identity", "none"]] {
        let mut command = vpn();
        command.args(["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "--psk", psk]);
        command.args(["-q", "-m", "abc"]).args(more).env("XDG_CONFIG_HOME", own.path());
        let ended = finish(command, b"");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
    // A PSK and a listed key together.
    let both = keys.server(&["--psk", psk, "--gate", "required"]);
    let ended = keys.client(&both, "client", &["--psk", psk, "--accept-new", "-q", "-m", "abc"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    both.log.until(&keys.fingerprint("client"));
}

#[test]
fn a_slip_in_the_list_of_a_running_server_is_that_lines_alone() {
    let keys = Keys::new();
    // This machine gets penalties, too.
    let server = keys.server_with(&format!("{SHIPPED}\n[limits]\nexempt = []\n"), &[]);
    let line = keys.read("client.pub");
    let clients = PathBuf::from(keys.path("authorized"));
    let works = || {
        let ended = keys.says_abc(&server, "client");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    };
    works();
    // A line that was saved in part, a later line of the same key, and bytes of another encoding.
    let text = format!("ssh-ed25519 AAAAC3Nz\nno-pty {line}expires=2020-01-01 {line}{line}# ");
    std::fs::write(&clients, [text.as_bytes(), b"J\xf6rg\n"].concat()).unwrap();
    works();
    let said = server.log.until("authorized:1: ");
    assert!(said.contains("WARN") && said.contains("this line is skipped"), "{said}");
    server.log.until("authorized:2: ssh's option 'no-pty' has no meaning here");
    // A list that others could have written denies everybody. No client is penalised for that.
    set_mode(&clients, 0o666);
    let ended = keys.says_abc(&server, "client");
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let said = server.log.until("must not be writable by others");
    assert!(said.contains("ERROR"), "{said}");
    set_mode(&clients, 0o644);
    works();
}

#[test]
fn a_list_that_becomes_a_pipe_does_not_stop_the_server() {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    let clients = PathBuf::from(keys.path("authorized"));
    let line = std::fs::read(&clients).unwrap();
    std::fs::remove_file(&clients).unwrap();
    fifo(&clients);
    let ended = keys.says_abc(&server, "client");
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    server.log.until("it is a pipe, not a regular file");
    server.assert_alive();
    std::fs::remove_file(&clients).unwrap();
    std::fs::write(&clients, line).unwrap();
    let ended = keys.says_abc(&server, "client");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}

#[test]
fn a_refused_service_shows_the_option_that_would_permit_it() {
    let keys = Keys::new();
    let server = keys.server(&["--service", "discard"]);
    let pin = keys.fingerprint("server");
    let (identity, args) = (keys.path("client"), ["--sealed", "--pipe", "--server-key", &pin]);
    let ended = client_of(server.port, &[&args[..], &["--identity", &identity]].concat(), b"x");
    assert_eq!(ended.code, Some(5));
    // The client hears it, and so does the operator. What the key may do already stays.
    let option = "its line in authorized_clients needs permit=\"message,pipe\"";
    assert!(ended.stderr.contains(option), "{}", ended.stderr);
    server.log.until(option);
}

#[test]
fn a_list_of_many_clients_is_read_once() {
    let keys = Keys::new();
    let line = keys.read("client.pub");
    let other =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x\n";
    std::fs::write(keys.path("authorized"), format!("{}{line}", other.repeat(100_000))).unwrap();
    let server = keys.server(&[]);
    #[cfg(target_os = "linux")]
    let one_reading = server.work();
    let stranger = || assert_eq!(keys.says_abc(&server, "stranger").code, Some(5));
    // The file may be too new for the first look at it to be the last.
    stranger();
    #[cfg(target_os = "linux")]
    let before = server.work();
    (0..5).for_each(|_| stranger());
    #[cfg(target_os = "linux")]
    {
        let work = server.work() - before;
        assert!(work < 2 * one_reading, "{work} ticks, one reading takes {one_reading}");
    }
    let ended = keys.says_abc(&server, "client");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}
