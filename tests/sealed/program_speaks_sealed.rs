//! Two programs hold a sealed conversation, log the same keys, and use small blocks only if allowed.

use std::io::{Read, Write};

use crate::support::{Keys, SHIPPED, accept, client_of, listener};

#[test]
fn a_conversation_is_sealed_both_ways() {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    let ended =
        keys.client(&server, "client", &["--accept-new", "-m", "hello", "-m", "", "-m", "日本"]);
    // The kind of session is on standard error, apart from the lines of the assignment.
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
    // A proxy that lets the handshake through and then cuts.
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
