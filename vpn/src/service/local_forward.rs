//! Forwards that listen at the client, and the client that has them.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::forward;
use super::forwards::{Bind, Endpoint, Forwards};
use super::listen_text::at_port;
use super::socks::{SocksReply, negotiate};
use super::uplink::{Carrier, CheckServer, Reconnect, TheServer, Uplink};
use crate::net::limits::{CLOSE, Limits};
use crate::net::{Listener, LocalSocket, PumpError, bind, pump, pump_with};
use crate::output::{Reason, chain};
use crate::session::{Blame, ClientError, ClientOptions, Output, may_help};
use crate::term::Console;
use vpn_proto::sealed::{ClientConfig, OpenStatus};

/// How long a client waits after it could not accept a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// What a client with forwards is asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The forwards.
    pub forwards: Forwards,
    /// When to connect again.
    pub reconnect: Reconnect,
    /// The number of sessions that share the channels.
    pub carriers: usize,
}

/// Runs a client with forwards until `stop` resolves. Then its sessions are closed.
///
/// # Errors
///
/// [`ClientError`] says why it ended.
pub async fn run_forwards(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    plan: &Plan,
    console: Console,
    check_server: CheckServer,
    stop: impl Future<Output = ()>,
) -> Result<(), ClientError> {
    tokio::pin!(stop);
    let out = Output::new(console, options);
    let uplink = Uplink::new(plan.carriers);
    let server = TheServer::new(check_server);
    let listeners = listen(&plan.forwards)?;
    let carrier = |index: usize, config: &Arc<ClientConfig>| Carrier {
        options,
        config: config.clone(),
        limits,
        server: &server,
        out: &out,
        reconnect: plan.reconnect,
        remote: if index == 0 { &plan.forwards.remote } else { &[] },
        uplink: &uplink,
        index,
        has_been_up: false,
    };
    let mut first = carrier(0, &config);
    let mut local = JoinSet::new();
    let mut serve = |all: Vec<Opened>| {
        for Opened { listeners, purpose, .. } in all {
            for listener in listeners {
                local.spawn(accept_all(listener, purpose.clone(), uplink.clone()));
            }
        }
    };
    // The signal is not awaited yet: while a question about the server's key waits for an answer, Ctrl-C
    // has to end the program as it ends others.
    let session = match first.connect().await {
        Ok(session) => Some(session),
        Err(error) if plan.reconnect != Reconnect::Always || !may_help(&error) => {
            return Err(error);
        }
        // The carrier tries again, and says so.
        Err(error) => {
            log::warn!("{}", chain(&error));
            None
        }
    };
    for line in lines(&listeners, session.is_some()) {
        out.note(line).await?;
    }
    serve(listeners);
    let config = first.config.clone();
    let mut carriers: Vec<_> = vec![first.keep_up(session)];
    for index in 1..plan.carriers {
        carriers.push(carrier(index, &config).keep_up(None));
    }
    let running = first_error(carriers);
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        () = stop => {}
    }
    uplink.close();
    // The failure is that of a session which we have closed.
    let _ = timeout(CLOSE, running).await;
    Ok(())
}

/// The error of the carrier that ends first. A later carrier that the server does not let in is left
/// out: the others do its work.
async fn first_error(
    carriers: Vec<impl Future<Output = Result<(), ClientError>>>,
) -> Result<(), ClientError> {
    let mut carriers: Vec<_> = carriers.into_iter().map(|c| Some(Box::pin(c))).collect();
    std::future::poll_fn(|context| {
        for (index, carrier) in carriers.iter_mut().enumerate() {
            let Some(running) = carrier else { continue };
            match running.as_mut().poll(context) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) if index > 0 && error.blame() == Blame::Denied => {
                    log::warn!("one carrier less: {}", chain(&error));
                    *carrier = None;
                }
                Poll::Ready(ended) => return Poll::Ready(ended),
            }
        }
        Poll::Pending
    })
    .await
}

/// What a listener is for.
#[derive(Clone, Debug)]
enum Use {
    /// A target at the server.
    Target(String),
    /// A SOCKS5 proxy.
    Socks,
}

/// The listeners of one forward.
struct Opened {
    /// The address that the user has written.
    at: String,
    listeners: Vec<Listener>,
    purpose: Use,
}

/// Listens for every forward of the client.
fn listen(forwards: &Forwards) -> Result<Vec<Opened>, ClientError> {
    let local = forwards.local.iter().map(|f| (&f.listen, Use::Target(f.target.clone())));
    let socks = forwards.socks.iter().map(|at| (at, Use::Socks));
    let open = |(at, purpose): (&Endpoint, Use)| {
        Ok(Opened { at: at.to_string(), listeners: listen_at(at)?, purpose })
    };
    local.chain(socks).map(open).collect()
}

