//! Forwards as OpenSSH writes them (ssh(1), options -D, -L, -R and -W).
//!
//! | forward | text |
//! |---|---|
//! | local | `[BIND:]PORT:HOST:PORT`, `[BIND:]PORT:/SOCKET`, `/SOCKET:HOST:PORT`, `/SOCKET:/SOCKET` |
//! | remote | the same; the first half is at the server |
//! | SOCKS | `[BIND:]PORT` |
//!
//! A part with a slash is the path of a unix socket. IPv6 addresses stand in brackets. A backslash takes
//! the meaning from a colon or slash behind it. Other than in OpenSSH, ports are numbers only.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::spec::{Field, fields};
use crate::files;
use crate::net::endpoint;
use crate::net::limits::SOCKET_PATH;
use crate::session::Target;
use crate::trust::Host;

/// The interfaces to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Loopback, IPv4 and IPv6: no bind address, or `localhost`.
    Loopback,
    /// All interfaces: an empty bind address, or `*`.
    All,
    /// The interface with this address.
    Address(IpAddr),
    /// The addresses of this name. It may also be an IPv6 address with a zone.
    Name(String),
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// The interfaces.
        bind: Bind,
        /// The port. With port 0 the system chooses one.
        port: u16,
    },
    /// The unix socket at this path, which is absolute.
    Unix(PathBuf),
}

/// A forward that listens at the client (`-L`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalForward {
    /// Where the client listens.
    pub listen: Endpoint,
    /// What the server connects to: `host:port`, `[address]:port` or `/path`, as [`Target::parse`]
    /// reads it.
    pub target: String,
}

/// A forward that listens at the server (`-R`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteForward {
    /// Where the server listens.
    pub listen: Endpoint,
    /// What the client connects to. A path is absolute.
    pub target: Target,
}

/// All forwards of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwards {
    /// Those that listen at the client.
    pub local: Vec<LocalForward>,
    /// Those that listen at the server.
    pub remote: Vec<RemoteForward>,
    /// Where the client listens as a SOCKS5 proxy.
    pub socks: Vec<Endpoint>,
}

impl Forwards {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty() && self.socks.is_empty()
    }
}

/// Which side a half of a forward belongs to.
#[derive(Clone, Copy)]
enum Side<'a> {
    /// The client. Relative paths start from this folder, and `~/` is the home folder.
    Client(&'a Path),
    /// The server. Its paths are absolute.
    Server,
}

impl LocalForward {
    /// Reads a local forward. Relative paths start from the current folder.
    ///
    /// # Errors
    ///
    /// The message for the user. It does not repeat the text.
    pub fn parse(spec: &str) -> Result<Self, String> {
        Self::parse_in(spec, Path::new(""))
    }

    /// Reads a local forward. Relative paths start from `folder`.
    pub(crate) fn parse_in(spec: &str, folder: &Path) -> Result<Self, String> {
        let (listen, target) = halves(spec, (Side::Client(folder), Side::Server))?;
        let target = match target {
            // Not as it is displayed: the path is for the server, not for a terminal.
            Target::Path(path) => path.to_string_lossy().into_owned(),
            host @ Target::Host(..) => host.to_string(),
        };
        Ok(Self { listen, target })
    }
}

impl RemoteForward {
    /// Reads a remote forward. Relative paths start from the current folder.
    ///
    /// # Errors
    ///
    /// The message for the user. It does not repeat the text.
    pub fn parse(spec: &str) -> Result<Self, String> {
        Self::parse_in(spec, Path::new(""))
    }

    /// Reads a remote forward. Relative paths start from `folder`.
    pub(crate) fn parse_in(spec: &str, folder: &Path) -> Result<Self, String> {
        if is_listener(&fields(spec)?) {
            return Err(
                "a SOCKS proxy at the server is not supported; write [BIND:]PORT:HOST:PORT"
                    .to_owned(),
            );
        }
        let (listen, target) = halves(spec, (Side::Server, Side::Client(folder)))?;
        Ok(Self { listen, target })
    }
}

/// Reads `[BIND:]PORT`, the place of a SOCKS proxy.
///
/// # Errors
///
/// The message for the user. It does not repeat the text.
pub fn parse_socks(spec: &str) -> Result<Endpoint, String> {
    let fields = fields(spec)?;
    match &fields[..] {
        [socket] if socket.is_path => Err("a SOCKS proxy listens on [BIND:]PORT only".to_owned()),
        [port] => listener(None, port),
        [bind, port] if is_listener(&fields) => listener(Some(bind), port),
        _ => Err("write [BIND:]PORT, such as 1080".to_owned()),
    }
}

