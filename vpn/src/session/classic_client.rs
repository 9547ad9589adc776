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
use crate::term::{Console, QUIT, Said, Texts, Watch};
use vpn_proto::classic::{ClassicParams, ClientHandshake, ClientSession, Role, Trouble};
use vpn_proto::{Printable, SessionError};

/// Above this many bytes of text a reader with one `recv` of 1024 bytes would cut a message.
const WARN_ABOVE: usize = 960;

/// How long a source of texts may take to end after the server did.
const LAST_TEXT: Duration = Duration::from_millis(200);

/// Connects, shakes hands, and sends texts until there are no more.
///
/// # Errors
///
/// [`ClientError`] says what ended the session before its time.
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
    let mut watch = options.observers.watch(Role::Client, params.plan, at).await;
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
            Ok(Progress::Note(note)) => watch.tell(note).await,
            Ok(Progress::Done(session)) => break session,
            Err(error) => {
                let advice = watch.fail_handshake(&error).await;
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
    let result = talk(&mut stream, &mut session, &mut texts, &out, &mut watch).await;
    tell_all(&mut session, &mut watch).await;
    let advice = match &result {
        Err(ClientError::Session(error)) => watch.fail_session(error).await,
        Err(ClientError::Io(error)) => watch.fail(Trouble::Lost, &Reason(error).to_string()).await,
        Err(error @ ClientError::NoReply(_)) => {
            watch.fail(Trouble::Silence, &error.to_string()).await
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
    watch: &mut Watch,
) -> Result<(), ClientError> {
    loop {
        out.flush().await?;
        watch.flush().await;
        match next_text(texts, session, stream).await? {
            Said::Text(text) if text == QUIT => return Ok(()),
            Said::Text(text) => converse(stream, session, &text, out, watch).await?,
            Said::End => return Ok(()),
            Said::Interrupted => return Err(ClientError::Interrupted),
            Said::Failed(error) => return Err(ClientError::Input(error)),
        }
    }
}

async fn tell_all(session: &mut ClientSession, watch: &mut Watch) {
    while let Some(note) = session.poll_note() {
        watch.tell(note).await;
    }
}

/// Waits for a text, and on the side for a server that gives up in the meantime.
async fn next_text(
    texts: &mut Texts,
    session: &mut ClientSession,
    stream: &mut TcpStream,
) -> Result<Said, ClientError> {
    let mut said = texts.request().await;
    loop {
        tokio::select! {
            said = &mut said => return Ok(said.unwrap_or(Said::End)),
            ready = stream.readable(), if texts.is_interruptible() => {
                ready?;
                match read_some(stream)? {
                    Input::Bytes(bytes) => session.handle_input(&bytes, Instant::now()),
                    Input::Nothing => {}
                    Input::End => {
                        // Both may end at once, and then all is well.
                        return match timeout(LAST_TEXT, said).await {
                            Ok(Ok(Said::End) | Err(_)) => Ok(Said::End),
                            Ok(Ok(Said::Text(text))) if text == QUIT => Ok(Said::End),
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
    watch: &mut Watch,
) -> Result<(), ClientError> {
    let message = match session.send(text, Instant::now()) {
        Ok(message) => message,
        Err(error @ SessionError::TextTooLong { .. }) => return out.not_sent(error).await,
        Err(error) => return Err(error.into()),
    };
    if session.dialect().peer_reads.is_some() && text.len() > WARN_ABOVE {
        log::warn!("{} bytes: some peers cut messages of more than {WARN_ABOVE}", text.len());
    }
    tell_all(session, watch).await;
    let deadline = Instant::now() + REPLY;
    if let Err(error) = send(stream, &message, REPLY).await {
        // A server that gave up may have said why before it closed.
        return Err(last_words(stream, session).await.unwrap_or_else(|| error.into()));
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
    tell_all(session, watch).await;
    Ok(out.reply(&Printable(&reply)).await?)
}

async fn last_words(stream: &mut TcpStream, session: &mut ClientSession) -> Option<ClientError> {
    stream.readable().await.ok()?;
    if let Ok(Input::Bytes(bytes)) = read_some(stream) {
        session.handle_input(&bytes, Instant::now());
    }
    session.handle_eof();
    session.next_reply(Instant::now()).err().map(ClientError::Session)
}
