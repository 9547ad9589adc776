//! Arguments are checked, exit codes tell failures apart, and a failure is one line with at most one hint.

use std::io::{Read, Write};

use crate::support::{Server, accept, client_of, listener, run};

/// Ends with this code and one `vpn: …` line, with at most one hint behind it.
fn assert_fails(args: &[&str], code: i32, part: &str) {
    let ended = run(args, b"");
    assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].starts_with("vpn: ") && lines[0].contains(part), "{args:?}: {lines:?}");
    match &lines[1..] {
        [] => {}
        [hint] => assert!(hint.starts_with("vpn: hint: "), "{lines:?}"),
        _ => panic!("{args:?}: more than a line and a hint: {lines:?}"),
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for args in [
        &["--help"][..],
        &["server", "--help"],
        &["client", "--help"],
        &["demo", "--help"],
        &["suites", "--help"],
        &["--version"],
    ] {
        let ended = run(args, b"");
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("vpn") && ended.stderr.is_empty());
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_fails(&[], 2, "a command is missing");
    assert_fails(&["dance"], 2, "dance");
    assert_fails(&["client", "--prt", "1"], 2, "--prt");
    assert_fails(&["client", "--port", "65536"], 2, "65536");
    assert_fails(&["server", "--port", "x"], 2, "x");
    assert_fails(&["server", "--dialect", "klingon"], 2, "klingon");
    assert_fails(&["client", "--group", "13"], 2, "13");
    assert_fails(&["suites", "--json", "--show-config"], 2, "--show-config");
}

#[test]
fn wrong_forwards_end_with_2() {
    for (args, part) in [
        (&["client", "-L", "8080"][..], "'--forward <SPEC>': the target is missing"),
        (&["client", "-R", "1080"], "a SOCKS proxy at the server is not supported"),
        (&["client", "-D", "/run/s"], "a SOCKS proxy listens on [BIND:]PORT only"),
        (&["client", "-W", "host"], "write HOST:PORT"),
        (&["client", "-W", "a:1", "-L", "1:a:80"], "cannot be used with"),
        (&["client", "--pipe", "-D", "1080", "--exec", "x"], "cannot be used with"),
        (&["client", "work", "--host", "work"], "cannot be used with"),
        (&["client", "-N"], "-N only forwards, and there is nothing to forward"),
        (&["client", "--carriers", "2"], "--carriers is for the sealed profile"),
        (&["client", "--sealed", "--carriers", "2"], "--carriers is for -L, -R and -D"),
        (&["client", "--sealed", "--reconnect", "-m", "x"], "--reconnect is for -L, -R and -D"),
    ] {
        assert_fails(args, 2, part);
    }
}

#[test]
fn no_server_ends_with_3() {
    // The test holds the port without listening, so that no other test gets it meanwhile.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _guard = runtime.enter();
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = ["client", "--host", "127.0.0.1", "--port", &port];
    assert_fails(&args, 3, &format!("cannot connect to 127.0.0.1:{port}: connection refused"));
    assert_fails(&["client", "--host", "no.such.host.invalid"], 3, "no.such.host.invalid:4600");
    assert_fails(
        &["server", "--host", "192.0.2.1", "--port", "0"],
        3,
        "cannot listen on 192.0.2.1:0",
    );
}

#[test]
fn a_failed_negotiation_points_at_the_commentary() {
    // Nothing that the library knows would have helped: the server chooses what was not offered.
    for (more, is_pointed) in [(&[][..], true), (&["--explain"], false)] {
        let (listener, port) = listener();
        let server = std::thread::spawn(move || {
            let mut stream = accept(&listener);
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(b"ChosenCipher:XOR:8\n").unwrap();
            // The client goes.
            while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        });
        let ended = client_of(port, &[&["-m", "x"], more].concat(), b"");
        server.join().unwrap();
        assert_eq!(ended.code, Some(4), "{}", ended.stderr);
        let hint = "vpn: hint: run it again with --explain";
        assert_eq!(ended.stderr.contains(hint), is_pointed, "{}", ended.stderr);
    }
}

#[test]
fn a_failure_by_another_group_names_the_setting() {
    let server = Server::with_config("[[supported_cipher]]\nname = 'AES'\nkeys = [128]\n", &[]);
    // A number of another group: refused if it is no residue of ours, else the keys differ.
    let ended = server.client(&["--group", "14", "-m", "x"], b"");
    assert!(matches!(ended.code, Some(4 | 7)), "{}", ended.stderr);
    assert!(ended.stderr.contains("[classic] group = 18 may make it work"), "{}", ended.stderr);
}

#[test]
fn suites_are_listed_as_a_table() {
    let ended = run(&["suites"], b"");
    let lines = ended.lines();
    let registry = vpn_suite::Registry::linked().unwrap();
    assert_eq!(lines.len(), 1 + registry.len(), "{}", ended.stdout);
    let row = |name: &str| *lines.iter().find(|l| l.starts_with(&format!("{name} "))).unwrap();
    let column = lines[0].find("ENABLED").unwrap();
    assert!(row("AES")[column..].starts_with("128, 192, 256"));
    assert!(row("Blowfish").contains("32..=448 step 8") && row("Blowfish").contains("64-bit"));
    assert!(row("DES3").contains("3DES, TDES") && row("DES3").contains("not constant-time"));
}

