//! Options of the sealed profile take effect or are refused; none is ignored in silence.

use std::io::Write;

use crate::support::{
    Keys, SHIPPED, ServerBuilder, TempDir, client_of, known_line, read_to_end, run,
};

#[test]
fn options_of_the_sealed_profile_without_it_are_refused() {
    let folder = TempDir::new();
    let clients = folder.file("clients", "");
    let clients = clients.to_str().unwrap();
    for args in [
        &["--authorized-clients", clients][..],
        &["--gate", "required"],
        &["--gate", "optional"],
        &["--kex", "x25519-mlkem768"],
        &["--allow-64bit"],
        &["--no-classic"],
        &["--service", "pipe"],
        &["--service", "message"],
    ] {
        let ended = run(&[&["server", "--port", "0"], args].concat(), b"");
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        let words = format!("{} is for the sealed profile", args[0]);
        assert!(ended.stderr.contains(&words), "{args:?}: {}", ended.stderr);
    }
    for setting in [
        "authorized_clients = 'clients'",
        "gate = 'required'",
        "kex = ['x25519-mlkem768']",
        "allow_64bit = true",
        "classic = false",
        "service = 'pipe'",
    ] {
        let config = folder.file("c.toml", format!("{SHIPPED}\n[sealed]\n{setting}\n"));
        let line = SHIPPED.lines().count() + 3;
        let ended = run(&["server", "--port", "0", "--config", config.to_str().unwrap()], b"");
        assert_eq!(ended.code, Some(2), "{setting}: {}", ended.stderr);
        let key = setting.split(' ').next().unwrap();
        let words = format!("c.toml:{line}: {key} is for the sealed profile");
        assert!(ended.stderr.contains(&words), "{words} is not in {}", ended.stderr);
    }
    let table = "[exec.date]\ncommand = ['/bin/date']\n";
    let config = folder.file("c.toml", format!("{SHIPPED}\n{table}"));
    let ended = run(&["server", "--port", "0", "--config", config.to_str().unwrap()], b"");
    let words = format!("c.toml:{}: exec is for the sealed profile", SHIPPED.lines().count() + 2);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains(&words), "{words} is not in {}", ended.stderr);
}

#[test]
fn a_sealed_server_speaks_classic_only_if_asked_and_says_so() {
    let keys = Keys::new();
    let pin = keys.fingerprint("server");
    let server = keys.server(&[]);
    let said = server.log.until("speaking");
    let expected = format!("speaking the sealed profile, key {pin}; not the classic one");
    assert!(said.ends_with(&expected), "{said}");
    let ended = server.client(&["-q", "-m", "abc"], b"");
    assert_ne!(ended.code, Some(0));
    assert_eq!(ended.stdout, "");
    for server in [
        keys.server(&["--classic"]),
        keys.server_with(&format!("{SHIPPED}\n[sealed]\nclassic = true\n"), &[]),
    ] {
        let said = server.log.until("speaking");
        assert!(said.ends_with("; and the classic one, which lets everybody in"), "{said}");
        server.assert_alive();
    }
    let with_table = format!("{SHIPPED}\n[sealed]\nclassic = true\n");
    let server = keys.server_with(&with_table, &["--no-classic"]);
    assert!(server.log.until("speaking").ends_with("; not the classic one"));
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
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
