//! The message service: each text is printed and answered with the same text reversed
//! (PROTOCOL.md §4.9).

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::frames::{Frames, Incoming, Piece, TooLong, framed};
use super::memory::{FREE, MessageMemory, Share};
use crate::net::SealedIoError;
use crate::net::limits::{MESSAGE_READ, MESSAGE_TIME, REPLY, SEALED_MESSAGE};
use crate::session::{
    Admitting, ClientError, Connected, Handler, Local, LocalEnd, OpenRequest, Output, Resources,
    Reversal, ServerEnd, ServerError, ServerSession, Service, ServiceFuture, ServiceResult,
    admitted, reversed,
};
use crate::term::{Console, NextText, QUIT, Texts};
use vpn_proto::sealed::{Alert, Event, SealedError};
use vpn_proto::{Printable, SessionError};

/// The most bytes of a long answer that are sealed at once.
const ANSWER_PIECE: usize = 64 * 1024;
/// The reason of a session that ends because its server stops.
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

    fn serve(&self, _: &str, resources: &Resources) -> Arc<dyn ServerEnd> {
        Arc::new(Server { memory: MessageMemory::new(resources.limits.message_memory) })
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
    let Local { texts: Some(mut texts), out, .. } = local else {
        return Err(SealedIoError::Sealed(SealedError::Internal).into());
    };
    let mut frames = Frames::default();
    loop {
        out.flush().await?;
        match ask(&mut texts, &mut session).await? {
            NextText::Text(text) if text == QUIT => break,
            NextText::Text(text) => send(&mut session, &mut frames, &out, &text).await?,
            NextText::End => break,
            NextText::Interrupted => {
                session.connection.abort(Alert::CloseNotify).await;
                return Err(ClientError::Interrupted);
            }
            NextText::Failed(error) => {
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

/// Waits for the next text. Meanwhile the server may end the session.
async fn ask(texts: &mut Texts, session: &mut Connected) -> Result<NextText, ClientError> {
    let is_interruptible = texts.is_interruptible();
    session.connection.flush().await?;
    let mut text = texts.request().await;
    let ended = tokio::select! {
        text = &mut text => return Ok(text.unwrap_or(NextText::End)),
        ended = session.wait_for_end() => ended,
    };
    if !is_interruptible {
        // The line editor has to restore the terminal first. The user sees the error after that.
        let _ = text.await;
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
    fn admit<'a>(&'a self, _: OpenRequest<'a>) -> Admitting<'a> {
        admitted(self.clone())
    }
}

impl Handler for Server {
    fn serve(self: Box<Self>, session: ServerSession) -> ServiceFuture<'static, ServiceResult> {
        Box::pin(async move {
            let mut session = session;
            let ended = self.answer_all(&mut session).await;
            Box::pin(session.close(ended)).await
        })
    }
}

impl Server {
    /// Answers messages until the session is over.
    async fn answer_all(&self, session: &mut ServerSession) -> ServiceResult {
        let mut incoming = Incoming::default();
        // The memory for a long message, and the deadline of the message.
        let mut share: Option<(Share, Instant)> = None;
        session.connection.expect_pings(Some(session.keepalive));
        session.connection.read_at_most(MESSAGE_READ);
        loop {
            let idle = Instant::now() + session.idle;
            let until = share.as_ref().map_or(idle, |(_, until)| idle.min(*until));
            let event = tokio::select! {
                event = timeout_at(until.into(), session.connection.next()) => match event {
                    Ok(event) => event?,
                    Err(_) if share.is_some() || !incoming.is_empty() => return Err(ServerError::Slow),
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
                // The connection answers pings and key exchanges itself.
                Event::Alert(_)
                | Event::ChannelData { .. }
                | Event::Frame(_)
                | Event::Pong(_)
                | Event::Open { .. }
                | Event::OpenReply { .. }
                | Event::ExchangeWanted(_)
                | Event::ExchangeAnswered(_) => {}
            }
        }
    }

    /// Waits for the memory for a long message. Nothing is read from the client meanwhile.
    async fn share(
        &self,
        length: usize,
        session: &mut ServerSession,
    ) -> Result<Share, ServerError> {
        let share = tokio::select! {
            share = self.memory.share(length) => share,
            // A close_notify would promise that the message was handled (PROTOCOL.md §4.5).
            () = session.shutdown.wait() => return Err(ServerError::Busy(STOPPING.to_owned())),
        };
        // Nothing was read meanwhile, so the time for the next ping starts again.
        session.connection.expect_pings(Some(session.keepalive));
        Ok(share)
    }
}

/// Answers a text with its reverse, and prints it.
async fn answer(session: &mut ServerSession, text: &[u8]) -> Result<(), ServerError> {
    let ServerSession { connection, console, .. } = session;
    if text.len() <= FREE {
        let answer = framed(&reversed(text))?;
        connection.session().send(&answer)?;
        // The reply comes first, because waking the printing thread takes longer than all the rest.
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

/// Prints a long text, and waits until it is printed: until then its line takes memory.
async fn print_long(console: &Console, text: &[u8]) -> Result<(), ServerError> {
    console.line(Received(text)).await?;
    Ok(console.flush().await?)
}

/// The line that the server prints for a text.
struct Received<'a>(&'a [u8]);

impl std::fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received: {}", Printable(self.0))
    }
}

impl From<TooLong> for ServerError {
    fn from(error: TooLong) -> Self {
        Self::Policy(error.to_string())
    }
}