/// Reads `HOST:PORT`, the target of `-W`. Returns it as [`Target::parse`] reads it.
///
/// # Errors
///
/// The message for the user. It does not repeat the text.
pub fn parse_stdio(spec: &str) -> Result<String, String> {
    match &fields(spec)?[..] {
        [host, port] if !host.is_path && !port.is_path => Ok(target(host, port)?.to_string()),
        _ => Err("write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address".to_owned()),
    }
}

/// Whether the fields are `PORT` or `BIND:PORT`, without a target.
fn is_listener(fields: &[Field]) -> bool {
    fields.len() <= 2 && fields.iter().all(|field| !field.is_path)
}

/// Reads the half that listens and the half that is connected to.
fn halves(spec: &str, sides: (Side<'_>, Side<'_>)) -> Result<(Endpoint, Target), String> {
    let fields = fields(spec)?;
    let socket = |field: &Field| Ok::<_, String>(Endpoint::Unix(path(field, sides.0)?));
    let to_socket = |field: &Field| Ok::<_, String>(Target::Path(path(field, sides.1)?));
    Ok(match &fields[..] {
        _ if is_listener(&fields) => {
            return Err("the target is missing; write [BIND:]PORT:HOST:PORT".to_owned());
        }
        [from, to] if from.is_path && to.is_path => (socket(from)?, to_socket(to)?),
        [port, to] if to.is_path => (listener(None, port)?, to_socket(to)?),
        [from, host, port] if from.is_path && !host.is_path && !port.is_path => {
            (socket(from)?, target(host, port)?)
        }
        [bind, port, to] if to.is_path && !bind.is_path && !port.is_path => {
            (listener(Some(bind), port)?, to_socket(to)?)
        }
        [port, host, to] if fields.iter().all(|field| !field.is_path) => {
            (listener(None, port)?, target(host, to)?)
        }
        [bind, port, host, to] if fields.iter().all(|field| !field.is_path) => {
            (listener(Some(bind), port)?, target(host, to)?)
        }
        _ => {
            return Err(
                "write [BIND:]PORT:HOST:PORT; a path stands in place of [BIND:]PORT or HOST:PORT"
                    .to_owned(),
            );
        }
    })
}

/// Reads `[BIND:]PORT`.
fn listener(bind: Option<&Field>, port: &Field) -> Result<Endpoint, String> {
    let bind = match bind.map(|bind| bind.text.as_str()) {
        None => Bind::Loopback,
        Some("" | "*") => Bind::All,
        Some(text) => {
            let host = host(text)?;
            match host.as_str().parse() {
                Ok(address) => Bind::Address(address),
                Err(_) if host.as_str() == "localhost" => Bind::Loopback,
                Err(_) => Bind::Name(host.to_string()),
            }
        }
    };
    Ok(Endpoint::Tcp { bind, port: number(&port.text)? })
}

/// Reads `HOST:PORT`.
fn target(name: &Field, port: &Field) -> Result<Target, String> {
    let host = host(&name.text)?;
    match number(&port.text)? {
        0 => Err("there is no port 0 to connect to".to_owned()),
        port => Ok(Target::Host(host, port)),
    }
}

/// Reads a host without brackets.
fn host(text: &str) -> Result<Host, String> {
    let bracketed = match text.contains(':') {
        true => format!("[{text}]"),
        false => text.to_owned(),
    };
    Host::parse(&bracketed).map(|(host, _)| host).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u16, String> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_number);
    port.ok_or_else(|| format!("'{text}' is no port; a port is a number up to 65535"))
}

/// Reads the path of a unix socket.
fn path(field: &Field, side: Side<'_>) -> Result<PathBuf, String> {
    let path = match side {
        Side::Server if field.text.starts_with('/') => PathBuf::from(&field.text),
        Side::Server => {
            let text = &field.text;
            return Err(format!("'{text}': a path at the server begins with /"));
        }
        Side::Client(folder) => {
            let path = files::resolve(folder, Path::new(&field.text))?;
            std::path::absolute(&path).unwrap_or(path)
        }
    };
    match path.as_os_str().len() > SOCKET_PATH {
        true => Err(format!("the path of a unix socket has at most {SOCKET_PATH} bytes")),
        false => Ok(path),
    }
}

