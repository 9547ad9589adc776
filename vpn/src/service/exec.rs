//! Commands that the server's configuration names: the kind of channel `exec` (PROTOCOL.md §4.10).
//!
//! The client's bytes are standard input. Standard output is the data of the channel; standard error and
//! the exit are notes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::sync::Notify;

use super::kind::{ChannelFailure, ChannelKind, ChannelRequest};
use crate::net::{ChannelEnd, ChannelStream};
use crate::output::Reason;
use crate::output::log::SESSION;
use crate::session::{Exit, Process, ServiceFuture};
use vpn_proto::Printable;
use vpn_proto::sealed::{ChannelExit, OpenStatus, StreamKind};

/// The name of the kind.
pub(super) const NAME: &str = "exec";
/// The most commands that run at once for one key. One counts until its last process is gone.
pub(super) const PROCESSES: usize = 64;
/// The size of a read of the command's output in bytes.
const READ: usize = 64 * 1024;

/// The kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exec;

impl ChannelKind for Exec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn serve(&self, request: ChannelRequest) -> ServiceFuture<'static, Result<(), ChannelFailure>> {
        Box::pin(async move {
            let context = request.context.clone();
            let name = request.text().unwrap_or_default();
            if !context.grant.permit.permits_exec(&name) {
                let text = format!(
                    "this key may not run '{name}': permit in its line of authorized_clients needs \
                     exec:{name}"
                );
                return Err(request.refuse(OpenStatus::NotPermitted, text));
            }
            let Some(command) = context.commands.find(&name) else {
                let text = format!(
                    "the server has no command '{name}': its configuration needs [exec.{name}]"
                );
                return Err(request.refuse(OpenStatus::NoSuchName, text));
            };
            if request.channel.has_ended() {
                return Err(ChannelFailure::Failed("closed before it was open".to_owned()));
            }
            let Ok(turn) = context.processes.clone().try_acquire_owned() else {
                let text = format!("this key runs {PROCESSES} commands already");
                return Err(request.refuse(OpenStatus::TooMany, text));
            };
            let process = match Process::start(command, &context.client, turn) {
                Ok(process) => process,
                Err(error) => {
                    log::warn!("exec.{name}: {}: {error}", command.program.display());
                    let text =
                        format!("the server cannot start the command '{name}': {}", Reason(&error));
                    return Err(request.refuse(OpenStatus::Unreachable, text));
                }
            };
            log::info!(
                target: SESSION,
                "{} runs '{}'",
                context.client,
                Printable(name.as_bytes())
            );
            let failed = |error: io::Error| ChannelFailure::Failed(error.to_string());
            request.channel.accept().map_err(failed)?;
            run(process, &request.channel).await.map_err(failed)
        })
    }
}

/// Joins a command and a channel until both have ended. If the channel ends early, so does the
/// command.
async fn run(mut process: Process, channel: &ChannelStream) -> io::Result<()> {
    let (input, output, errors) =
        (process.stdin.take(), process.stdout.take(), process.stderr.take());
    let has_ended = Notify::new();
    let outgoing = async {
        tokio::try_join!(
            send_all(channel, StreamKind::Data, output),
            send_all(channel, StreamKind::StandardError, errors),
        )?;
        channel.send_exit(match process.wait().await? {
            Exit::Code(code) => ChannelExit::Code(code.into()),
            Exit::Signal(signal) => ChannelExit::Signal(signal.unsigned_abs()),
        });
        channel.finish();
        has_ended.notify_one();
        Ok::<(), io::Error>(())
    };
    let moving = async { tokio::try_join!(outgoing, feed(channel, input, &has_ended)) };
    let ended = tokio::select! {
        moved = moving => {
            moved?;
            channel.ended().await
        }
        ended = channel.ended() => ended,
    };
    match ended {
        ChannelEnd::Normal => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the client has gone")),
    }
}

/// Sends what a command writes to one of its outputs.
async fn send_all(
    channel: &ChannelStream,
    kind: StreamKind,
    output: Option<impl AsyncRead + Unpin>,
) -> io::Result<()> {
    let Some(mut output) = output else { return Ok(()) };
    loop {
        let size = channel.room().await?.min(READ);
        let mut buffer = Vec::with_capacity(size);
        if (&mut output).take(size as u64).read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        channel.send(kind, buffer)?;
    }
}

/// Writes the client's bytes to a command. A command need not read them all: when it has ended, the rest
/// counts as handed over.
async fn feed(
    channel: &ChannelStream,
    mut input: Option<ChildStdin>,
    has_ended: &Notify,
) -> io::Result<()> {
    while let Some((_, bytes)) = channel.receive().await? {
        if let Some(stdin) = &mut input {
            // A process that the command has left behind may hold its input without reading.
            let is_written = tokio::select! {
                written = stdin.write_all(&bytes) => written.is_ok(),
                () = has_ended.notified() => false,
            };
            if !is_written {
                input = None;
            }
        }
        channel.consume(bytes.len());
        channel.recycle(bytes);
    }
    drop(input);
    channel.deliver();
    Ok(())
}
