//! Key files of a test, and servers and clients that use them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use vpn::trust::{PublicKey, read_identity};
use vpn_proto::sealed::{ClientConfig, Identity, Kex};

use super::sealed::aes256_only;
use super::{Ended, Running, SHIPPED, Server, ServerBuilder, TempDir, run, set_mode, vpn};

/// A folder with the keys `server`, `client` and `stranger`, the PSKs `psk` and `other`, and a list
/// `authorized` with the client's key.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) folder: TempDir,
}

/// The files that `vpn keygen` writes are made once and copied: no test needs keys that no other has.
static MADE: LazyLock<TempDir> = LazyLock::new(|| {
    let made = TempDir::new();
    for name in ["server", "client", "stranger"] {
        let path = made.path().join(name);
        let ended = run(&["keygen", "--out", path.to_str().unwrap(), "--comment", name], b"");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    made
});

impl Keys {
    pub(crate) fn new() -> Self {
        let keys = Self { folder: TempDir::new() };
        for entry in std::fs::read_dir(MADE.path()).unwrap() {
            // A copy has the same mode.
            let made = entry.unwrap();
            std::fs::copy(made.path(), keys.folder.path().join(made.file_name())).unwrap();
        }
        for (name, digits) in [("psk", "5a"), ("other", "5b")] {
            keys.private(name, &format!("{}\n", digits.repeat(32)));
        }
        keys.authorize("");
        keys
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn private(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.file(name, content);
        set_mode(&path, 0o600);
        path
    }

    /// Writes the list of clients: the client's key with these options.
    pub(crate) fn authorize(&self, options: &str) {
        let line = self.read("client.pub");
        self.folder.file("authorized", format!("{options} {line}").trim_start());
    }

    pub(crate) fn fingerprint(&self, name: &str) -> String {
        let ended = run(&["fingerprint", &self.path(name)], b"");
        ended.stdout.split(' ').next().unwrap().to_owned()
    }

    /// The fingerprint of the server's key.
    pub(crate) fn pin(&self) -> String {
        vpn::trust::fingerprint(&self.public("server").bytes)
    }

    /// The key in the file `NAME.pub`.
    pub(crate) fn public(&self, name: &str) -> PublicKey {
        PublicKey::parse(self.read(&format!("{name}.pub")).trim()).unwrap()
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        read_identity(Path::new(&self.path(name)), || panic!("no passphrase")).unwrap()
    }

    /// A server with its key and the list of clients.
    pub(crate) fn server(&self, more: &[&str]) -> Server {
        self.server_with(SHIPPED, more)
    }

    pub(crate) fn server_with(&self, config: &str, more: &[&str]) -> Server {
        self.server_builder().config(config).args(more).start()
    }

    pub(crate) fn server_builder(&self) -> ServerBuilder {
        let (identity, clients) = (self.path("server"), self.path("authorized"));
        ServerBuilder::new().args(&["--identity", &identity, "--authorized-clients", &clients])
    }

    /// A client with this key.
    pub(crate) fn client(&self, server: &Server, key: &str, more: &[&str]) -> Ended {
        let (identity, known) = (self.path(key), self.path("known"));
        let args = ["--sealed", "--identity", &identity, "--known-servers", &known];
        server.client(&[&args, more].concat(), b"")
    }

    /// A client that knows the server, up to its end; what it is told to send is `abc`.
    pub(crate) fn says_abc(&self, server: &Server, key: &str) -> Ended {
        let pin = self.pin();
        self.client(server, key, &["-q", "-m", "abc", "--server-key", &pin])
    }

    /// A client that knows the server and stays until its input ends.
    pub(crate) fn staying_client(&self, server: &Server) -> Running {
        let (identity, pin) = (self.path("client"), self.pin());
        server.staying_client(&[
            "--sealed",
            "-q",
            "--identity",
            &identity,
            "--server-key",
            &pin,
            "--known-servers",
            &self.path("known"),
        ])
    }

    /// A client with this key, which logs with `-v`, at a port of this machine.
    pub(crate) fn client_command(&self, key: &str, port: u16, more: &[&str]) -> Command {
        let mut command = vpn();
        // A folder without keys and servers, so that those of a user are not found.
        command.env("XDG_CONFIG_HOME", self.folder.path());
        command.args(["client", "127.0.0.1", "--port", &port.to_string(), "--sealed", "-v"]);
        command.args(["--identity", &self.path(key), "--server-key", &self.pin()]);
        command.args(["--known-servers", &self.path("known")]).args(more);
        command
    }

    /// The client `client` with forwards.
    pub(crate) fn forwarding(&self, port: u16, forwards: &[&str]) -> Running {
        Running::start(self.client_command("client", port, forwards))
    }

    /// What the client `client` is to the library.
    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        Arc::new(ClientConfig {
            enabled: aes256_only(),
            kex: Kex::ALL.to_vec(),
            identity: Some(self.identity("client")),
            server_key: Some(self.public("server").bytes),
            psk: None,
            limits: vpn_proto::sealed::Limits::default(),
        })
    }
}

/// A line of `known_servers`, for a server with this name and a key in a public file.
pub(crate) fn known_line(name: &str, public: &str) -> String {
    let key: Vec<&str> = public.split_whitespace().take(2).collect();
    format!("{name} sealed {}\n", key.join(" "))
}
