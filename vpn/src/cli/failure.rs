//! Failures as the user sees them: one line, maybe a hint, and an exit code.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use vpn_suite::RegistryError;

use crate::config::{BUILT_IN, ConfigError, DEFAULT_PATH, Settings};
use crate::files::{FileError, FileProblem};
use crate::net::{ClassicIoError, DialError, ListenError, SealedIoError};
use crate::output::{Reason, Stream, StreamError, chain, one_line};
use crate::session::{Blame, ClientError, TransferError};
use crate::trust::TrustError;
use vpn_proto::HandshakeError;
use vpn_proto::sealed::{Alert, SealedError};

/// The exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Usage or configuration.
    Usage = 2,
    /// The network.
    Network = 3,
    /// The negotiation of cipher or key.
    Negotiation = 4,
    /// The server denied access.
    Denied = 5,
    /// The server has another key than expected, or an unknown one.
    ServerKey = 6,
    /// A message was cut or rejected.
    Rejected = 7,
    /// A rule of this side.
    Policy = 8,
    /// Something on this machine: standard output, descriptors, memory.
    Local = 9,
    /// No room now.
    Busy = 10,
    /// Ctrl-C at the prompt, as shells count it.
    Interrupted = 130,
    /// A failure of the program where the exit code of a command at the server was expected, as ssh has
    /// it.
    Exec = 255,
}

impl From<Blame> for Exit {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Busy => Self::Busy,
            Blame::Denied => Self::Denied,
            Blame::Interrupted => Self::Interrupted,
            Blame::Local => Self::Local,
            Blame::Negotiation => Self::Negotiation,
            Blame::Network => Self::Network,
            Blame::Peer => Self::Rejected,
            Blame::Policy => Self::Policy,
            Blame::ServerKey => Self::ServerKey,
            Blame::Usage => Self::Usage,
        }
    }
}