fn listen_at(at: &Endpoint) -> Result<Vec<Listener>, ClientError> {
    let (bind_to, port) = match at {
        Endpoint::Tcp { bind, port } => (bind, *port),
        #[cfg(unix)]
        Endpoint::Unix(path) => {
            let listener = Listener::unix(path).map_err(|error| {
                let reason = Reason(&error).to_string();
                ClientError::Listen(format!("cannot listen at {}: {reason}", path.display()))
            })?;
            return Ok(vec![listener]);
        }
        #[cfg(not(unix))]
        Endpoint::Unix(path) => {
            let text = format!("{}: this system has no such sockets", path.display());
            return Err(ClientError::Listen(text));
        }
    };
    let host = match bind_to {
        Bind::Loopback => Some("localhost".to_owned()),
        Bind::All => None,
        Bind::Address(address) => Some(address.to_string()),
        Bind::Name(name) => Some(name.clone()),
    };
    let listeners = bind(host.as_deref(), port).map_err(|error| {
        let reason = Reason(&error.source);
        ClientError::Listen(format!("cannot listen at {}: {reason}", error.at))
    })?;
    Ok(listeners.into_iter().map(Listener::Tcp).collect())
}

/// One line for each listener, if the client is connected or not.
fn lines(opened: &[Opened], is_connected: bool) -> Vec<String> {
    let line = |opened: &Opened| {
        let port = opened.listeners.first().map_or(0, Listener::port);
        let at = at_port(&opened.at, port);
        let state = if is_connected { "" } else { "; not connected yet" };
        match &opened.purpose {
            Use::Target(target) => format!("Listening at {at} for {target}{state}"),
            Use::Socks => format!("Listening at {at} as a SOCKS5 proxy{state}"),
        }
    };
    opened.iter().map(line).collect()
}

/// Serves every connection to a listener.
async fn accept_all(listener: Listener, purpose: Use, uplink: Uplink) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    tasks.spawn(serve(socket, purpose.clone(), uplink.clone()));
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {}", Reason(&error));
                    sleep(PAUSE).await;
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Serves one connection. A socket that is dropped early resets its peer.
async fn serve(socket: LocalSocket, purpose: Use, uplink: Uplink) {
    let (target, ended) = match purpose {
        Use::Target(target) => {
            // The first bytes need not wait for the server's answer.
            let ended = match uplink.open(forward::NAME, target.as_bytes()) {
                Ok(channel) => match pump(socket, channel).await {
                    Err(PumpError::Refused(refused)) => {
                        uplink.tell_refusal(&target, &refused);
                        Ok(())
                    }
                    ended => ended.map_err(|error| error.to_string()),
                },
                Err(refused) => Err(refused.to_string()),
            };
            (target, ended)
        }
        Use::Socks => match socket.into_tcp() {
            Some(stream) => serve_socks(stream, &uplink).await,
            None => return,
        },
    };
    if let Err(error) = ended {
        log::info!("forward to {target}: {error}");
    }
}

/// Serves one connection to the SOCKS5 proxy. Its reply says what the server's answer is. Returns the
/// target, and the failure.
async fn serve_socks(stream: TcpStream, uplink: &Uplink) -> (String, Result<(), String>) {
    let request = match negotiate(stream).await {
        Ok(request) => request,
        Err(error) => return ("SOCKS5".to_owned(), Err(error.to_string())),
    };
    let target = request.target.clone();
    let opened = async {
        let channel = uplink.open(forward::NAME, target.as_bytes())?;
        channel.opened().await.map(|()| channel)
    };
    let ended = match opened.await {
        Err(refused) => {
            uplink.tell_refusal(&target, &refused);
            request.refuse(reply(refused.status)).await;
            return (target, Ok(()));
        }
        Ok(channel) => match request.accept().await {
            Ok((stream, early)) => {
                let pumped = pump_with(LocalSocket::tcp(stream), channel, early).await;
                pumped.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        },
    };
    (target, ended)
}

/// The reply of SOCKS5 for a channel that is refused.
fn reply(status: OpenStatus) -> SocksReply {
    match status {
        OpenStatus::NotPermitted => SocksReply::NotAllowed,
        OpenStatus::Refused => SocksReply::ConnectionRefused,
        OpenStatus::Unreachable => SocksReply::NetworkUnreachable,
        OpenStatus::NoSuchName => SocksReply::HostUnreachable,
        OpenStatus::Timeout => SocksReply::TimedOut,
        OpenStatus::TooMany | OpenStatus::UnknownKind | OpenStatus::Unknown(_) => {
            SocksReply::GeneralFailure
        }
    }
}
