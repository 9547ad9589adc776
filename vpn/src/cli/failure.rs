//! What went wrong, for the person at the terminal: one line, maybe a hint, and an exit code.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use vpn_suite::RegistryError;

use crate::config::{BUILT_IN, ConfigError, DEFAULT_PATH, Settings};
use crate::files::{FileError, FileProblem};
use crate::identity::IdentityError;
use crate::net::{DialError, ListenError, PumpError, SealedIoError};
use crate::proto::sealed::{Alert, SealedError};
use crate::proto::{HandshakeError, Printable, SessionError};
use crate::service::ClientError;

/// The exit codes of the program, as README lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Usage or configuration.
    Usage = 2,
    /// The network.
    Network = 3,
    /// The negotiation of cipher or key.
    Negotiation = 4,
    /// The server turned us away.
    Denied = 5,
    /// The server is not the one that it should be.
    ServerKey = 6,
    /// A message was cut or rejected.
    Rejected = 7,
    /// A rule of this side.
    Policy = 8,
    /// Something on this machine: standard output, descriptors, memory.
    Local = 9,
    /// Ctrl-C at the prompt, as shells count it.
    Interrupted = 130,
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
        // Whatever comes from files, arguments and peers is made fit for a terminal here.
        Self { exit, message: printable(&message.to_string()), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(printable(&hint.into()));
        self
    }

    /// A further hint, behind the one that it has.
    pub(super) fn hint_too(self, hint: &str) -> Self {
        let hint = match &self.hint {
            Some(first) => format!("{first}; {hint}"),
            None => hint.to_owned(),
        };
        self.hint(hint)
    }

    /// The failure of a client with these settings.
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

    /// A hint for failures that have none and are the peer's doing as much as ours.
    pub(super) fn hint_at_explain(self) -> Self {
        match self.exit {
            Exit::Negotiation if self.hint.is_none() => {
                self.hint("run it again with --explain to see what happened and what may help")
            }
            _ => self,
        }
    }

    /// Tells standard error; an interruption needs no words.
    pub(super) fn report(&self) -> ExitCode {
        if self.exit != Exit::Interrupted {
            eprintln!("vpn: {}", self.message);
        }
        if let Some(hint) = &self.hint {
            eprintln!("vpn: hint: {hint}");
        }
        ExitCode::from(self.exit as u8)
    }
}

fn printable(text: &str) -> String {
    Printable(text.as_bytes()).to_string()
}

/// An error with its causes, joined by colons.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {}", lower_first(&next.to_string()));
        cause = next.source();
    }
    text
}

/// The system's messages start with a capital and may end with `(os error N)`.
fn lower_first(text: &str) -> String {
    let text = text.find(" (os error").map_or(text, |at| &text[..at]);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
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

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let (failure, hint) = match error {
            IdentityError::File(error) => return error.into(),
            error => (Self::new(Exit::Usage, chain(&error)), error.hint()),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// A file that a user has named and that cannot be read, or not be trusted, is a wrong configuration,
/// whichever option names it. A file that cannot be written is this machine's trouble.
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

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            // A line that no message can carry is the user's to change.
            ClientError::Input(error) if error.kind() == ErrorKind::InvalidData => Exit::Usage,
            ClientError::Console(_) | ClientError::Input(_) => Exit::Local,
            ClientError::Interrupted => Exit::Interrupted,
            ClientError::Handshake(PumpError::Handshake(_)) => Exit::Negotiation,
            ClientError::Session(SessionError::TextTooLong { .. }) => Exit::Usage,
            ClientError::Session(_) => Exit::Rejected,
            ClientError::Untrusted(_) => Exit::ServerKey,
            ClientError::Sealed(SealedIoError::Sealed(error)) => match error {
                SealedError::Alert(Alert::AccessDenied) => Exit::Denied,
                SealedError::Authentication(_) | SealedError::ServerKey { .. } => Exit::ServerKey,
                SealedError::Busy | SealedError::Alert(Alert::Busy) => Exit::Network,
                SealedError::KexRetry { .. }
                | SealedError::NothingInCommon { .. }
                | SealedError::PskNotAccepted => Exit::Negotiation,
                SealedError::Limit(_) | SealedError::Alert(Alert::Policy) => Exit::Policy,
                _ => Exit::Rejected,
            },
            ClientError::Dial(_)
            | ClientError::Handshake(_)
            | ClientError::Io(_)
            | ClientError::NoReply(_)
            | ClientError::Sealed(_) => Exit::Network,
        };
        let failure = Self::new(exit, chain(&error));
        match hint_for(&error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn hint_for(error: &ClientError) -> Option<String> {
    Some(match error {
        ClientError::Untrusted(untrusted) => untrusted.hint.clone(),
        ClientError::Sealed(SealedIoError::NoAnswer) => {
            "or it does not speak the sealed profile, or turns away whoever comes too often"
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
            // What to change depends on the configuration, which the caller has.
            SealedError::NothingInCommon { what: "cipher suite", .. } => return None,
            SealedError::NothingInCommon { theirs, .. } | SealedError::KexRetry { theirs, .. } => {
                format!("add --kex {}", theirs.replace(", ", ","))
            }
            SealedError::PskNotAccepted => "does the server have the same PSK?".to_owned(),
            _ => return None,
        },
        ClientError::Dial(DialError { to, source }) => match source.kind() {
            ErrorKind::ConnectionRefused => format!("is a server listening on {to}?"),
            _ => return None,
        },
        ClientError::Handshake(PumpError::Handshake(error)) => match error {
            HandshakeError::Closed { awaited } if awaited.contains("choice") => {
                "many servers close without a word when they support none of the ciphers offered, \
                 or cannot read the proposal; -v tells more"
                    .to_owned()
            }
            HandshakeError::Refused { text } if text.starts_with(b"Could not agree") => {
                "list a cipher that the server supports in the configuration (--config)".to_owned()
            }
            _ => return None,
        },
        ClientError::Handshake(PumpError::TimedOut) => {
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

/// Checked here so that the hint above cannot promise what does not exist.
const _: () = assert!(!BUILT_IN.is_empty());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_like_ours() {
        let error = std::io::Error::from_raw_os_error(98);
        assert_eq!(lower_first(&error.to_string()), "address already in use");
        assert_eq!(lower_first("IPv6 is off"), "IPv6 is off");
    }
}
