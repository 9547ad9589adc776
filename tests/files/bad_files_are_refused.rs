//! Every message about a file that cannot be used, in one place: the program runs on each file of
//! tests/data/bad, and says what tests/data/bad/expected.txt has for it. The files of
//! tests/data/courses are what students write; those called ok-* are read, those called no-* are refused
//! with what to write. `VPN_BLESS=1` writes the expectations anew, for a reviewer to read.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Ended, TempDir, data, files_in, finish, run, set_mode, vpn};

/// Words of the libraries and of the system that tell a user nothing.
const FOREIGN: [&str; 12] = [
    "os error",
    "invalid type",
    "expected a sequence",
    "unknown field",
    "missing field",
    "TOML parse",
    "serde",
    "PEM",
    "Base64",
    "UnexpectedEof",
    "panicked",
    "Utf8Error",
];

/// The files of a folder, without the expectations.
fn files(folder: &Path) -> Vec<PathBuf> {
    let files = files_in(folder).into_iter();
    files.filter(|path| !path.ends_with("expected.txt")).collect()
}

/// Runs the program with the file as this folder's files are used. Nobody can be asked anything.
fn use_file(kind: &str, path: &Path, folder: &TempDir) -> Ended {
    let at = ["--host", "127.0.0.1", "--port", "1", "-m", "x"];
    let known = folder.path().join("none");
    let identity = folder.path().join("own");
    // A session of its own has no terminal.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(env!("CARGO_BIN_EXE_vpn"));
    command.env_remove("RUST_LOG").env("XDG_CONFIG_HOME", folder.path());
    match kind {
        "config" => command.args(["suites", "--config"]).arg(path),
        "client" => {
            let own = folder.path().join("vpn");
            std::fs::create_dir_all(&own).unwrap();
            std::fs::rename(path, own.join("client.toml")).unwrap();
            command.args(["client", "--host", "work", "-m", "x"])
        }
        "keys" => command
            .args(["client", "--sealed", "--known-servers"])
            .arg(known)
            .arg("--identity")
            .arg(path)
            .args(at),
        "psk" => command
            .args(["client", "--sealed", "--known-servers"])
            .arg(known)
            .arg("--psk")
            .arg(path)
            .args(at),
        // Without --sealed: a list that cannot be read must not open the way to classic.
        "known_servers" => command.args(["client", "--known-servers"]).arg(path).args(at),
        "authorized_clients" => command
            .args(["server", "--host", "127.0.0.1", "--port", "0", "--identity"])
            .arg(identity)
            .arg("--authorized-clients")
            .arg(path),
        other => panic!("no use for {other}"),
    };
    finish(command, b"")
}

fn compare(expected: &Path, found: &str) {
    if std::env::var_os("VPN_BLESS").is_some() {
        std::fs::write(expected, found).unwrap();
        return;
    }
    let text = std::fs::read_to_string(expected).unwrap();
    for (number, (has, should)) in (1..).zip(found.lines().zip(text.lines())) {
        assert_eq!(has, should, "line {number} of {}", expected.display());
    }
    assert_eq!(found.lines().count(), text.lines().count(), "{}", expected.display());
}

#[test]
fn every_bad_file_is_refused_with_the_words_that_were_reviewed() {
    let mut found = String::new();
    let mut count = 0;
    for kind in ["config", "client", "keys", "psk", "known_servers", "authorized_clients"] {
        let folder = TempDir::new();
        let own = folder.path().join("own");
        assert_eq!(run(&["keygen", "--out", own.to_str().unwrap()], b"").code, Some(0));
        for file in files(&data("bad").join(kind)) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let copy = folder.file(name, std::fs::read(&file).unwrap());
            set_mode(&copy, 0o600);
            let ended = use_file(kind, &copy, &folder);
            let stderr = ended.stderr.replace(folder.path().to_str().unwrap(), "DIR");
            assert_eq!(
                (ended.code, ended.stdout.as_str()),
                (Some(2), ""),
                "{kind}/{name}: {stderr}"
            );
            let lines: Vec<&str> = stderr.lines().collect();
            let is_hint = |line: &&str| line.starts_with("vpn: hint: ");
            assert!(
                lines[0].starts_with("vpn: ") && !is_hint(&lines[0]),
                "{kind}/{name}: {stderr}"
            );
            assert!(lines[1..].len() <= 1 && lines[1..].iter().all(is_hint), "{stderr}");
            assert!(!stderr.contains(|c: char| c.is_control() && c != '\n'), "{stderr:?}");
            for words in FOREIGN {
                let is_own = words == "PEM" && name.starts_with("pem");
                assert!(is_own || !lines[0].contains(words), "{kind}/{name}: {stderr}");
            }
            write!(found, "{kind}/{name}: ends with 2\n{stderr}\n").unwrap();
            count += 1;
        }
    }
    assert!(count >= 130, "{count} files");
    compare(&data("bad/expected.txt"), &found);
}

#[test]
fn files_as_students_write_them_are_read_or_say_what_to_write() {
    let mut found = String::new();
    let (mut read, mut refused) = (0, 0);
    let folder = data("courses");
    for file in files(&folder) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let mut command = vpn();
        command.args(["suites", "--json", "--config"]).arg(&file);
        let ended = finish(command, b"");
        if name.starts_with("ok-") {
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
            let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
            let enabled = json.as_array().unwrap().iter().filter_map(|suite| {
                let sizes = suite["enabled"].as_array().unwrap();
                let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
                let name = suite["name"].as_str().unwrap();
                (!sizes.is_empty()).then(|| format!("{name}:{}", sizes.join(",")))
            });
            writeln!(found, "{name}: {}", enabled.collect::<Vec<_>>().join(" ")).unwrap();
            read += 1;
        } else {
            assert_eq!(ended.code, Some(2), "{name}");
            let words = ended.stderr.replace(&format!("{}", file.display()), name);
            assert_eq!(words.lines().count(), 1, "{words}");
            writeln!(found, "{}", words.trim_end()).unwrap();
            refused += 1;
        }
    }
    assert!(read >= 30 && refused >= 20, "{read} read, {refused} refused");
    compare(&folder.join("expected.txt"), &found);
}
