//! The client's end of forwards that listen at the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use super::forwards::RemoteForward;
use super::listen_text::at_port;
use super::remote_forward::ACCEPTED;
use crate::net::{Backoff, ChannelStream, LocalSocket, Multiplexer, connect, pump};
use crate::output::Reason;
use crate::session::{ClientError, Output, Target};
use vpn_proto::Printable;
use vpn_proto::sealed::{Answer, OpenStatus, Question};

/// The forwards of one session that listen at the server.
pub(super) struct RemoteClient<'a> {
    channels: &'a Multiplexer,
    forwards: &'a [RemoteForward],
    /// The targets by the numbers of their listeners.
    targets: Arc<Mutex<HashMap<u32, Target>>>,
}

impl<'a> RemoteClient<'a> {
    pub(super) fn new(channels: &'a Multiplexer, forwards: &'a [RemoteForward]) -> Self {
        Self { channels, forwards, targets: Arc::default() }
    }

    /// Asks the server to listen for every forward. What it cannot do now is asked again, with pauses, if
    /// `is_patient`: the other forwards of the session work meanwhile.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotPermitted`] if it may not, [`ClientError::RemoteListen`] if it cannot.
    pub(super) async fn listen(&self, out: &Output, is_patient: bool) -> Result<(), ClientError> {
        let all = self.forwards.iter().map(|forward| self.listen_for(forward, out, is_patient));
        try_join_all(all).await.map(drop)
    }

    async fn listen_for(
        &self,
        forward: &RemoteForward,
        out: &Output,
        is_patient: bool,
    ) -> Result<(), ClientError> {
        let at = forward.listen.to_string();
        let mut backoff = Backoff::new();
        loop {
            let asked = self.channels.ask_with(Question::Listen(at.clone()), |number| {
                let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
                targets.insert(number, forward.target.clone());
            });
            match asked.await {
                Ok(Answer::Listening { port }) => {
                    let at = at_port(&at, port);
                    out.note(format!("The server listens at {at} for {}", forward.target)).await?;
                    return Ok(());
                }
                Ok(Answer::NotListening { status, text }) => {
                    let text = Printable(text.as_bytes()).to_string();
                    if matches!(status, OpenStatus::NotPermitted | OpenStatus::Unknown(_)) {
                        return Err(ClientError::NotPermitted(text));
                    }
                    let error = ClientError::RemoteListen(text);
                    if !is_patient {
                        return Err(error);
                    }
                    // It may become possible: a dead session has the address, or the server has no
                    // descriptors left.
                    let pause = backoff.next_delay();
                    log::warn!("{error}; asking again in {:.1} s", pause.as_secs_f32());
                    sleep(pause).await;
                }
                // The session is over, and its task says why.
                Ok(Answer::Unlistened(_)) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Serves a channel that the server has opened.
    pub(super) fn serve(&self, channel: ChannelStream, kind: &str, argument: &[u8]) {
        if kind != ACCEPTED {
            return channel.refuse(OpenStatus::UnknownKind, "there is no such kind of channel");
        }
        let number = argument.first_chunk().map(|number| u32::from_be_bytes(*number));
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        match number.and_then(|number| targets.get(&number)) {
            Some(target) => drop(tokio::spawn(forward(channel, target.clone()))),
            None => channel.refuse(OpenStatus::NotPermitted, "there is no such listener"),
        }
    }
}

/// Connects to the target of a forward, and moves bytes.
async fn forward(channel: ChannelStream, target: Target) {
    let socket = match &target {
        Target::Host(host, port) => match connect(host.as_str(), *port).await {
            Ok(stream) => LocalSocket::tcp(stream),
            Err(error) => {
                let text = format!("{error}: {}", Reason(&error.source));
                log::warn!("forward to {target}: {text}");
                return channel.refuse(OpenStatus::Refused, &text);
            }
        },
        #[cfg(unix)]
        Target::Path(path) => match tokio::net::UnixStream::connect(path).await {
            Ok(stream) => LocalSocket::unix(stream),
            Err(error) => {
                let text = Reason(&error).to_string();
                log::warn!("forward to {target}: {text}");
                return channel.refuse(OpenStatus::Refused, &text);
            }
        },
        #[cfg(not(unix))]
        Target::Path(_) => {
            return channel.refuse(OpenStatus::Unreachable, "this system has no such sockets");
        }
    };
    if channel.accept().is_ok()
        && let Err(error) = pump(socket, channel).await
    {
        log::debug!("forward to {target}: {error}");
    }
}
