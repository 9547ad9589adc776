//! The message service: each text is printed and answered with the same text reversed
//! (PROTOCOL.md §4.9).

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::frames::{Frames, Incoming, Piece, TooLong, framed};
use super::memory::{FREE, MessageMemory, Share};
use crate::net::SealedIoError;
use crate::net::limits::{Limits, MESSAGE_READ, MESSAGE_TIME, REPLY, SEALED_MESSAGE};
use crate::session::{
    ClientError, Connected, Ended, Handler, Local, LocalEnd, Output, Reversal, ServerEnd,
    ServerSession, Service, ServiceFuture, ServiceResult, reversed,
};
use crate::term::{Console, QUIT, Said, Texts};
use vpn_proto::sealed::{Alert, Event, SealedError};
use vpn_proto::{Printable, SessionError};

/// How much of a long answer is sealed at once.
const ANSWER_PIECE: usize = 64 * 1024;
/// Why a session ends with its server.
const STOPPING: &str = "closed, the server is stopping";

/// The service.
#[derive(Debug)]
pub(super) struct Message;

impl Service for Message {
    fn name(&self) -> &'static str {
        "message"
    }

    fn about(&self) -> &'static str {
        "messages: the server prints each one and answers with the text reversed"
    }

    fn serve(&self, _: &str, limits: &Limits) -> Arc<dyn ServerEnd> {
        Arc::new(Server { memory: MessageMemory::new(limits.message_memory) })
    }

    fn local_end(&self) -> LocalEnd {
        LocalEnd::Texts
    }

    fn run(
        &self,
        session: Connected,
        local: Local,
    ) -> ServiceFuture<'static, Result<(), ClientError>> {
        Box::pin(converse(session, local))
    }
}

/// Sends texts and prints replies until there are no more texts.
async fn converse(mut session: Connected, local: Local) -> Result<(), ClientError> {
    let Local { texts: Some(mut texts), out } = local else {
        return Err(SealedIoError::Sealed(SealedError::Internal).into());
    };
    let mut frames = Frames::default();
    loop {
        out.flush().await?;
        match ask(&mut texts, &mut session).await? {
            Said::Text(text) if text == QUIT => break,
            Said::Text(text) => send(&mut session, &mut frames, &out, &text).await?,
            Said::End => break,
            Said::Interrupted => {
                session.connection.abort(Alert::CloseNotify).await;
                return Err(ClientError::Interrupted);
            }
            Said::Failed(error) => {
                // What was sent was answered; the session ends as it should.
                session.connection.close(REPLY).await?;
                return Err(ClientError::Input(error));
            }
        }
    }
    session.connection.session().send_eof().map_err(SealedIoError::Sealed)?;
    loop {
        match session.next_event().await? {
            Event::Eof => break,
            Event::Data(_) => return Err(Connected::unexpected()),
            _ => {}
        }
    }
    Ok(session.connection.close(REPLY).await?)
}

/// Waits for a text, and meanwhile for a server that ends the session.
async fn ask(texts: &mut Texts, session: &mut Connected) -> Result<Said, ClientError> {
    let is_watched = texts.is_interruptible();
    session.connection.flush().await?;
    let mut said = texts.request().await;
    let ended = tokio::select! {
        said = &mut said => return Ok(said.unwrap_or(Said::End)),
        ended = session.watch() => ended,
    };
    if !is_watched {
        // A line editor has to leave the terminal as it found it: the user is told afterwards.
        let _ = said.await;
    }
    Err(ended)
}

/// Sends one text and prints the reply.
async fn send(
    session: &mut Connected,
    frames: &mut Frames,
    out: &Output,
    text: &str,
) -> Result<(), ClientError> {
    let Ok(message) = framed(text.as_bytes()) else {
        let error = SessionError::TextTooLong { len: text.len(), limit: SEALED_MESSAGE };
        return out.not_sent(error).await;
    };
    session.connection.session().send(&message).map_err(SealedIoError::Sealed)?;
    loop {
        let reply = frames.next().map_err(|_| SealedError::Malformed("length of a reply"));
        if let Some(reply) = reply.map_err(SealedIoError::Sealed)? {
            return Ok(out.reply(&Printable(&reply)).await?);
        }
        match session.next_event().await? {
            Event::Data(data) => frames.push(&data),
            _ => return Err(Connected::unexpected()),
        }
    }
}

/// The server's end.
#[derive(Clone, Debug)]
struct Server {
    memory: MessageMemory,
}

