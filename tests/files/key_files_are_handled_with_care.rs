//! Key files are used only where nobody else can change them, and are always whole.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use vpn_test_needs::needs;

use crate::support::{Keys, SHIPPED, ServerBuilder, TempDir, fifo, finish, run, set_mode, vpn};

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
    // A key that others can read is refused.
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
    // The hint is there with -q, too.
    let ended = run(&[&client[..], &["--identity", &none]].concat(), b"");
    assert!(ended.stderr.contains("vpn: hint: `vpn keygen --out "), "{}", ended.stderr);
}

#[test]
fn files_that_are_not_regular_are_refused_at_once() {
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
    // Not even --force has put a key in its place.
    assert!(std::fs::metadata("/dev/zero").unwrap().file_type().is_char_device());
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
    // No other file is left behind.
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
fn the_comment_of_a_key_cannot_move_the_cursor() {
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
fn tables_of_the_sealed_profile_that_others_could_write_are_not_used() {
    let keys = Keys::new();
    let config = PathBuf::from(keys.path("c.toml"));
    let name = config.to_str().unwrap();
    for table in [
        "[sealed]\nidentity = 'server'\nauthorized_clients = 'authorized'\n",
        "[exec.date]\ncommand = ['/bin/date']\n",
    ] {
        std::fs::write(&config, format!("{SHIPPED}\n{table}")).unwrap();
        set_mode(&config, 0o666);
        let ended = run(&["server", "--port", "0", "--config", name], b"");
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("must not be writable by others"), "{}", ended.stderr);
    }
    // A list of ciphers alone may be writable: it gives nothing away.
    std::fs::write(&config, SHIPPED).unwrap();
    ServerBuilder::new().config_file(&config).start();
}
