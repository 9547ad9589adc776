//! The server's side of the message service, one connection at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::console::{Console, ConsoleClosed};
use super::message::reversed;
use crate::net::limits::{FAREWELL, Limits, REPLY};
use crate::net::{DhPool, Driver, Input, Progress, PumpError, Shutdown, farewell, read_some, send};
use crate::proto::classic::{ClassicParams, MacRule, ServerHandshake, ServerSession};
use crate::proto::{Printable, SessionError};

/// Serves classic sessions: prints every message and answers with its text reversed.
#[derive(Clone, Debug)]
pub struct MessageServer {
    params: ClassicParams,
    limits: Limits,
    pool: DhPool,
    console: Console,
    shutdown: Shutdown,
    established: Option<Arc<Notify>>,
}

impl MessageServer {
    /// A server with these settings, printing to `console` until told to stop.
    pub fn new(
        params: ClassicParams,
        limits: Limits,
        console: Console,
        shutdown: Shutdown,
    ) -> Self {
        let pool = DhPool::new(limits.dh_workers);
        Self { params, limits, pool, console, shutdown, established: None }
    }

    /// Also notifies whenever a key has been established and the line that says so is printed.
    #[must_use]
    pub fn notifying(mut self, established: Arc<Notify>) -> Self {
        self.established = Some(established);
        self
    }

    /// Serves one connection to its end. Whatever goes wrong is logged and stays here.
    pub async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        match self.session(stream, peer).await {
            Ok(reason) => log::info!("{peer}: {reason}"),
            Err(error) => log::warn!("{peer}: {error}"),
        }
    }

    async fn session(
        mut self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<&'static str, Ended> {
        self.console.line(format!("New client: {peer}")).await?;
        self.console.line("Negotiating the cipher").await?;
        let started = Instant::now();
        let handshake = ServerHandshake::new(self.params.clone(), &mut rand::rng());
        let deadline = started + self.limits.handshake;
        let mut driver = Driver::new(&mut stream, handshake, &self.pool, deadline);
        let session = loop {
            match driver.next().await {
                Ok(Progress::Chosen(id)) => {
                    self.console.line(format!("We are going to use {id}")).await?;
                    self.console.line("Negotiating the key").await?;
                }
                Ok(Progress::Done(session)) => break session,
                Err(error) => {
                    drop(driver);
                    farewell(stream).await;
                    return Err(Ended::Handshake(error));
                }
            }
        };
        drop(driver);
        self.console.line("The key has been established").await?;
        if let Some(established) = &self.established {
            self.console.flush().await?;
            established.notify_one();
        }
        log::info!("{peer}: {} established in {:?}", session.suite(), started.elapsed());
        let ended = self.exchange(&mut stream, session, peer).await;
        if let Err(Ended::Session(error)) = &ended {
            if let Some(text) = error.refusal() {
                // If it cannot be told, closing says enough.
                let _ = send(&mut stream, text.as_bytes(), FAREWELL).await;
            }
            farewell(stream).await;
        }
        ended
    }

    async fn exchange(
        &mut self,
        stream: &mut TcpStream,
        mut session: ServerSession,
        peer: SocketAddr,
    ) -> Result<&'static str, Ended> {
        let mut rule = session.mac_rule();
        let mut idle_since = Instant::now();
        let mut has_ended = false;
        loop {
            while let Some(text) = session.next_text(Instant::now())? {
                idle_since = Instant::now();
                let reply = session.reply(&reversed(&text));
                self.answer(stream, &text, &reply, peer).await?;
                if rule.is_none() && session.mac_rule().is_some() {
                    rule = session.mac_rule();
                    let name = match rule {
                        Some(MacRule::Cumulative) => "all ciphertext so far",
                        _ => "each message by itself",
                    };
                    log::info!("{peer}: the client's HMAC covers {name}");
                }
            }
            if has_ended {
                session.handle_eof()?;
                return Ok("the client closed the session");
            }
            let idle = idle_since + self.limits.idle;
            let due = session.poll_timeout().map_or(idle, |t| t.min(idle));
            tokio::select! {
                ready = stream.readable() => {
                    ready?;
                    match read_some(stream)? {
                        Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                        Input::Nothing => {}
                        Input::End => has_ended = true,
                    }
                }
                () = sleep_until(due.into()) => {
                    let now = Instant::now();
                    session.handle_timeout(now)?;
                    if now >= idle {
                        return Ok("closed, nothing happened for too long");
                    }
                }
                () = self.shutdown.wait(), if session.is_between_messages() => {
                    return Ok("closed, the server is stopping");
                }
            }
        }
    }

    async fn answer(
        &self,
        stream: &mut TcpStream,
        text: &[u8],
        reply: &[u8],
        peer: SocketAddr,
    ) -> Result<(), Ended> {
        if str::from_utf8(text).is_err() {
            log::warn!("{peer}: a text that is not UTF-8; it is answered byte by byte");
        }
        self.console.line(format!("Received: {}", Printable(text))).await?;
        if reply.is_empty() {
            return Ok(());
        }
        send(stream, reply, REPLY).await.map_err(Ended::Io)
    }
}

/// Why a session ended that should not have.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Console(#[from] ConsoleClosed),
    #[error("{0}")]
    Handshake(PumpError),
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Session(#[from] SessionError),
}