impl ServerEnd for Server {
    fn admit(&self) -> Result<Box<dyn Handler>, String> {
        Ok(Box::new(self.clone()))
    }
}

impl Handler for Server {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let mut session = session;
            let ended = self.answer_all(&mut session).await;
            Box::pin(session.leave(ended)).await
        })
    }
}

impl Server {
    /// Answers messages until the session is over.
    async fn answer_all(&self, session: &mut ServerSession) -> ServiceResult {
        let mut incoming = Incoming::default();
        // The memory for a long message, and until when the message may take.
        let mut share: Option<(Share, Instant)> = None;
        session.connection.expect_pings(Some(session.keepalive));
        session.connection.read_at_most(MESSAGE_READ);
        loop {
            let idle = Instant::now() + session.idle;
            let until = share.as_ref().map_or(idle, |(_, until)| idle.min(*until));
            let event = tokio::select! {
                event = timeout_at(until.into(), session.connection.next()) => match event {
                    Ok(event) => event?,
                    Err(_) if share.is_some() || !incoming.is_empty() => return Err(Ended::Slow),
                    Err(_) => return Ok("closed, nothing happened for too long"),
                },
                () = session.shutdown.wait(), if incoming.is_empty() => return Ok(STOPPING),
            };
            match event {
                Event::Data(data) => {
                    let mut rest = data.as_slice();
                    while let Some(piece) = incoming.take(&mut rest)? {
                        match piece {
                            Piece::Begins(length) if length <= FREE => {}
                            Piece::Begins(length) => {
                                let granted = self.share(length, session).await?;
                                share = Some((granted, Instant::now() + MESSAGE_TIME));
                            }
                            Piece::Message(text) => {
                                answer(session, &text).await?;
                                drop(text);
                                share = None;
                            }
                        }
                    }
                }
                Event::Eof if incoming.is_empty() => session.connection.session().send_eof()?,
                Event::CloseRequested | Event::Closed if incoming.is_empty() => {
                    return Ok("the client closed the session");
                }
                // Inside a message.
                Event::Eof | Event::CloseRequested | Event::Closed => {
                    return Err(SealedError::Cut.into());
                }
                // The connection looks after its exchanges and pings itself.
                Event::Alert(_)
                | Event::Pong(_)
                | Event::Open { .. }
                | Event::OpenReply { .. }
                | Event::ExchangeWanted(_)
                | Event::ExchangeAnswered(_) => {}
            }
        }
    }

    /// Waits for memory for a long message. Nothing is read of the client meanwhile.
    async fn share(&self, length: usize, session: &mut ServerSession) -> Result<Share, Ended> {
        let share = tokio::select! {
            share = self.memory.share(length) => share,
            // Inside a message a close_notify would be a lie.
            () = session.shutdown.wait() => return Err(Ended::Busy(STOPPING.to_owned())),
        };
        // Nobody listened to the client meanwhile.
        session.connection.expect_pings(Some(session.keepalive));
        Ok(share)
    }
}

/// Answers a text with its reverse, and prints it.
async fn answer(session: &mut ServerSession, text: &[u8]) -> Result<(), Ended> {
    let ServerSession { connection, console, .. } = session;
    if text.len() <= FREE {
        let answer = framed(&reversed(text))?;
        connection.session().send(&answer)?;
        // First: waking the printer takes longer than all of the rest.
        connection.flush().await?;
        return Ok(console.line(Received(text)).await?);
    }
    let mut piece = Zeroizing::new(Vec::with_capacity(ANSWER_PIECE));
    let length = u32::try_from(text.len()).map_err(|_| TooLong::of(text))?;
    piece.extend_from_slice(&length.to_be_bytes());
    let mut reversal = Reversal::of(text);
    while reversal.fill(&mut piece, ANSWER_PIECE) {
        connection.session().send(&piece)?;
        connection.flush().await?;
        piece.clear();
    }
    print_long(console, text).await
}

/// Prints a long text. Its memory is held until it is printed: a line that waits takes memory too.
async fn print_long(console: &Console, text: &[u8]) -> Result<(), Ended> {
    console.line(Received(text)).await?;
    Ok(console.flush().await?)
}

/// What a server prints of a text.
struct Received<'a>(&'a [u8]);

impl std::fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received: {}", Printable(self.0))
    }
}

impl From<TooLong> for Ended {
    fn from(error: TooLong) -> Self {
        Self::Policy(error.to_string())
    }
}
