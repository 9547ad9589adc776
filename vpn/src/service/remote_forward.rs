//! Listeners on the server that clients ask for, and the connections to them (PROTOCOL.md §4.10).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::kind::ChannelContext;
use super::listen_text::at_port;
use crate::net::limits::LISTENERS;
use crate::net::{Listener, LocalSocket, Multiplexer, bind, pump};
use crate::output::Reason;
use crate::output::log::SESSION;
use crate::session::Doubts;
use crate::trust::{Grant, Host};
use vpn_proto::sealed::{Answer, OpenStatus, Question};

/// The kind of channel that a server opens for a connection to a listener.
pub(super) const ACCEPTED: &str = "accepted";
/// How long a listener of a session that has just ended may still be there.
const HANDOVER: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
/// How long a dead session of the client may take to end: the time for its answer, and some for its channels.
const DYING: Duration = Duration::from_secs(6);
/// How often the address is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a server waits after it could not accept a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// What ends the listeners of a session, by their numbers. It gets the number of the question.
type Stops = Arc<Mutex<HashMap<u32, oneshot::Sender<u32>>>>;

fn lock(stops: &Stops) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<u32>>> {
    stops.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The listeners of one session. They end with it.
#[derive(Debug)]
pub(super) struct SessionListeners {
    channels: Multiplexer,
    /// Of the client's sessions.
    doubts: Doubts,
    tasks: JoinSet<()>,
    stops: Stops,
}

impl SessionListeners {
    pub(super) fn new(channels: &Multiplexer, doubts: Doubts) -> Self {
        let (channels, stops) = (channels.clone(), Stops::default());
        Self { channels, doubts, tasks: JoinSet::new(), stops }
    }

    /// Answers a question of the client.
    pub(super) fn handle(&mut self, number: u32, question: Question, context: &ChannelContext) {
        while self.tasks.try_join_next().is_some() {}
        match question {
            // The listener's task answers, when its address is free.
            Question::Unlisten(listen) => {
                let stop = lock(&self.stops).remove(&listen);
                if stop.is_none_or(|stop| stop.send(number).is_err()) {
                    let missing = Answer::Unlistened(Some(OpenStatus::NoSuchName));
                    self.channels.answer(number, missing);
                }
            }
            Question::Listen(address) => self.listen(number, address, &context.grant),
        }
    }

    fn listen(&mut self, number: u32, address: String, grant: &Arc<Grant>) {
        let refuse = |status, text: String| Answer::NotListening { status, text };
        if lock(&self.stops).len() >= LISTENERS {
            let text = "the session has too many listeners".to_owned();
            return self.channels.answer(number, refuse(OpenStatus::TooMany, text));
        }
        let (stop, stopped) = oneshot::channel();
        lock(&self.stops).insert(number, stop);
        let listed = Listed { stops: self.stops.clone(), number };
        let (channels, doubts) = (self.channels.clone(), self.doubts.clone());
        let grant = grant.clone();
        self.tasks.spawn(async move {
            let _listed = listed;
            let listeners = match listen_permitted(&address, &grant, &doubts).await {
                Ok(listeners) => listeners,
                Err((status, text)) => {
                    log::info!(target: SESSION, "listen {address}: refused: {text}");
                    return channels.answer(number, refuse(status, text));
                }
            };
            let port = listeners.first().map_or(0, Listener::port);
            log::info!(target: SESSION, "listening at {} for a client", at_port(&address, port));
            channels.answer(number, Answer::Listening { port });
            let mut accepting = JoinSet::new();
            for listener in listeners {
                accepting.spawn(accept_all(listener, number, channels.clone()));
            }
            if let Ok(asked) = stopped.await {
                accepting.shutdown().await;
                channels.answer(asked, Answer::Unlistened(None));
            }
        });
    }
}

/// Removes a listener from those of its session when its task ends.
struct Listed {
    stops: Stops,
    number: u32,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.stops).remove(&self.number);
    }
}

/// Listens at an address if the client may. If the address is in use, another session of the client may
/// have it that is dead: after a cut, the server may not have noticed yet. Such a session is waited for.
async fn listen_permitted(
    address: &str,
    grant: &Grant,
    doubts: &Doubts,
) -> Result<Vec<Listener>, (OpenStatus, String)> {
    for pause in HANDOVER {
        match listen_once(address, grant) {
            Err((OpenStatus::Refused, _)) => sleep(pause).await,
            listening => return listening,
        }
    }
    // This session is asked, too.
    let has_others = doubts.raise() > 1;
    let until = Instant::now() + if has_others { DYING } else { Duration::ZERO };
    loop {
        match listen_once(address, grant) {
            Err((OpenStatus::Refused, _)) if Instant::now() < until => sleep(AGAIN).await,
            listening => return listening,
        }
    }
}

