//! The options of a client that forwards connections. They are called as in ssh(1).

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::service::{Endpoint, Forwards, LocalForward, RemoteForward, parse_socks, parse_stdio};

/// What a session for something else than forwards has. The names are those of the fields.
const OTHER_USES: [&str; 7] =
    ["stdio", "exec", "pipe", "service", "messages", "quiet", "insecure_classic"];

/// Forwards, and how the session is kept.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Forwards (sealed profile)")]
pub(super) struct ForwardArgs {
    /// Listen here, and connect from the server: [BIND:]PORT:HOST:PORT, or paths of unix sockets;
    /// may be given several times
    #[arg(short = 'L', long, value_name = "SPEC", value_parser = LocalForward::parse,
          conflicts_with_all = OTHER_USES)]
    pub(super) forward: Vec<LocalForward>,
    /// Listen at the server, and connect from here: [BIND:]PORT:HOST:PORT, or paths of unix
    /// sockets; may be given several times
    #[arg(short = 'R', long, value_name = "SPEC", value_parser = RemoteForward::parse,
          conflicts_with_all = OTHER_USES)]
    pub(super) remote_forward: Vec<RemoteForward>,
    /// Be a SOCKS5 proxy here, and connect from the server; may be given several times
    #[arg(short = 'D', long, value_name = "[BIND:]PORT", value_parser = parse_socks,
          conflicts_with_all = OTHER_USES)]
    pub(super) socks: Vec<Endpoint>,
    /// Connect standard input and output to this target, from the server
    #[arg(short = 'W', long, value_name = "HOST:PORT", value_parser = parse_stdio,
          conflicts_with_all = ["exec", "pipe", "service", "messages", "quiet", "insecure_classic"])]
    pub(super) stdio: Option<String>,
    /// Run the command that has this name in the server's configuration
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(),
          conflicts_with_all = ["pipe", "service", "messages", "quiet", "insecure_classic"])]
    pub(super) exec: Option<String>,
    /// Only forward; this is the default if there are forwards
    #[arg(short = 'N',
          conflicts_with_all = ["exec", "pipe", "service", "messages", "quiet", "insecure_classic"])]
    pub(super) only_forward: bool,
    /// Connect again when the connection is lost
    #[arg(long, conflicts_with_all = ["no_reconnect", "insecure_classic"])]
    pub(super) reconnect: bool,
    /// Do not connect again when the connection is lost
    #[arg(long, conflicts_with = "insecure_classic")]
    pub(super) no_reconnect: bool,
    /// How many sessions carry the channels, 1 to 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16),
          conflicts_with = "insecure_classic")]
    pub(super) carriers: Option<u8>,
    /// Do not show the progress of a pipe
    #[arg(long, conflicts_with = "insecure_classic")]
    pub(super) no_progress: bool,
}

impl ForwardArgs {
    /// The forwards of the session.
    pub(super) fn forwards(&self) -> Forwards {
        Forwards {
            local: self.forward.clone(),
            remote: self.remote_forward.clone(),
            socks: self.socks.clone(),
        }
    }

    /// Adds forwards behind those that are there.
    pub(super) fn add(&mut self, more: Forwards) {
        self.forward.extend(more.local);
        self.remote_forward.extend(more.remote);
        self.socks.extend(more.socks);
    }

    /// Whether to connect again when the connection is lost. `None` if the user did not say.
    pub(super) fn reconnect(&self) -> Option<bool> {
        match (self.reconnect, self.no_reconnect) {
            (false, false) => None,
            (reconnect, _) => Some(reconnect),
        }
    }

    /// Decides whether to connect again when the connection is lost.
    pub(super) fn set_reconnect(&mut self, reconnect: Option<bool>) {
        self.reconnect = reconnect == Some(true);
        self.no_reconnect = reconnect == Some(false);
    }

