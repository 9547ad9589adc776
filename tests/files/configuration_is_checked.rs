//! Good files of ciphers are read, and bad ones are refused by file and line.

use crate::support::{SHIPPED, TempDir, data, files_in, finish, run, vpn};

#[test]
fn valid_files_are_read() {
    for file in files_in(&data("config/valid")) {
        let ended = run(&["suites", "--config", file.to_str().unwrap()], b"");
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", file.display());
    }
}

#[test]
fn invalid_files_are_refused_with_file_line_and_what_is_possible() {
    for file in files_in(&data("config/invalid")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        let (line, part) = expected.split_once(": ").unwrap();
        for command in ["suites", "server", "client", "demo"] {
            let ended = run(&[command, "--config", file.to_str().unwrap()], b"");
            assert_eq!(ended.code, Some(2), "{}: {}", file.display(), ended.stderr);
            let start = format!("vpn: {}:{line}: ", file.display());
            assert!(ended.stderr.starts_with(&start), "{start} is not in {}", ended.stderr);
            assert!(ended.stderr.contains(part), "{part} is not in {}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_by_its_line() {
    let folder = TempDir::new();
    let file = folder.file("c.toml", b"# fine\n# \xff\n");
    let ended = run(&["suites", "--config", file.to_str().unwrap()], b"");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("c.toml:2: not UTF-8"), "{}", ended.stderr);
    let file = folder.file("big.toml", vec![b'#'; 2 << 20]);
    let ended = run(&["suites", "--config", file.to_str().unwrap()], b"");
    assert!(ended.stderr.contains("it is longer than 1024 KiB"), "{}", ended.stderr);
    let ended = run(&["suites", "--config", folder.path().to_str().unwrap()], b"");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn a_missing_file_says_where_it_was_looked_for_and_how_to_get_one() {
    let ended = run(&["server", "--config", "/no/such/file.toml"], b"");
    assert_eq!(ended.code, Some(2));
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "vpn: cannot use the configuration /no/such/file.toml: there is no such file"
    );
    assert!(lines[1].starts_with("vpn: hint: ") && lines[1].contains("--show-config"));
}

#[test]
fn the_default_is_the_file_here_or_else_the_built_in_one() {
    let folder = TempDir::new();
    let suites = |args: &[&str]| {
        let mut command = vpn();
        command.args(["suites"]).args(args).current_dir(folder.path());
        finish(command, b"")
    };
    let ended = suites(&["-v"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("no server_cipher.toml in"), "{}", ended.stderr);
    assert!(ended.stderr.contains("built-in default"), "{}", ended.stderr);
    folder.file("server_cipher.toml", "[[supported_cipher]]\nname = 'AES'\nkeys = [192]\n");
    let json: serde_json::Value = serde_json::from_str(&suites(&["--json"]).stdout).unwrap();
    assert_eq!(json[0]["enabled"], serde_json::json!([192]));
    assert_eq!(json[1]["enabled"], serde_json::json!([]));
}

#[test]
fn the_built_in_default_is_the_shipped_file() {
    let ended = run(&["suites", "--show-config"], b"");
    assert_eq!(ended.stdout, SHIPPED);
}
