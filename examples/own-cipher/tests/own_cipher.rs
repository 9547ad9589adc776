//! A cipher from outside the repository is listed, offered and chosen.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use own_cipher::Xor;

/// A configuration file that is removed at the end of the test.
struct Config(PathBuf);

impl Config {
    fn new(name: &str, text: &str) -> Self {
        let file = format!("vpn-own-cipher-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, text).expect("the temporary folder is writable");
        Self(path)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run(args: &[&str], config: &Config, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vpn-with-xor"))
        .args(args)
        .arg("--config")
        .arg(&config.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).expect("the program reads or ignores its input");
    drop(stdin);
    // The program's own deadlines (20 s for a handshake, 30 s for a reply) end this wait.
    child.wait_with_output().expect("the program ends")
}

const WITH_XOR: &str = "
[[supported_cipher]]
name = 'AES'
keys = [128, 256]
[[supported_cipher]]
name = 'XOR'
keys = [512]
";

#[test]
fn the_toy_keeps_the_rules_of_a_suite() {
    vpn_suite::testkit::check(&Xor);
}

#[test]
fn it_is_listed_beside_the_suites_of_the_bundle() {
    let config = Config::new("listed", WITH_XOR);
    let output = run(&["suites", "--json"], &config, "");
    let json = String::from_utf8(output.stdout).unwrap();
    for name in ["AES", "Blowfish", "DES3", "XOR"] {
        assert!(json.contains(&format!("\"name\": \"{name}\"")), "{name} is not in {json}");
    }
}

#[test]
fn it_is_offered_chosen_and_spoken() {
    let config = Config::new("chosen", WITH_XOR);
    let output = run(&["demo"], &config, "hello\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in [
        "server | We are going to use XOR512",
        "client | We are going to use XOR512",
        "server | Received: hello",
        "client | Server says: olleh",
    ] {
        assert!(text.lines().any(|l| l == line), "no '{line}' in\n{text}");
    }
}

#[test]
fn linked_but_not_listed_is_not_offered() {
    let config = Config::new("unlisted", "[[supported_cipher]]\nname = 'AES'\nkeys = [128]\n");
    let output = run(&["demo"], &config, "hello\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|l| l == "server | We are going to use AES128"), "{text}");
}

/// Ends a process of the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_is_sealed_between_a_real_server_and_a_real_client() {
    let config = Config::new("sealed", WITH_XOR);
    let folder = std::env::temp_dir().join(format!("vpn-own-cipher-{}-keys", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let path = |name: &str| folder.join(name).to_str().expect("a path in UTF-8").to_owned();
    let program = || Command::new(env!("CARGO_BIN_EXE_vpn-with-xor"));
    for name in ["server", "client"] {
        let made = program().args(["keygen", "--force", "--out", &path(name)]).output();
        assert!(made.expect("the program starts").status.success());
    }
    let mut server = program();
    server.args(["server", "--host", "127.0.0.1", "--port", "0", "--identity", &path("server")]);
    server.args(["--authorized-clients", &path("client.pub"), "--config"]).arg(&config.0);
    let server = server.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut server = Ending(server);
    let mut lines = BufReader::new(server.0.stdout.take().expect("stdout is piped")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    let announced = line();
    let port = announced.rsplit(':').next().expect("a port").to_owned();
    let known = path("known");
    let client = ["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "--accept-new"];
    let files = ["--identity", &path("client"), "--known-servers", &known];
    let output = run(&[&client[..], &files, &["-m", "hello"]].concat(), &config, "");
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in ["We are going to use XOR512", "Server says: olleh"] {
        assert!(text.lines().any(|l| l == expected), "no '{expected}' in\n{text}");
    }
    while line() != "Received: hello" {}
    drop(server);
    fs::remove_dir_all(&folder).expect("the folder is ours");
}
