//! The client's side of a classic session.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use super::error::ClientError;
use super::output::{ClientOptions, Output};
use crate::net::limits::{Limits, REPLY};
use crate::net::{
    DhPool, Driver, Input, Progress, Source, connect, endpoint, lingering_close, read_some, send,
};
use crate::output::Reason;
use crate::term::{Console, NextText, QUIT, SessionObserver, Texts};
use vpn_proto::classic::{ClassicParams, ClientHandshake, ClientSession, Role, Trouble};
use vpn_proto::{Printable, SessionError};

/// A text of more bytes than this makes a message that a single `recv` of 1024 bytes would cut.
const WARN_ABOVE: usize = 960;

/// How long the source of texts may take to end after the server has ended.
const LAST_TEXT: Duration = Duration::from_millis(200);

/// Runs one classic session: connects, shakes hands, and sends texts until there are no more
/// (PROTOCOL.md §3).
///
/// # Errors
///
/// [`ClientError`] says why the session failed.
pub async fn run_classic_client(
    options: &ClientOptions,
    mut params: ClassicParams,
    limits: Limits,
    mut texts: Texts,
    console: Console,
) -> Result<(), ClientError> {
    let out = Output::new(console, options);
    let mut stream = connect(&options.host, options.port).await?;
    out.note(format!("Connected to {}", endpoint(&options.host, options.port))).await?;
    out.note("Negotiating the cipher").await?;
    let at = endpoint(&options.host, options.port);
    let mut observer = options.observers.observe(Role::Client, params.plan, at).await;
    params.telling = options.observers.telling(Role::Client);
    let started = Instant::now();
    let handshake = ClientHandshake::new(params, &mut rand::rng(), started);
    let pool = DhPool::new(limits.dh_workers);
    let mut driver =
        Driver::new(&mut stream, handshake, &pool, Source::SELF, started + limits.handshake);
    let mut session = loop {
        match driver.next().await {
            Ok(Progress::Chosen(id)) => {
                out.note(format!("We are going to use {id}")).await?;
                out.note("Negotiating the key").await?;
            }
            Ok(Progress::Note(note)) => observer.note(note).await,
            Ok(Progress::Done(session)) => break session,
            Err(error) => {
                let advice = observer.fail_handshake(&error).await;
                return Err(ClientError::Handshake(error).advised(advice));
            }
        }
    };
    drop(driver);
    out.note("The key has been established").await?;
    log::info!("{} established in {:?}", session.suite(), started.elapsed());
    out.tell(format_args!(
        "classic session with {}: the server is not authenticated, and it answers in the clear",
        session.suite()
    ));
    let result = talk(&mut stream, &mut session, &mut texts, &out, &mut observer).await;
    pass_on_notes(&mut session, &mut observer).await;
    let advice = match &result {
        Err(ClientError::Session(error)) => observer.fail_session(error).await,
        Err(ClientError::Io(error)) => {
            observer.fail(Trouble::Lost, &Reason(error).to_string()).await
        }
        Err(error @ ClientError::NoReply(_)) => {
            observer.fail(Trouble::Silence, &error.to_string()).await
        }
        _ => None,
    };
    result.map_err(|error| error.advised(advice))?;
    lingering_close(stream).await;
    Ok(())
}

/// Sends texts until there are no more.
async fn talk(
    stream: &mut TcpStream,
    session: &mut ClientSession,
    texts: &mut Texts,
    out: &Output,
    observer: &mut SessionObserver,
) -> Result<(), ClientError> {
    loop {
        out.flush().await?;
        observer.flush().await;
        match next_text(texts, session, stream).await? {
            NextText::Text(text) if text == QUIT => return Ok(()),
            NextText::Text(text) => converse(stream, session, &text, out, observer).await?,
            NextText::End => return Ok(()),
            NextText::Interrupted => return Err(ClientError::Interrupted),
            NextText::Failed(error) => return Err(ClientError::Input(error)),
        }
    }
}

async fn pass_on_notes(session: &mut ClientSession, observer: &mut SessionObserver) {
    while let Some(note) = session.poll_note() {
        observer.note(note).await;
    }
}

/// Waits for the next text. Meanwhile it reads from the server, which may end the session.
async fn next_text(
    texts: &mut Texts,
    session: &mut ClientSession,
    stream: &mut TcpStream,
) -> Result<NextText, ClientError> {
    let mut text = texts.request().await;
    loop {
        tokio::select! {
            text = &mut text => return Ok(text.unwrap_or(NextText::End)),
            ready = stream.readable(), if texts.is_interruptible() => {
                ready?;
                match read_some(stream)? {
                    Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                    Input::Nothing => {}
                    Input::End => {
                        // If the texts have ended too, the session has ended as it should.
                        return match timeout(LAST_TEXT, text).await {
                            Ok(Ok(NextText::End) | Err(_)) => Ok(NextText::End),
                            Ok(Ok(NextText::Text(text))) if text == QUIT => Ok(NextText::End),
                            _ => Err(session.on_unasked_end().into()),
                        };
                    }
                }
            }
        }
    }
}

/// Sends one text and prints the reply.
async fn converse(
    stream: &mut TcpStream,
    session: &mut ClientSession,
    text: &str,
    out: &Output,
    observer: &mut SessionObserver,
) -> Result<(), ClientError> {
    let message = match session.send(text, Instant::now()) {
        Ok(message) => message,
        Err(error @ SessionError::TextTooLong { .. }) => return out.not_sent(error).await,
        Err(error) => return Err(error.into()),
    };
    if session.dialect().peer_reads.is_some() && text.len() > WARN_ABOVE {
        log::warn!("{} bytes: some peers cut messages of more than {WARN_ABOVE}", text.len());
    }
    pass_on_notes(session, observer).await;
    let deadline = Instant::now() + REPLY;
    if let Err(error) = send(stream, &message, REPLY).await {
        // A server that closed may have sent the reason before.
        return Err(refusal_of(stream, session).await.unwrap_or_else(|| error.into()));
    }
    let reply = loop {
        if let Some(reply) = session.next_reply(Instant::now())? {
            break reply;
        }
        let due = session.poll_timeout().map_or(deadline, |t| t.min(deadline));
        tokio::select! {
            ready = stream.readable() => {
                ready?;
                match read_some(stream)? {
                    Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                    Input::Nothing => {}
                    Input::End => session.handle_eof(),
                }
            }
            () = sleep_until(due.into()) => {
                if Instant::now() >= deadline {
                    return Err(ClientError::NoReply(REPLY));
                }
            }
        }
    };
    pass_on_notes(session, observer).await;
    Ok(out.reply(&Printable(&reply)).await?)
}

/// Reads what the server sent before it closed, and returns its refusal if that is one.
async fn refusal_of(stream: &mut TcpStream, session: &mut ClientSession) -> Option<ClientError> {
    stream.readable().await.ok()?;
    if let Ok(Input::Bytes(bytes)) = read_some(stream) {
        session.handle_input(&bytes, Instant::now());
    }
    session.handle_eof();
    session.next_reply(Instant::now()).err().map(ClientError::Session)
}