/// A reason to end with an exit code other than 0.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        // Text from files, arguments and peers is escaped here.
        Self { exit, message: one_line(&message.to_string()), hint: None }
    }

    /// A failure of this machine, with the error of the system.
    pub(super) fn local(what: &str, at: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Exit::Local, format_args!("{what} {at}: {}", Reason(error)))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(one_line(&hint.into()));
        self
    }

    /// Adds a hint after the one that is there.
    pub(super) fn hint_too(self, hint: &str) -> Self {
        let hint = match &self.hint {
            Some(first) => format!("{first}; {hint}"),
            None => hint.to_owned(),
        };
        self.hint(hint)
    }

    /// The failure of a client, with a hint that depends on its settings.
    pub(super) fn of_client(error: ClientError, settings: &Settings) -> Self {
        let change = match &error {
            ClientError::Sealed(SealedIoError::Sealed(SealedError::NothingInCommon {
                what: "cipher suite",
                theirs,
                ..
            })) => {
                let best = theirs.split(", ").next().unwrap_or_default();
                let change = settings.how_to_enable(best);
                Some(format!("{change}; 64-bit blocks need --allow-64bit too"))
            }
            _ => None,
        };
        let failure = Self::from(error);
        match change {
            Some(change) => failure.hint(change),
            None => failure,
        }
    }

    /// Adds a hint to `--explain` if the negotiation failed and there is no other hint.
    pub(super) fn hint_at_explain(self) -> Self {
        match self.exit {
            Exit::Negotiation if self.hint.is_none() => {
                self.hint("run it again with --explain to see what happened and what may help")
            }
            _ => self,
        }
    }

    /// The same failure where the exit code of a command was expected. An interruption stays one.
    pub(super) fn instead_of_command(self) -> Self {
        match self.exit {
            Exit::Interrupted => self,
            _ => Self { exit: Exit::Exec, ..self },
        }
    }

    /// Prints the failure on standard error, and returns the exit code. An interruption is not
    /// printed.
    pub(super) fn report(&self) -> ExitCode {
        if self.exit != Exit::Interrupted {
            Stream::tell(&self.message);
        }
        if let Some(hint) = &self.hint {
            Stream::tell(format_args!("hint: {hint}"));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::new(Exit::Usage, chain(&error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let failure = Self::new(Exit::Usage, chain(&error));
        match error {
            ConfigError::File(FileError { problem: FileProblem::Missing, .. }) => {
                failure.hint(format!(
                    "without --config, {DEFAULT_PATH} in the current folder is read, or else a \
                 built-in default; `vpn suites --show-config` prints that default as a start"
                ))
            }
            ConfigError::File(error) => error.into(),
            _ => failure,
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let (failure, hint) = match error {
            TrustError::File(error) => return error.into(),
            error => (Self::new(Exit::Usage, chain(&error)), error.hint()),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// If a file cannot be read or trusted, the configuration is wrong, whichever option names the
/// file. If it cannot be written, this machine has a problem.
impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let exit = match error.is_about_writing() {
            true => Exit::Local,
            false => Exit::Usage,
        };
        let failure = Self::new(exit, &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let failure = Self::new(Exit::Network, chain(&error));
        match error.source.kind() {
            ErrorKind::AddrInUse => {
                failure.hint("another server may be running; choose a port with --port")
            }
            ErrorKind::PermissionDenied => failure.hint("choose a port above 1023 with --port"),
            _ => failure,
        }
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::new(Exit::Local, error)
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        Self::new(error.blame().into(), chain(&error))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(error.blame().into(), chain(&error));
        match hint_for(&error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn hint_for(error: &ClientError) -> Option<String> {
    Some(match error {
        // An advice that was tested with this session needs no other hint.
        ClientError::Advised { error, advice } => match hint_for(error) {
            Some(hint) if !advice.is_certain => format!("{hint}; or {advice}"),
            _ => advice.to_string(),
        },
        ClientError::Untrusted(untrusted) => untrusted.hint.clone(),
        ClientError::Sealed(SealedIoError::NoAnswer) => {
            "or it does not speak the sealed profile, or it refuses clients that connect too often"
                .to_owned()
        }
        ClientError::Sealed(SealedIoError::Sealed(error)) => match error {
            SealedError::Alert(Alert::AccessDenied) => {
                "the server does not say why; its log does, and its authorized_clients has to \
                 list our key (vpn fingerprint shows it)"
                    .to_owned()
            }
            SealedError::Malformed("preface") => {
                "this is no server of the sealed profile".to_owned()
            }
            // `of_client` has this hint, because it depends on the settings.
            SealedError::NothingInCommon { what: "cipher suite", .. } => return None,
            SealedError::NothingInCommon { theirs, .. } | SealedError::KexRetry { theirs, .. } => {
                format!("add --kex {}", theirs.replace(", ", ","))
            }
            SealedError::PskNotAccepted => "does the server have the same PSK?".to_owned(),
            _ => return None,
        },
        ClientError::Listen(text) if text.ends_with("in use") => {
            "another program listens there; choose another port".to_owned()
        }
        ClientError::Dial(DialError { to, source }) => match source.kind() {
            ErrorKind::ConnectionRefused => format!("is a server listening on {to}?"),
            _ => return None,
        },
        ClientError::Handshake(ClassicIoError::Handshake(error)) => match error {
            HandshakeError::Closed { awaited } if awaited.contains("choice") => {
                "many servers close without a word when they support none of the ciphers offered, \
                 or cannot read the proposal; it may speak the sealed profile only: try --sealed, or \
                 `vpn probe HOST`"
                    .to_owned()
            }
            HandshakeError::Refused { text } if text.starts_with(b"Could not agree") => {
                "list a cipher that the server supports in the configuration (--config)".to_owned()
            }
            _ => return None,
        },
        ClientError::Handshake(ClassicIoError::TimedOut) => {
            "the server may speak another dialect; see --dialect".to_owned()
        }
        _ => return None,
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A hint above names the built-in configuration, so there has to be one.
const _: () = assert!(!BUILT_IN.is_empty());

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::net::BUSY as TOO_MANY;
    use crate::output::Stream;
    use crate::session::Untrusted;
    use crate::term::ConsoleClosed;
    use vpn_proto::SessionError;
    use vpn_proto::classic::{Advice, LineEnd};
    use vpn_proto::sealed::{KexError, Undelivered};

    /// Every code but 0, with its meaning in README.
    const TABLE: [(Exit, &str); 11] = [
        (
            Exit::Usage,
            "usage or configuration: an option, a configuration, a key or a file of trusted keys",
        ),
        (Exit::Network, "network: cannot listen, connect or go on; no answer in time"),
        (Exit::Negotiation, "negotiation: no cipher or key could be agreed on"),
        (
            Exit::Denied,
            "access denied: the server does not let us in, or does not permit the service",
        ),
        (Exit::ServerKey, "the server's key is unknown, or another one than expected"),
        (
            Exit::Rejected,
            "truncated or rejected: the peer closed, refused a message, or could not pass on every byte",
        ),
        (
            Exit::Policy,
            "policy: a rule of ours forbids it, such as speaking classic to a server with a known key",
        ),
        (Exit::Local, "this machine: standard output cannot be written, and the like"),
        (Exit::Busy, "busy: there is no room now; try again later"),
        (Exit::Interrupted, "Ctrl-C at the prompt"),
        (
            Exit::Exec,
            "`--exec`: the program itself failed; all other codes are those of the command",
        ),
    ];

    #[test]
    fn readme_lists_every_exit_code() {
        let readme = include_str!("../../../README.md");
        let section = readme.split("## Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<&str> =
            section.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
        let expected: Vec<String> = TABLE
            .iter()
            .map(|(exit, meaning)| format!("| {} | {meaning} |", *exit as u8))
            .collect();
        assert_eq!(rows, expected);
    }

    fn system() -> io::Error {
        io::Error::from_raw_os_error(28)
    }

    fn sealed(error: SealedError) -> ClientError {
        ClientError::Sealed(SealedIoError::Sealed(error))
    }

    /// Every failure of a client, with its exit code.
    #[expect(clippy::too_many_lines, reason = "one table of all failures")]
    fn causes() -> Vec<(ClientError, Exit)> {
        let text = || "x".to_owned();
        let advice = Advice { setting: text(), preset: None, why: text(), is_certain: true };
        let advised = ClientError::Advised {
            error: Box::new(SessionError::Closed.into()),
            advice: advice.into(),
        };
        let in_common =
            || SealedError::NothingInCommon { what: "key exchange", theirs: text(), ours: text() };
        let handshake = |error| ClientError::Handshake(ClassicIoError::Handshake(error));
        let alert = |alert| sealed(SealedError::Alert(alert));
        vec![
            (advised, Exit::Rejected),
            (ClientError::Input(ErrorKind::InvalidData.into()), Exit::Usage),
            (ClientError::Input(system()), Exit::Local),
            (ClientError::Console(ConsoleClosed), Exit::Local),
            (ClientError::Interrupted, Exit::Interrupted),
            (ClientError::Untrusted(Untrusted { reason: text(), hint: text() }), Exit::ServerKey),
            (ClientError::Dial(DialError { to: text(), source: system() }), Exit::Network),
            (ClientError::Io(system()), Exit::Network),
            (ClientError::NoReply(Duration::from_secs(30)), Exit::Network),
            (ClientError::Handshake(ClassicIoError::Io(system())), Exit::Network),
            (ClientError::Handshake(ClassicIoError::TimedOut), Exit::Network),
            (handshake(HandshakeError::Closed { awaited: "its choice" }), Exit::Negotiation),
            (
                handshake(HandshakeError::NoSuiteInCommon {
                    line_end: LineEnd::None,
                    offered: text(),
                    enabled: text(),
                }),
                Exit::Negotiation,
            ),
            (handshake(HandshakeError::Refused { text: vec![b'x'] }), Exit::Negotiation),
            (handshake(HandshakeError::Refused { text: TOO_MANY.to_vec() }), Exit::Busy),
            (ClientError::Handshake(ClassicIoError::Full), Exit::Busy),
            (SessionError::TextTooLong { len: 2, limit: 1 }.into(), Exit::Usage),
            (SessionError::Closed.into(), Exit::Rejected),
            (SessionError::BadHmac { pending: 1 }.into(), Exit::Rejected),
            (SessionError::Truncated { pending: 1 }.into(), Exit::Rejected),
            (ClientError::Sealed(SealedIoError::Io(system())), Exit::Network),
            (ClientError::Sealed(SealedIoError::NoAnswer), Exit::Network),
            (ClientError::Sealed(SealedIoError::Silent), Exit::Network),
            (ClientError::Sealed(SealedIoError::TimedOut), Exit::Network),
            (ClientError::Sealed(SealedIoError::Full), Exit::Busy),
            (sealed(SealedError::Authentication("x")), Exit::ServerKey),
            (sealed(SealedError::ServerKey { got: [0; 32] }), Exit::ServerKey),
            (sealed(SealedError::Busy), Exit::Busy),
            (sealed(SealedError::KexRetry { theirs: text(), suites: text() }), Exit::Negotiation),
            (sealed(in_common()), Exit::Negotiation),
            (sealed(SealedError::PskNotAccepted), Exit::Negotiation),
            (sealed(SealedError::Limit("x")), Exit::Policy),
            (sealed(SealedError::BadRecord), Exit::Rejected),
            (sealed(SealedError::Cut), Exit::Rejected),
            (sealed(SealedError::Gate), Exit::Rejected),
            (sealed(SealedError::Internal), Exit::Rejected),
            (sealed(SealedError::Kex(KexError::OutOfRange)), Exit::Rejected),
            (sealed(SealedError::Malformed("x")), Exit::Rejected),
            (sealed(SealedError::Replayed), Exit::Rejected),
            (sealed(SealedError::Unexpected { expected: 1, got: 2 }), Exit::Rejected),
            (alert(Alert::AccessDenied), Exit::Denied),
            (alert(Alert::Busy), Exit::Busy),
            (alert(Alert::Draining(5)), Exit::Busy),
            (alert(Alert::Policy), Exit::Policy),
            (alert(Alert::Timeout), Exit::Network),
            (alert(Alert::CloseNotify), Exit::Rejected),
            (alert(Alert::ProtocolError), Exit::Rejected),
            (alert(Alert::Replaced), Exit::Rejected),
            (alert(Alert::Undelivered(Undelivered::Output)), Exit::Rejected),
            (ClientError::Busy(text()), Exit::Busy),
            (ClientError::NotPermitted(text()), Exit::Denied),
            (TransferError::Input(system()).into(), Exit::Local),
            (TransferError::Output(system()).into(), Exit::Local),
            (TransferError::ReaderGone.into(), Exit::Local),
            (TransferError::Cut(system()).into(), Exit::Rejected),
            (TransferError::Stopped.into(), Exit::Rejected),
            (TransferError::EndedEarly.into(), Exit::Rejected),
            (
                TransferError::Undelivered { by: "the server", what: Undelivered::Output }.into(),
                Exit::Rejected,
            ),
            (TransferError::Sealed(SealedIoError::Silent).into(), Exit::Network),
            (alert(Alert::Unknown(99)), Exit::Rejected),
        ]
    }

    #[test]
    fn every_failure_has_its_exit_code_and_a_text_without_system_error_numbers() {
        for (error, exit) in causes() {
            let shown = format!("{error:?}");
            let failure = Failure::from(error);
            assert_eq!(failure.exit, exit, "{shown}");
            assert!(
                !failure.message.is_empty() && !failure.message.contains("os error"),
                "{shown}"
            );
            assert!(TABLE.iter().any(|(known, _)| *known == exit));
        }
        let full = Failure::from(Stream::Out.failed(system()));
        assert_eq!(full.exit, Exit::Local);
        assert_eq!(full.message, "cannot write standard output: no space left on device");
    }
}
