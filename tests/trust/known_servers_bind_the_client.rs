//! A client speaks to a server that it knows with that server's key only, and never in the clear.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{Ended, Keys, Server, TempDir, fifo, finish, known_line, run, set_mode, vpn};

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
fn servers_are_known_by_their_keys() {
    let keys = Keys::new();
    let server = keys.server(&["--classic"]);
    let shown = keys.fingerprint("server.pub");
    assert_eq!(shown, keys.fingerprint("server"));
    // Unknown, and no user to ask.
    let ended = keys.client(&server, "client", &["-q", "-m", "x"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(6), ""));
    assert!(ended.stderr.contains(&format!("is unknown; its key is {shown}")), "{}", ended.stderr);
    // Pinned, rightly and wrongly. A pin adds nothing to the known servers.
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &shown]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    assert!(!Path::new(&keys.path("known")).exists());
    let other = keys.fingerprint("stranger");
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &other]);
    assert_eq!(ended.code, Some(6));
    assert!(ended.stderr.contains(&shown) && ended.stderr.contains(&other), "{}", ended.stderr);
    // Accepted once, the server is remembered.
    for more in [&["--accept-new"][..], &[]] {
        let ended = keys.client(&server, "client", &[&["-q", "-m", "abc"], more].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
    // The classic profile is not used by accident.
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
    set_mode(path("shared"), 0o777);
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
        // The user can still ask for the classic profile.
        let ended = classic_with(&file, &["--insecure-classic"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "cba\n"), "{}", ended.stderr);
    }
    // A list that does not exist forbids nothing, nor does one in a folder like /tmp.
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
    // A user who has only the fingerprint is told what is missing.
    let ended = client(&keys.fingerprint("server"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(
        ended.stderr.contains("give --server-key the text of its .pub file"),
        "{}",
        ended.stderr
    );
    // A pin that can never match is refused before anything is sent.
    let ended = client("SHA256:abc");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}
