//! The client's end of a command that the server runs.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::exec;
use super::multiplexed::{CHANNELS, CHANNELS_VERSION};
use super::uplink::CheckServer;
use crate::net::limits::{Limits, REPLY, USER_TIMEOUT};
use crate::net::{ChannelEnd, ChannelStream, Multiplexer, OpenRefused, SealedIoError, drive};
use crate::session::{
    ClientError, ClientOptions, Drain, Feed, Output, Stdio, TransferError, Written,
    connect_sealed_client,
};
use crate::term::Console;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{
    ChannelExit, ChannelLimits, ClientConfig, OpenStatus, SealedError, StreamKind,
};

/// Runs a command of the server, with the standard streams of this program. Returns how it ended.
///
/// # Errors
///
/// [`ClientError`] if the command was not run to its end.
pub async fn run_exec(
    options: &ClientOptions,
    config: Arc<ClientConfig>,
    limits: Limits,
    name: &str,
    console: Console,
    check_server: CheckServer,
) -> Result<ChannelExit, ClientError> {
    let out = Output::new(console, options);
    let connecting = connect_sealed_client(options, config, limits, &out, check_server);
    let mut session = Box::pin(connecting).await?;
    session.open(CHANNELS, CHANNELS_VERSION).await?;
    session.connection.set_user_timeout(USER_TIMEOUT);
    let channels = Multiplexer::new(Role::Client, ChannelLimits::default())
        .explained_to(out.explaining(&options.observers).await);
    let driving = async {
        // Only this side opens channels.
        tokio::join!(drive(session.connection, &channels), channels.refuse_all()).0
    };
    let running = async {
        let channel = channels.open(exec::NAME, name.as_bytes()).map_err(refused)?;
        channel.opened().await.map_err(refused)?;
        let exit = join(&channel).await?;
        Ok::<_, ClientError>(exit)
    };
    tokio::pin!(driving, running);
    let exit = tokio::select! {
        biased;
        exit = &mut running => exit,
        ended = &mut driving => {
            return Err(match ended {
                Ok(_) => TransferError::EndedEarly.into(),
                Err(error) => error.into(),
            });
        }
    };
    channels.close();
    // The command has ended and everything is written, so the end of the session adds nothing.
    let _ = tokio::time::timeout(REPLY, driving).await;
    exit
}

fn refused(refused: OpenRefused) -> ClientError {
    match refused.status {
        OpenStatus::TooMany => ClientError::Busy(refused.text),
        _ => ClientError::Exec(refused.text),
    }
}

/// Joins the channel of a command and the standard streams until the command has ended.
async fn join(channel: &ChannelStream) -> Result<ChannelExit, ClientError> {
    let streams = Stdio::take().map(Stdio::open_all).ok_or(TransferError::Stopped)?;
    let (input, output, errors) = streams;
    let receiving = receive_all(channel, output, errors);
    tokio::pin!(receiving);
    tokio::select! {
        received = &mut receiving => received?,
        sent = send_all(channel, input) => {
            sent?;
            receiving.await?;
        }
    }
    // The command may have ended without reading all of our input.
    channel.finish();
    match (channel.ended().await, channel.exit()) {
        (ChannelEnd::Normal, Some(exit)) => Ok(exit),
        (ChannelEnd::Normal, None) => Err(malformed("a command without its end")),
        _ => Err(TransferError::EndedEarly.into()),
    }
}

fn malformed(what: &'static str) -> ClientError {
    SealedIoError::Sealed(SealedError::Malformed(what)).into()
}

/// Sends standard input.
async fn send_all(channel: &ChannelStream, mut input: Feed) -> Result<(), ClientError> {
    loop {
        let chunk = input.next().await.map_err(TransferError::Input)?;
        if chunk.is_empty() {
            channel.finish();
            return Ok(());
        }
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            // If the command has ended, what it has not read is of no use.
            let Ok(room) = channel.room().await else { return Ok(()) };
            let (piece, behind) = rest.split_at(room.min(rest.len()));
            if channel.send(StreamKind::Data, piece.to_vec()).is_err() {
                return Ok(());
            }
            rest = behind;
        }
        input.reuse(chunk);
    }
}

/// Writes what the command writes, up to its end.
async fn receive_all(
    channel: &ChannelStream,
    mut output: Drain,
    mut errors: Drain,
) -> Result<(), ClientError> {
    let cut = |error| ClientError::from(TransferError::Cut(error));
    while let Some((kind, bytes)) = channel.receive().await.map_err(cut)? {
        let count = bytes.len();
        let drain = match kind {
            StreamKind::Data => &mut output,
            StreamKind::StandardError => &mut errors,
        };
        write(drain, bytes).await?;
        channel.consume(count);
        while let Some(used) = drain.used() {
            channel.recycle(used);
        }
    }
    for drain in [&mut output, &mut errors] {
        drain.end();
        while !matches!(
            drain.write(&mut None).await.map_err(TransferError::of_output)?,
            Written::All
        ) {}
    }
    channel.deliver();
    Ok(())
}

async fn write(drain: &mut Drain, bytes: Zeroizing<Vec<u8>>) -> Result<(), ClientError> {
    let mut bytes = Some(bytes);
    while bytes.is_some() {
        drain.write(&mut bytes).await.map_err(TransferError::of_output)?;
    }
    Ok(())
}