/// Listens at an address. The status `Refused` means that it is in use.
fn listen_once(address: &str, grant: &Grant) -> Result<Vec<Listener>, (OpenStatus, String)> {
    let denied = || {
        let text = format!(
            "this key may not listen at {address}: permit in its line of authorized_clients needs \
             remote-forward:{address}"
        );
        (OpenStatus::NotPermitted, text)
    };
    let malformed = |text: String| (OpenStatus::NotPermitted, text);
    if address.starts_with('/') {
        if !grant.permit.permits_listen_path(Path::new(address)) {
            return Err(denied());
        }
        return listen_at_path(Path::new(address)).map(|listener| vec![listener]);
    }
    let (host, port) = split_listen(address).ok_or_else(|| {
        malformed(format!("'{address}' is no address to listen at; write ADDRESS:PORT"))
    })?;
    let addresses: Vec<IpAddr> = match host {
        "" | "*" => vec![IpAddr::from([0; 16]), IpAddr::from([0; 4])],
        "localhost" => vec![IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()],
        host => {
            let (host, _) = Host::parse(host).map_err(|error| malformed(error.to_string()))?;
            let address = host.as_str().parse();
            vec![address.map_err(|_| malformed(format!("'{host}' is no address")))?]
        }
    };
    if !addresses.iter().all(|address| grant.permit.permits_listen(*address, port)) {
        return Err(denied());
    }
    let host = match host {
        "" | "*" => None,
        host => Some(host),
    };
    let listeners = bind(host, port).map_err(|error| {
        let status = match error.source.kind() {
            std::io::ErrorKind::AddrInUse => OpenStatus::Refused,
            _ => OpenStatus::Unreachable,
        };
        (status, format!("cannot listen at {}: {}", error.at, Reason(&error.source)))
    })?;
    Ok(listeners.into_iter().map(Listener::Tcp).collect())
}

#[cfg(unix)]
fn listen_at_path(path: &Path) -> Result<Listener, (OpenStatus, String)> {
    Listener::unix(path).map_err(|error| {
        let status = match error.kind() {
            std::io::ErrorKind::AddrInUse => OpenStatus::Refused,
            _ => OpenStatus::Unreachable,
        };
        (status, format!("cannot listen at {}: {}", path.display(), Reason(&error)))
    })
}

#[cfg(not(unix))]
fn listen_at_path(_: &Path) -> Result<Listener, (OpenStatus, String)> {
    Err((OpenStatus::Unreachable, "this system has no such sockets".to_owned()))
}

/// Splits `host:port`, `[address]:port`, `*:port` or `:port`. Port 0 lets the system choose.
fn split_listen(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return None;
    }
    Some((bare.unwrap_or(host), port.parse().ok()?))
}

/// Opens a channel for every connection to a listener. The connections go on when it ends, until the
/// session ends.
async fn accept_all(listener: Listener, number: u32, channels: Multiplexer) {
    loop {
        match listener.accept().await {
            Ok((socket, origin)) => {
                drop(tokio::spawn(forward_accepted(socket, origin, number, channels.clone())));
            }
            Err(error) => {
                log::warn!("cannot accept a connection: {}", Reason(&error));
                sleep(PAUSE).await;
            }
        }
    }
}

async fn forward_accepted(socket: LocalSocket, origin: String, number: u32, channels: Multiplexer) {
    let mut argument = number.to_be_bytes().to_vec();
    // An address has fewer than 65,536 bytes.
    let length = u16::try_from(origin.len()).unwrap_or(0);
    argument.extend_from_slice(&length.to_be_bytes());
    argument.extend_from_slice(origin.as_bytes());
    // If it is refused, the socket is dropped, and its peer gets a reset.
    match channels.open(ACCEPTED, &argument) {
        Ok(channel) => {
            if let Err(error) = pump(socket, channel).await {
                log::debug!("connection from {origin}: {error}");
            }
        }
        Err(refused) => log::info!("connection from {origin}: {refused}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_at_are_split_as_ssh_writes_them() {
        assert_eq!(split_listen("localhost:80"), Some(("localhost", 80)));
        assert_eq!(split_listen("[::1]:0"), Some(("::1", 0)));
        assert_eq!(split_listen("*:8080"), Some(("*", 8080)));
        assert_eq!(split_listen(":8080"), Some(("", 8080)));
        for wrong in ["80", "::1:80", "localhost:", "localhost:99999", "localhost:x"] {
            assert_eq!(split_listen(wrong), None, "{wrong}");
        }
    }
}