#[test]
fn suites_are_listed_as_json() {
    let ended = run(&["suites", "--json"], b"");
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let des3 = json.as_array().unwrap().iter().find(|s| s["name"] == "DES3").unwrap();
    assert_eq!(des3["aliases"], serde_json::json!(["3DES", "TDES"]));
    assert_eq!(des3["key_sizes"], serde_json::json!([128, 192]));
    assert_eq!(des3["enabled"], serde_json::json!([192]));
    assert_eq!((&des3["block_size"], &des3["constant_time"]), (&8.into(), &false.into()));
}

#[test]
fn texts_that_cannot_be_sent_are_refused_and_those_before_are_answered() {
    let server = Server::start(&[]);
    let ended = server.client(&["-q"], b"one\na\xff\nthree\n");
    assert_eq!((ended.stdout.as_str(), ended.code), ("eno\n", Some(2)));
    assert!(ended.stderr.contains("line 2 is not UTF-8"), "{}", ended.stderr);

    let long = "x".repeat(65_537);
    let ended = server.client(&["-q"], format!("one\n{long}\n").as_bytes());
    assert_eq!((ended.stdout.as_str(), ended.code), ("eno\n", Some(2)));
    assert!(ended.stderr.contains("line 2 is longer than 65536 bytes"), "{}", ended.stderr);

    let ended = server.client(&["-q", "-m", "one", "-m", &long], b"");
    assert_eq!((ended.stdout.as_str(), ended.code), ("eno\n", Some(2)));
    assert!(ended.stderr.contains("65537 bytes is too long"), "{}", ended.stderr);

    let longest = "x".repeat(65_536);
    let ended = server.client(&["-q", "-m", &longest], b"");
    assert_eq!(ended.stdout.trim_end(), longest);
}

#[test]
fn dialects_of_short_readers_refuse_what_would_be_cut() {
    let server = Server::start(&["--dialect", "capture"]);
    let text = "x".repeat(4033);
    let ended = server.client(&["-q", "--dialect", "capture", "-m", &text[1..], "-m", &text], b"");
    assert_eq!(ended.stdout.trim_end(), &text[1..]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("the peer takes 4032"), "{}", ended.stderr);
}

#[test]
fn speed_measures_what_is_asked_for() {
    let ended = run(
        &["speed", "--suite", "aes:256", "--size", "100", "--time", "1", "--json", "--no-kex"],
        b"",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    let which: Vec<String> = rows
        .iter()
        .map(|r| format!("{} {} {} {} {}", r["suite"], r["bits"], r["op"], r["size"], r["batch"]))
        .collect();
    assert_eq!(
        which,
        [
            "\"AES\" 256 \"seal\" 100 1",
            "\"AES\" 256 \"open\" 100 1",
            "\"AES\" 256 \"seal\" 100 16",
            "\"AES\" 256 \"open\" 100 16",
        ]
    );
    for row in rows {
        assert!(row["mb_per_s"].as_f64().unwrap() > 0.0);
        assert!(!row["kernel"].as_str().unwrap().is_empty());
    }
    for (args, part) in [
        (["speed", "--suite", "ROT13"], "unknown cipher 'ROT13' (linked: AES,"),
        (["speed", "--suite", "AES:100"], "AES has no key of 100 bits (128, 192, 256)"),
        (["speed", "--size", "0"], "1..=16384"),
    ] {
        let ended = run(&args, b"");
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn speed_uses_the_kernels_that_are_named() {
    let speed = |more: &[&str]| {
        let args = ["speed", "--suite", "AES:256", "--size", "100", "--time", "1", "--no-kex"];
        run(&[&args[..], &["--json"], more].concat(), b"")
    };
    let ended = speed(&["--kernel", "generic", "--kernel", "sha2"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(row["kernel"], "generic, sha2");
    }

    // Every name in the list can be forced. Key exchanges are not measured here.
    let ended = speed(&["--kernel", "abacus"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let line = ended.stderr.trim_end();
    assert_eq!(line.lines().count(), 1, "{line}");
    let (problem, list) = line.split_once(" (it has: ").unwrap();
    assert!(problem.ends_with("--kernel: this processor has no kernel 'abacus'"), "{line}");
    let names: Vec<&str> = list.split('\'').skip(1).step_by(2).collect();
    assert!(["generic", "sha2", "crypto-bigint"].iter().all(|name| names.contains(name)), "{line}");
    for name in &names {
        let ended = speed(&["--kernel", name]);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        let rows: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let (cipher, mac) = rows[0]["kernel"].as_str().unwrap().split_once(", ").unwrap();
        let is_for_exchanges = ["crypto-bigint", "avx-512 ifma"].contains(name);
        assert!([cipher, mac].contains(name) || is_for_exchanges, "{name}: {cipher}, {mac}");
    }

    // The first one is the fastest one for AES.
    if names[0] != "generic" {
        let ended = speed(&["--kernel", names[0], "--kernel", "generic"]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let problem =
            format!("--kernel: '{}' and 'generic' do the same work; choose one", names[0]);
        assert!(ended.stderr.contains(&problem), "{}", ended.stderr);
    }
    let ended = speed(&["--kernel", "generic", "--portable"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}
