//! Files that decide whom to trust, and the names that they are about: what cannot be read in full and in
//! trust never opens a way, and one host has one name.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{
    Ended, Keys, SHIPPED, Server, ServerBuilder, TempDir, client_of, fifo, finish, known_line,
    listener, run, set_mode, vpn,
};

/// A classic server, and a client that knows what stands in a file of known servers.
fn classic_with(known: &Path, more: &[&str]) -> Ended {
    let server = Server::start(&[]);
    let known = known.to_str().unwrap();
    server.client(&[&["-q", "-m", "abc", "--known-servers", known], more].concat(), b"")
}

/// A line for a server with this name.
fn line_for(name: &str, keys: &Keys) -> String {
    known_line(name, &keys.read("server.pub"))
}

#[test]
fn a_list_of_known_servers_that_cannot_be_read_does_not_open_the_way_to_classic() {
    let folder = TempDir::new();
    let path = |name: &str| folder.path().join(name);
    let open = folder.file("open", "");
    set_mode(&open, 0o666);
    fifo(&path("pipe"));
    std::fs::create_dir(path("folder")).unwrap();
    symlink(path("nothing"), path("dangling")).unwrap();
    let large = folder.file("large", vec![b'#'; (1 << 20) + 1]);
    std::fs::create_dir(path("shared")).unwrap();
    let shared = path("shared").join("known");
    std::fs::write(&shared, "").unwrap();
    set_mode(&path("shared"), 0o777);
    for (file, words) in [
        (folder.file("bad", "hello\n"), "bad:1: expected HOST[:PORT] sealed"),
        (open, "must not be writable by others (chmod 644"),
        (path("pipe"), "it is a pipe, not a regular file"),
        (path("folder"), "it is a folder, not a regular file"),
        (path("dangling"), "a symbolic link to a file that does not exist"),
        (large, "longer than 1024 KiB"),
        (PathBuf::from("/dev/zero"), "it is a device, not a regular file"),
        (shared, "others can write to its folder"),
    ] {
        let ended = classic_with(&file, &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
        // Unless the user says so.
        let ended = classic_with(&file, &["--insecure-classic"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
    // One that does not exist forbids nothing, nor one in a folder like /tmp.
    let sticky = path("sticky");
    std::fs::create_dir(&sticky).unwrap();
    std::fs::write(sticky.join("known"), "# nobody\n").unwrap();
    set_mode(&sticky, 0o1777);
    for file in [path("missing"), sticky.join("known")] {
        assert_eq!(classic_with(&file, &[]).stdout, "cba\n");
    }
}

#[test]
fn a_known_server_is_known_however_its_name_is_spelt() {
    let keys = Keys::new();
    let folder = TempDir::new();
    let port = Server::start(&[]).port;
    let refused = |line: &str, host: &str| {
        let known = folder.file("known", line);
        let port = port.to_string();
        let known = known.to_str().unwrap();
        let ended = run(
            &["client", "--host", host, "--port", &port, "-m", "x", "--known-servers", known],
            b"",
        );
        assert_eq!(ended.code, Some(8), "{line} {host}: {}", ended.stderr);
    };
    let at = |name: &str| line_for(&format!("{name}:{port}"), &keys);
    refused(&at("localhost"), "LOCALHOST");
    refused(&at("LocalHost."), "localhost");
    refused(&at("127.0.0.1"), "127.1");
    refused(&at("127.0.0.1"), "::ffff:127.0.0.1");
    refused(&at("[0:0::1]"), "::1");
    refused(&format!("\u{feff}{}", at("localhost")), "localhost");
    refused(&at("other,localhost").replace(' ', "\t \t"), "localhost");
    refused(&at("localhost").replace(",localhost", ""), &format!("localhost:{port}"));
    refused(at("localhost").trim_end(), "localhost");
    // The usual port, written or not.
    let known = folder.file("usual", line_for("127.0.0.1:4600", &keys));
    let known = known.to_str().unwrap();
    let ended = run(&["client", "--host", "127.0.0.1", "-m", "x", "--known-servers", known], b"");
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
}

#[test]
fn a_host_is_named_as_it_is_usual_or_the_remedy_is_said() {
    let server = Server::start(&[]);
    let port = server.port;
    let client = |host: &str, more: &[&str]| {
        run(&[&["client", "-q", "-m", "abc", "--host", host], more].concat(), b"")
    };
    assert_eq!(client(&format!("127.0.0.1:{port}"), &[]).stdout, "cba\n");
    let same = port.to_string();
    assert_eq!(client(&format!("127.0.0.1:{port}"), &["--port", &same]).stdout, "cba\n");
    for (host, more, words) in [
        ("127.0.0.1:1", &["--port", "2"][..], "says port 1, but port 2 is given too"),
        ("me@example.org", &[], "leave out 'me@': example.org"),
        ("http://example.org", &[], "leave out 'http://': example.org"),
        ("ssh://example.org", &[], "leave out 'ssh://': example.org"),
        ("a b", &[], "there is a blank in it"),
        ("\u{1b}[2J", &[], "'\\x1b' cannot stand in it"),
    ] {
        for command in ["client", "probe", "server"] {
            let args: Vec<&str> = match command {
                "probe" => vec![command, host],
                _ => vec![command, "--host", host],
            };
            let ended = run(&[&args, more].concat(), b"");
            assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(words), "{words} is not in {}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1);
        }
    }
}

#[test]
fn a_server_with_a_name_in_client_toml_is_found_however_it_is_spelt_and_never_spoken_to_in_the_clear()
 {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    let own = TempDir::new();
    std::fs::create_dir(own.path().join("vpn")).unwrap();
    let (port, pin) = (server.port, keys.fingerprint("server"));
    let text = format!(
        "[[server]]\nname = 'work'\nhost = '127.0.0.1:{port}'\nsealed = true\n\
         identity = '~/client'\nserver_key = '{pin}='\n\
         [[server]]\nname = 'keys'\nhost = '127.0.0.1:{port}'\nidentity = '~/client'\n\
         server_key = '{pin}'\n"
    );
    std::fs::write(own.path().join("vpn/client.toml"), text).unwrap();
    let vpn_with = |args: &[&str]| {
        let mut command = vpn();
        command.args(args).env("XDG_CONFIG_HOME", own.path());
        // `~` is the home folder.
        command.env("HOME", Path::new(&keys.path("client")).parent().unwrap());
        finish(command, b"")
    };
    // Keys by themselves mean the sealed profile.
    for name in ["work", "WORK", "work.", "keys"] {
        let ended = vpn_with(&["client", "--host", name, "-q", "-m", "abc"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
        server.log.until("sealed session with");
    }
    // Its address by itself is the same server.
    let address = format!("127.1:{port}");
    let ended = vpn_with(&["client", "--host", &address, "-q", "-m", "abc"]);
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    assert!(ended.stderr.contains("use --host work"), "{}", ended.stderr);
    let ended = vpn_with(&["client", "--host", &address, "-q", "-m", "abc", "--insecure-classic"]);
    assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
    let ended = vpn_with(&["probe", "Work"]);
    assert!(ended.stdout.contains(&format!("127.0.0.1:{port} is reachable")), "{}", ended.stderr);
}

#[test]
fn a_server_may_be_known_by_several_keys() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let name = format!("127.0.0.1:{}", server.port);
    let other = known_line(&name, &keys.read("stranger.pub"));
    for text in
        [format!("{other}{}", line_for(&name, &keys)), format!("{}{other}", line_for(&name, &keys))]
    {
        std::fs::write(keys.path("known"), text).unwrap();
        let ended = keys.client(&server, "client", &["-q", "-m", "abc"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
}

#[test]
fn a_server_is_remembered_behind_a_line_without_an_end() {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    std::fs::write(keys.path("known"), line_for("example.org", &keys).trim_end()).unwrap();
    for _ in 0..2 {
        let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--accept-new"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
    assert_eq!(keys.read("known").lines().count(), 2);
    let known = keys.path("known");
    let ended = server.client(&["-m", "x", "--known-servers", &known], b"");
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_list_that_cannot_be_written_is_said_and_the_session_goes_on() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let identity = keys.path("client");
    // Not even root can make a folder there.
    let known = "/proc/vpn/known";
    let args = ["--sealed", "--identity", &identity, "--known-servers", known, "--accept-new"];
    let ended = server.client(&[&args[..], &["-q", "-v", "-m", "abc"]].concat(), b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("is not remembered"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("os error"), "{}", ended.stderr);
}

#[test]
fn a_missing_file_ends_with_the_same_code_and_says_what_it_was_for() {
    let folder = TempDir::new();
    let none = folder.path().join("none").to_str().unwrap().to_owned();
    let own = folder.path().join("own").to_str().unwrap().to_owned();
    assert_eq!(run(&["keygen", "--out", &own], b"").code, Some(0));
    let client = ["client", "--sealed", "--port", "1", "-q", "-m", "x"];
    for (args, noun) in [
        ([&client[..], &["--identity", &none]].concat(), "private key"),
        ([&client[..], &["--psk", &none]].concat(), "PSK"),
        ([&client[..], &["--config", &none]].concat(), "configuration"),
        (vec!["server", "--config", &none], "configuration"),
        (vec!["server", "--identity", &none, "--authorized-clients", &own], "private key"),
        (vec!["server", "--psk", &none], "PSK"),
        (vec!["server", "--identity", &own, "--authorized-clients", &none], "authorized clients"),
        (vec!["fingerprint", &none], "key"),
        (vec!["probe", "127.0.0.1", "--config", &none], "configuration"),
        (vec!["suites", "--config", &none], "configuration"),
        (vec!["demo", "--config", &none], "configuration"),
    ] {
        let ended = run(&args, b"");
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        let first = ended.stderr.lines().next().unwrap();
        assert!(first.contains(noun) && first.contains(&none), "{args:?}: {first}");
        assert!(first.ends_with("there is no such file"), "{args:?}: {first}");
    }
    // Also if only replies are wanted.
    let ended = run(&[&client[..], &["--identity", &none]].concat(), b"");
    assert!(ended.stderr.contains("vpn: hint: `vpn keygen --out "), "{}", ended.stderr);
}

#[test]
fn whatever_is_no_regular_file_is_refused_at_once() {
    let folder = TempDir::new();
    let own = folder.path().join("own").to_str().unwrap().to_owned();
    assert_eq!(run(&["keygen", "--out", &own], b"").code, Some(0));
    let pipe = folder.path().join("pipe");
    fifo(&pipe);
    let pipe = pipe.to_str().unwrap();
    for file in [pipe, "/dev/zero", folder.path().to_str().unwrap()] {
        for args in [
            vec!["client", "--sealed", "--identity", file],
            vec!["client", "--sealed", "--psk", file],
            vec!["client", "--known-servers", file],
            vec!["client", "--config", file],
            vec!["server", "--identity", &own, "--authorized-clients", file],
            vec!["fingerprint", file],
            vec!["keygen", "--force", "--out", file],
        ] {
            let start = Instant::now();
            let ended = run(&args, b"");
            assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("not a regular file"), "{args:?}: {}", ended.stderr);
            assert!(start.elapsed() < Duration::from_secs(10), "{args:?}");
        }
    }
    assert!(
        std::fs::metadata("/dev/zero").unwrap().file_type()
            != std::fs::metadata(&own).unwrap().file_type()
    );
}

#[test]
fn a_pair_of_keys_stays_whole_if_one_half_cannot_be_replaced() {
    let folder = TempDir::new();
    let path = folder.path().join("key");
    let name = path.to_str().unwrap();
    assert_eq!(run(&["keygen", "--out", name], b"").code, Some(0));
    let before = std::fs::read(&path).unwrap();
    let half = folder.path().join("key.pub");
    std::fs::remove_file(&half).unwrap();
    std::fs::create_dir(&half).unwrap();
    let ended = run(&["keygen", "--out", name, "--force"], b"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(std::fs::read(&path).unwrap() == before);
    // A link is not followed, and its target stays as it is.
    std::fs::remove_dir(&half).unwrap();
    symlink(&path, &half).unwrap();
    let ended = run(&["keygen", "--out", name, "--force"], b"");
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    assert!(ended.stderr.contains("it is a symbolic link"), "{}", ended.stderr);
    assert!(std::fs::read(&path).unwrap() == before);
    // Nothing is left lying about.
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_key_log_does_not_follow_a_link() {
    let folder = TempDir::new();
    let target = folder.file("target", "mine\n");
    set_mode(&target, 0o644);
    let link = folder.path().join("link");
    symlink(&target, &link).unwrap();
    let ended = run(&["demo", "-m", "x", "--keylog", link.to_str().unwrap()], b"");
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    assert!(ended.stderr.contains("it is a symbolic link"), "{}", ended.stderr);
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine\n");
}

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
fn a_psk_alone_works_for_who_has_a_key_and_a_key_can_be_left_out() {
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
    // Both, for a key that is listed.
    let both = keys.server(&["--psk", psk, "--gate", "required"]);
    let ended = keys.client(&both, "client", &["--psk", psk, "--accept-new", "-q", "-m", "abc"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    both.log.until(&keys.fingerprint("client"));
}

#[test]
fn a_slip_in_the_list_of_a_running_server_is_that_lines_alone() {
    let keys = Keys::new();
    // Not even this machine is spared penalties.
    let server = keys.server_with(&format!("{SHIPPED}\n[limits]\nexempt = []\n"), &[]);
    let line = keys.read("client.pub");
    let clients = PathBuf::from(keys.path("authorized"));
    let works = || {
        let ended = keys.says_abc(&server, "client");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    };
    works();
    // Half saved, a later line of the same key, and something in another encoding.
    let text = format!("ssh-ed25519 AAAAC3Nz\nno-pty {line}expires=2020-01-01 {line}{line}# ");
    std::fs::write(&clients, [text.as_bytes(), b"J\xf6rg\n"].concat()).unwrap();
    works();
    let said = server.log.until("authorized:1: ");
    assert!(said.contains("WARN") && said.contains("this line is skipped"), "{said}");
    server.log.until("authorized:2: ssh's option 'no-pty' has no meaning here");
    // Only what others could have written denies everybody; that is our fault and nobody's penalty.
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
fn what_a_key_is_called_cannot_move_the_cursor() {
    let folder = TempDir::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let text = format!("{key} one\x1b[2J\n\n# a comment\n{key} two\n");
    let file = folder.file("keys", text);
    let ended = run(&["fingerprint", file.to_str().unwrap()], b"");
    let lines = ended.lines();
    assert_eq!(lines.len(), 2, "one line for each key: {}", ended.stdout);
    assert!(lines[0].ends_with(" one\\x1b[2J") && lines[1].ends_with(" two"), "{lines:?}");
    let ended = run(&["client", "--identity", "\u{1b}[2J", "--sealed", "-m", "x"], b"");
    assert!(!ended.stderr.contains('\u{1b}') && ended.code == Some(2), "{:?}", ended.stderr);
    let ended = run(&["keygen", "--out", file.to_str().unwrap(), "--comment", "\u{1b}x"], b"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn a_pinned_key_may_be_the_key_itself_and_then_answers_the_gate() {
    let keys = Keys::new();
    let server = keys.server(&["--gate", "required"]);
    let (identity, none) = (keys.path("client"), keys.path("none"));
    let client = |pin: &str| {
        let args = ["--sealed", "--identity", &identity, "--known-servers", &none];
        server.client(&[&args[..], &["--server-key", pin, "-q", "-m", "abc"]].concat(), b"")
    };
    let ended = client(&keys.read("server.pub"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    // Who has only the fingerprint is told what is missing.
    let ended = client(&keys.fingerprint("server"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(
        ended.stderr.contains("give --server-key the text of its .pub file"),
        "{}",
        ended.stderr
    );
    // What can never match is found out before anything is sent.
    let ended = client("SHA256:abc");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn without_a_home_folder_everything_can_be_named() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let (identity, pin, port) =
        (keys.path("client"), keys.fingerprint("server"), server.port.to_string());
    let mut command = vpn();
    command.args(["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "-q", "-m", "abc"]);
    command.args(["--identity", &identity, "--server-key", &pin]);
    command.env("HOME", "").env_remove("XDG_CONFIG_HOME");
    let ended = finish(command, b"");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}

#[test]
fn a_probe_of_a_server_that_says_nothing_ends_soon() {
    let (_listener, port) = listener();
    let port = port.to_string();
    let start = Instant::now();
    let ended = run(&["probe", "127.0.0.1", "--port", &port], b"");
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(ended.stdout.contains("is reachable"), "{}", ended.stdout);
}

#[test]
fn a_table_of_the_sealed_profile_that_others_could_write_is_not_used() {
    let keys = Keys::new();
    let table = "[sealed]\nidentity = 'server'\nauthorized_clients = 'authorized'\n";
    let config = PathBuf::from(keys.path("c.toml"));
    std::fs::write(&config, format!("{SHIPPED}\n{table}")).unwrap();
    set_mode(&config, 0o666);
    let name = config.to_str().unwrap();
    let ended = run(&["server", "--port", "0", "--config", name], b"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("must not be writable by others"), "{}", ended.stderr);
    // Ciphers alone give nothing away.
    std::fs::write(&config, SHIPPED).unwrap();
    ServerBuilder::new().config_file(&config).start();
}

#[test]
fn a_list_of_many_clients_is_read_once() {
    let keys = Keys::new();
    let line = keys.read("client.pub");
    let other =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x\n";
    std::fs::write(keys.path("authorized"), format!("{}{line}", other.repeat(100_000))).unwrap();
    let server = keys.server(&[]);
    let pin = keys.fingerprint("server");
    // Behind the first one, strangers cost no more than with a short list.
    for _ in 0..5 {
        let ended = keys.client(&server, "stranger", &["-q", "-m", "x", "--server-key", &pin]);
        assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    }
    let ended = keys.says_abc(&server, "client");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
}
