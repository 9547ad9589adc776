//! Which failures of a client may go away by themselves.

use super::blame::Blame;
use super::error::ClientError;
use super::transfer::TransferError;
use crate::net::SealedIoError;
use vpn_proto::sealed::{Alert, SealedError};

/// Whether it may help to connect again after this failure, without a change of any setting.
///
/// The failures of the network, of a busy server and of the peer may be over at the next attempt. All
/// others stay until a user acts, and trying again would only hide them. The match has no wildcard, so a
/// new [`Blame`] does not compile until it has its row here.
pub fn may_help(error: &ClientError) -> bool {
    // The other session is ours too, as a rule. If both came back, they would replace each other forever.
    if is_replaced(error) {
        return false;
    }
    match error.blame() {
        Blame::Busy | Blame::Network | Blame::Peer => true,
        Blame::Denied
        | Blame::Interrupted
        | Blame::Local
        | Blame::Negotiation
        | Blame::Policy
        | Blame::ServerKey
        | Blame::Usage => false,
    }
}

/// Whether the server ended the session because another one replaced it.
fn is_replaced(error: &ClientError) -> bool {
    match error {
        ClientError::Advised { error, .. } => is_replaced(error),
        ClientError::Sealed(error) | ClientError::Transfer(TransferError::Sealed(error)) => {
            matches!(error, SealedIoError::Sealed(SealedError::Alert(Alert::Replaced)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Untrusted;
    use super::*;
    use crate::net::{ClassicIoError, DialError};
    use crate::term::ConsoleClosed;
    use std::io;
    use std::time::Duration;
    use vpn_proto::SessionError;

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    fn sealed(error: SealedError) -> ClientError {
        SealedIoError::Sealed(error).into()
    }

    fn alert(alert: Alert) -> ClientError {
        sealed(SealedError::Alert(alert))
    }

    #[test]
    fn failures_of_the_network_of_busy_servers_and_of_peers_may_go_away() {
        for error in [
            DialError { to: "h:1".to_owned(), source: refused() }.into(),
            ClientError::Io(refused()),
            ClientError::NoReply(Duration::from_secs(1)),
            SealedIoError::Silent.into(),
            SealedIoError::TimedOut.into(),
            SealedIoError::NoAnswer.into(),
            SealedIoError::Io(refused()).into(),
            alert(Alert::Timeout),
            ClientError::Busy("full".to_owned()),
            ClientError::Handshake(ClassicIoError::Full),
            SealedIoError::Full.into(),
            alert(Alert::Busy),
            alert(Alert::Draining(1000)),
            sealed(SealedError::Busy),
            sealed(SealedError::Cut),
            sealed(SealedError::BadRecord),
            alert(Alert::CloseNotify),
            alert(Alert::ProtocolError),
            ClientError::Session(SessionError::Closed),
            TransferError::Cut(refused()).into(),
            TransferError::EndedEarly.into(),
        ] {
            assert!(may_help(&error), "{error:?}");
        }
    }

    #[test]
    fn failures_that_a_user_has_to_mend_end_it_at_once() {
        let untrusted = Untrusted { reason: String::new(), hint: String::new() };
        for error in [
            alert(Alert::AccessDenied),
            ClientError::NotPermitted("no".to_owned()),
            ClientError::Untrusted(untrusted),
            sealed(SealedError::ServerKey { got: [0; 32] }),
            sealed(SealedError::PskNotAccepted),
            alert(Alert::Policy),
            sealed(SealedError::Limit("much")),
            ClientError::Interrupted,
            ClientError::Console(ConsoleClosed),
            ClientError::Input(refused()),
            ClientError::Input(io::ErrorKind::InvalidData.into()),
            TransferError::Input(refused()).into(),
            TransferError::Output(refused()).into(),
            TransferError::ReaderGone.into(),
            // The server says that another session of ours came after this one.
            alert(Alert::Replaced),
            TransferError::Sealed(SealedIoError::Sealed(SealedError::Alert(Alert::Replaced)))
                .into(),
        ] {
            assert!(!may_help(&error), "{error:?}");
        }
    }
}