/// The endpoint as users write it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bind, port) = match self {
            Self::Unix(path) => return f.write_str(&files::shown(path)),
            Self::Tcp { bind, port } => (bind, *port),
        };
        match bind {
            Bind::Loopback => write!(f, "localhost:{port}"),
            Bind::All => write!(f, "*:{port}"),
            Bind::Address(address) => f.write_str(&endpoint(&address.to_string(), port)),
            Bind::Name(name) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Bind::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(spec: &str) -> Result<String, String> {
        let parsed = LocalForward::parse_in(spec, Path::new("/conf"))?;
        Ok(format!("{} -> {}", parsed.listen, parsed.target))
    }

    fn remote(spec: &str) -> Result<String, String> {
        let parsed = RemoteForward::parse_in(spec, Path::new("/conf"))?;
        Ok(format!("{} -> {}", parsed.listen, parsed.target))
    }

    #[test]
    fn local_and_remote_forwards_are_read_as_openssh_reads_them() {
        for (spec, expected) in [
            ("8080:intranet:80", "localhost:8080 -> intranet:80"),
            ("localhost:8080:intranet:80", "localhost:8080 -> intranet:80"),
            (":8080:intranet:80", "*:8080 -> intranet:80"),
            ("*:8080:intranet:80", "*:8080 -> intranet:80"),
            ("0.0.0.0:8080:intranet:80", "0.0.0.0:8080 -> intranet:80"),
            ("127.0.0.1:8080:10.0.0.1:80", "127.0.0.1:8080 -> 10.0.0.1:80"),
            ("[::1]:8080:[fd00::1]:80", "[::1]:8080 -> [fd00::1]:80"),
            ("[fe80::1%eth0]:8080:a:80", "[fe80::1%eth0]:8080 -> a:80"),
            ("[localhost]:8080:[a]:80", "localhost:8080 -> a:80"),
            ("lan.example:8080:a:80", "lan.example:8080 -> a:80"),
            ("0:a:80", "localhost:0 -> a:80"),
            ("8080:/run/db.sock", "localhost:8080 -> /run/db.sock"),
            ("*:8080:/run/db.sock", "*:8080 -> /run/db.sock"),
            ("/run/in.sock:a:80", "/run/in.sock -> a:80"),
            ("/run/in.sock:[::1]:80", "/run/in.sock -> [::1]:80"),
            ("/run/in.sock:/run/db.sock", "/run/in.sock -> /run/db.sock"),
            ("/run/a\\:b:/run/db.sock", "/run/a:b -> /run/db.sock"),
        ] {
            assert_eq!(local(spec), Ok(expected.to_owned()), "{spec}");
            assert_eq!(remote(spec), Ok(expected.to_owned()), "{spec}");
        }
    }

    #[test]
    fn the_places_to_listen_on_are_told_apart() {
        let bind = |spec: &str| match LocalForward::parse(spec).unwrap().listen {
            Endpoint::Tcp { bind, port: 1 } => bind,
            other => panic!("{other:?}"),
        };
        assert_eq!(bind("1:a:80"), Bind::Loopback);
        assert_eq!(bind("LOCALHOST:1:a:80"), Bind::Loopback);
        assert_eq!(bind(":1:a:80"), Bind::All);
        assert_eq!(bind("*:1:a:80"), Bind::All);
        assert_eq!(bind("127.0.0.1:1:a:80"), Bind::Address("127.0.0.1".parse().unwrap()));
        assert_eq!(bind("[::]:1:a:80"), Bind::Address("::".parse().unwrap()));
        assert_eq!(bind("here:1:a:80"), Bind::Name("here".to_owned()));
        let remote = RemoteForward::parse("1:A:80").unwrap();
        assert_eq!(remote.target, Target::parse("a:80").unwrap());
    }

    #[test]
    fn paths_of_the_client_may_be_relative_and_those_of_the_server_are_absolute() {
        assert_eq!(local("./in.sock:a:80"), Ok("/conf/in.sock -> a:80".to_owned()));
        assert_eq!(local("x/in.sock:a:80"), Ok("/conf/x/in.sock -> a:80".to_owned()));
        assert_eq!(remote("80:./db.sock"), Ok("localhost:80 -> /conf/db.sock".to_owned()));
        let message = "'./db.sock': a path at the server begins with /";
        assert_eq!(local("80:./db.sock"), Err(message.to_owned()));
        assert_eq!(remote("./db.sock:a:80"), Err(message.to_owned()));
        let here = std::env::current_dir().unwrap();
        let parsed = LocalForward::parse("./in.sock:a:80").unwrap();
        assert_eq!(parsed.listen, Endpoint::Unix(here.join("in.sock")));
        let home = local("~/in.sock:a:80").unwrap();
        assert!(home.starts_with('/') && home.ends_with("/in.sock -> a:80"), "{home}");
    }

    #[test]
    fn wrong_forwards_say_what_to_write() {
        let long = format!("/{}:a:80", "x".repeat(107));
        let shape =
            "write [BIND:]PORT:HOST:PORT; a path stands in place of [BIND:]PORT or HOST:PORT";
        for (spec, message) in [
            ("", "the target is missing; write [BIND:]PORT:HOST:PORT"),
            ("8080", "the target is missing; write [BIND:]PORT:HOST:PORT"),
            ("*:8080", "the target is missing; write [BIND:]PORT:HOST:PORT"),
            ("/run/in.sock", shape),
            ("/run/in.sock:80", shape),
            ("8080:a:/run/x:80", shape),
            ("/run/in.sock:8080:a:80", shape),
            ("8080:a:80:81:82", "there are too many colons; IPv6 addresses stand in brackets"),
            ("8080:::1:80", "there are too many colons; IPv6 addresses stand in brackets"),
            ("http:a:80", "'http' is no port; a port is a number up to 65535"),
            ("8080:a:http", "'http' is no port; a port is a number up to 65535"),
            ("8080:a:", "'' is no port; a port is a number up to 65535"),
            ("65536:a:80", "'65536' is no port; a port is a number up to 65535"),
            ("+80:a:80", "'+80' is no port; a port is a number up to 65535"),
            ("-1:a:80", "'-1' is no port; a port is a number up to 65535"),
            ("8080:a:0", "there is no port 0 to connect to"),
            ("8080::80", "the host's name is empty"),
            ("8080:a b:80", "'a b' is no host: there is a blank in it"),
            ("me@x:8080:a:80", "there are no user names here; leave out 'me@': x"),
            ("[::1:8080:a:80", "a bracket is not closed"),
            ("[1:2]:8080:a:80", "'[1:2]' is no host: it is no IPv6 address"),
            (&long, "the path of a unix socket has at most 107 bytes"),
        ] {
            assert_eq!(local(spec), Err(message.to_owned()), "{spec}");
            if !message.starts_with("the target is missing") {
                assert_eq!(remote(spec), Err(message.to_owned()), "{spec}");
            }
        }
        for spec in ["1080", "*:1080", "[::1]:1080"] {
            let message =
                "a SOCKS proxy at the server is not supported; write [BIND:]PORT:HOST:PORT";
            assert_eq!(remote(spec), Err(message.to_owned()), "{spec}");
        }
    }

    #[test]
    fn a_socks_proxy_has_a_port_and_maybe_an_address() {
        for (spec, expected) in [
            ("1080", Ok("localhost:1080")),
            ("localhost:1080", Ok("localhost:1080")),
            (":1080", Ok("*:1080")),
            ("*:1080", Ok("*:1080")),
            ("192.0.2.1:1080", Ok("192.0.2.1:1080")),
            ("[::1]:1080", Ok("[::1]:1080")),
            ("", Err("'' is no port; a port is a number up to 65535")),
            ("socks", Err("'socks' is no port; a port is a number up to 65535")),
            ("/run/s", Err("a SOCKS proxy listens on [BIND:]PORT only")),
            ("1080:/run/s", Err("write [BIND:]PORT, such as 1080")),
            ("1080:a:80", Err("write [BIND:]PORT, such as 1080")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(parse_socks(spec).map(|at| at.to_string()), expected, "{spec}");
        }
    }

    #[test]
    fn standard_input_and_output_have_a_host_and_a_port() {
        for (spec, expected) in [
            ("Host.example:22", Ok("host.example:22")),
            ("10.0.0.1:22", Ok("10.0.0.1:22")),
            ("[fd00::1]:22", Ok("[fd00::1]:22")),
            ("host.example", Err("write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address")),
            ("fd00::1:22", Err("write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address")),
            ("/run/s", Err("write HOST:PORT, or [ADDRESS]:PORT for an IPv6 address")),
            ("host:0", Err("there is no port 0 to connect to")),
            ("host:ssh", Err("'ssh' is no port; a port is a number up to 65535")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(parse_stdio(spec), expected, "{spec}");
        }
    }
}