    /// The first of these options that is given. All of them are for the sealed profile.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            ("--forward", !self.forward.is_empty()),
            ("--remote-forward", !self.remote_forward.is_empty()),
            ("--socks", !self.socks.is_empty()),
            ("--stdio", self.stdio.is_some()),
            ("--exec", self.exec.is_some()),
            ("-N", self.only_forward),
            ("--reconnect", self.reconnect),
            ("--no-reconnect", self.no_reconnect),
            ("--carriers", self.carriers.is_some()),
            ("--no-progress", self.no_progress),
        ]
        .into_iter()
        .find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, ClientArgs, Command};

    fn client(args: &[&str]) -> Result<ClientArgs, String> {
        let all = ["vpn", "client"].iter().chain(args);
        match Cli::try_parse_from(all).map(|cli| cli.command) {
            Ok(Command::Client(args)) => Ok(args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(crate::cli::usage(&error).to_string()),
        }
    }

    #[test]
    fn forwards_have_the_options_of_ssh() {
        let short = ["-L", "8080:a:80", "-L", "/run/s:b:81", "-R", "*:0:c:82", "-D", "1080", "-N"];
        let args = client(&short).unwrap();
        let long = [
            "--forward=8080:a:80",
            "--forward=/run/s:b:81",
            "--remote-forward=*:0:c:82",
            "--socks=1080",
        ];
        let forwards = args.forwards();
        assert_eq!(client(&long).unwrap().forwards(), forwards);
        let listen = |at: &Endpoint| at.to_string();
        let local: Vec<_> = forwards.local.iter().map(|f| listen(&f.listen)).collect();
        assert_eq!(local, ["localhost:8080", "/run/s"]);
        assert_eq!((forwards.local[0].target.as_str(), forwards.local.len()), ("a:80", 2));
        assert_eq!(forwards.remote[0].target.to_string(), "c:82");
        assert_eq!(listen(&forwards.remote[0].listen), "*:0");
        assert_eq!(listen(&forwards.socks[0]), "localhost:1080");
        assert!(args.forwards.only_forward && !args.has_other_use());

        assert!(client(&[]).unwrap().forwards().is_empty());
        let args = client(&["-W", "[::1]:22", "-N"]).unwrap();
        assert_eq!(args.forwards.stdio.as_deref(), Some("[::1]:22"));
        assert!(args.has_other_use());
        let args = client(&["--exec", "backup", "--carriers", "16", "--no-progress"]).unwrap();
        assert_eq!(args.forwards.exec.as_deref(), Some("backup"));
        assert_eq!((args.forwards.carriers, args.forwards.no_progress), (Some(16), true));
    }

    #[test]
    fn the_server_is_named_with_or_without_host() {
        for (args, host) in [
            (&[][..], "localhost"),
            (&["work"], "work"),
            (&["--host", "work"], "work"),
            (&["-L", "1:a:80", "work"], "work"),
            (&["work", "-L", "1:a:80"], "work"),
        ] {
            assert_eq!(client(args).unwrap().host(), host, "{args:?}");
        }
        let error = client(&["work", "--host", "home"]).unwrap_err();
        assert!(error.contains("'--host <HOST>'") && error.contains("'[NAME]'"), "{error}");
        assert!(client(&["work", "home"]).unwrap_err().contains("'home'"));
    }

    #[test]
    fn connecting_again_is_on_off_or_not_decided() {
        assert_eq!(client(&[]).unwrap().forwards.reconnect(), None);
        let mut args = client(&["--reconnect"]).unwrap().forwards;
        assert_eq!(args.reconnect(), Some(true));
        for decision in [Some(false), None, Some(true)] {
            args.set_reconnect(decision);
            assert_eq!(args.reconnect(), decision);
        }
        assert_eq!(client(&["--no-reconnect"]).unwrap().forwards.reconnect(), Some(false));
    }

    #[test]
    fn a_session_is_for_one_thing() {
        let forwards = [["-L", "1:a:80"], ["-R", "1:a:80"], ["-D", "1080"]];
        for one in forwards {
            for other in forwards {
                assert!(client(&[one, other].concat()).is_ok(), "{one:?} {other:?}");
            }
        }
        let others: [&[&str]; 5] =
            [&["-W", "a:22"], &["--exec", "x"], &["--pipe"], &["--service", "echo"], &["-m", "x"]];
        let mut pairs = 0;
        for (at, one) in others.iter().enumerate() {
            let behind = others[at + 1..].iter().map(|other| other.to_vec());
            for other in behind.chain(forwards.iter().map(|forward| forward.to_vec())) {
                let both = [one, &other[..]].concat();
                // A service may have messages.
                if both != ["--service", "echo", "-m", "x"] {
                    let error = client(&both).unwrap_err();
                    assert!(error.contains("cannot be used with"), "{both:?}: {error}");
                    assert!(!error.contains('\n'), "{error}");
                    pairs += 1;
                }
            }
        }
        assert_eq!(pairs, 24);
        for more in
            [&["--pipe"][..], &["--exec", "x"], &["-m", "x"], &["-q"], &["--insecure-classic"]]
        {
            assert!(client(&[&["-N"], more].concat()).is_err(), "{more:?}");
        }
        assert!(client(&["--reconnect", "--no-reconnect"]).is_err());
    }

    #[test]
    fn wrong_values_are_one_clear_line() {
        for (args, message) in [
            (
                ["-L", "8080"],
                "invalid value '8080' for '--forward <SPEC>': the target is missing; write \
                 [BIND:]PORT:HOST:PORT",
            ),
            (
                ["-R", "1080"],
                "invalid value '1080' for '--remote-forward <SPEC>': a SOCKS proxy at the server is \
                 not supported; write [BIND:]PORT:HOST:PORT",
            ),
            (
                ["-D", "a:b:c"],
                "invalid value 'a:b:c' for '--socks <[BIND:]PORT>': write [BIND:]PORT, such as 1080",
            ),
            (
                ["-W", "host"],
                "invalid value 'host' for '--stdio <HOST:PORT>': write HOST:PORT, or \
                 [ADDRESS]:PORT for an IPv6 address",
            ),
            (["--carriers", "17"], "invalid value '17' for '--carriers <N>': 17 is not in 1..=16"),
            (["--carriers", "0"], "invalid value '0' for '--carriers <N>': 0 is not in 1..=16"),
            (["--exec", ""], "a value is required for '--exec <NAME>' but none was supplied"),
        ] {
            assert_eq!(client(&args).map(|_| ()), Err(message.to_owned()), "{args:?}");
        }
    }

    #[test]
    fn all_of_them_are_for_the_sealed_profile() {
        for (args, flag) in [
            (&["-L", "1:a:80"][..], "--forward"),
            (&["-R", "1:a:80"], "--remote-forward"),
            (&["-D", "1080"], "--socks"),
            (&["-W", "a:22"], "--stdio"),
            (&["--exec", "x"], "--exec"),
            (&["-N"], "-N"),
            (&["--reconnect"], "--reconnect"),
            (&["--no-reconnect"], "--no-reconnect"),
            (&["--carriers", "2"], "--carriers"),
            (&["--no-progress"], "--no-progress"),
        ] {
            assert_eq!(client(args).unwrap().sealed_only(), Some(flag));
        }
        assert_eq!(client(&["work"]).unwrap().sealed_only(), None);
    }
}
