//! The task of a session with channels: it moves frames between the connection and the channels.

use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::explained::{Told, Untold};
use super::multiplexer::Multiplexer;
use crate::net::limits::REPLY;
use crate::net::{IoEvent, SealedConnection, SealedIoError};
use vpn_proto::sealed::{Alert, Event, Frame};

/// Empty buffers are freed after this time without traffic.
const QUIET: Duration = Duration::from_secs(1);
/// While there is traffic, the round trip is measured this often.
const MEASURED: Duration = Duration::from_millis(100);
/// The batch after this many unsent bytes waits. A key that is pressed then waits for one batch.
const UNSENT: usize = 64 * 1024;
/// The system takes about this many unsent bytes: a whole batch. With fewer, the last record of a batch
/// would be late, and the peer would open it alone.
const SYSTEM_UNSENT: u32 = 256 * 1024;

/// How a session with channels has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveEnd {
    /// We have ended it, because all channels are over.
    Finished,
    /// We have ended it, whether all channels are over or not.
    Stopped,
    /// The peer has ended it.
    ByPeer,
}

/// Moves frames until the session ends. When it returns, or when its future is dropped, every channel
/// that is not over is reset.
///
/// # Errors
///
/// [`SealedIoError`] if the connection or the peer fails.
pub async fn drive(
    mut connection: SealedConnection,
    channels: &Multiplexer,
) -> Result<DriveEnd, SealedIoError> {
    let _ending = Ending(channels);
    connection.limit_unsent(SYSTEM_UNSENT);
    connection.measure_round_trip();
    let moved = move_frames(&mut connection, channels).await;
    // No new channel begins while the session closes, and nobody waits for it.
    channels.end();
    match moved {
        // Busy tells the peer to come again.
        Ok(DriveEnd::Stopped) => {
            connection.abort(Alert::Busy).await;
            Ok(DriveEnd::Stopped)
        }
        Ok(end) => {
            connection.close(REPLY).await?;
            Ok(end)
        }
        Err(SealedIoError::Sealed(error)) => {
            // The core has the alert already. It has to arrive before the connection is reset.
            connection.abort(Alert::ProtocolError).await;
            Err(SealedIoError::Sealed(error))
        }
        Err(error) => Err(error),
    }
}

/// Tasks to wake. They are woken at the latest when it is dropped, so every end of the session wakes them.
#[derive(Default)]
struct Wakers(Vec<Waker>);

impl Wakers {
    /// Returns whether there was one.
    fn wake(&mut self) -> bool {
        let has_any = !self.0.is_empty();
        self.0.drain(..).for_each(Waker::wake);
        has_any
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Ends all channels when it is dropped.
struct Ending<'a>(&'a Multiplexer);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn move_frames(
    connection: &mut SealedConnection,
    channels: &Multiplexer,
) -> Result<DriveEnd, SealedIoError> {
    let mut wakers = Wakers::default();
    let mut untold = Untold::new(channels.0.state().explanations.take());
    let mut has_buffers = true;
    loop {
        fill(connection, channels, &mut wakers.0, &mut untold)?;
        wakers.wake();
        untold.tell().await;
        if let Some(end) = wanted_end(channels).filter(|_| connection.is_flushed()) {
            return Ok(end);
        }
        if let Some(within) = channels.0.state().probe.take() {
            connection.probe(within);
        }
        tokio::select! {
            biased;
            event = connection.advance() => {
                if let IoEvent::Event(event) = event? {
                    let handled =
                        handle_events(event, connection, channels, &mut wakers.0, &mut untold);
                    let has_woken = wakers.wake();
                    // The last frames before an end explain it.
                    untold.tell().await;
                    if let Some(end) = handled? {
                        return Ok(end);
                    }
                    if has_woken {
                        // The channels hand over what they have before the next batch is read. Then the
                        // peer gets credit in time, and both sides work at once.
                        yield_now().await;
                    }
                }
            }
            () = channels.0.has_output.notified() => {}
            () = sleep(QUIET), if has_buffers => {
                channels.0.state().core.shrink();
                has_buffers = false;
                continue;
            }
        }
        wakers.wake();
        has_buffers = true;
    }
}

/// The end that this side wants, if it is time for it.
fn wanted_end(channels: &Multiplexer) -> Option<DriveEnd> {
    let state = channels.0.state();
    let is_finished = state.is_finishing && state.core.count() == 0 && !state.core.has_output();
    match state.is_stopping {
        true => Some(DriveEnd::Stopped),
        false => (is_finished || state.is_closing).then_some(DriveEnd::Finished),
    }
}

/// Seals frames while little waits for the socket.
fn fill(
    connection: &mut SealedConnection,
    channels: &Multiplexer,
    wakers: &mut Vec<Waker>,
    untold: &mut Untold,
) -> Result<(), SealedIoError> {
    // During a fresh key exchange our key cannot change, and more data could bring it to its limit.
    while connection.unsent() < UNSENT && !connection.session().is_exchanging() {
        let mut batch = connection.session().frames()?;
        {
            let mut state = channels.0.state();
            state.core.fill(&mut Told { batch: &mut batch, untold }, Instant::now())?;
            state.pass_events(wakers);
        }
        if batch.is_empty() {
            break;
        }
        // Without the lock, because it takes the most time.
        batch.seal()?;
        connection.stage();
    }
    Ok(())
}

/// Handles an event, and all others that are there.
fn handle_events(
    first: Event,
    connection: &mut SealedConnection,
    channels: &Multiplexer,
    wakers: &mut Vec<Waker>,
    untold: &mut Untold,
) -> Result<Option<DriveEnd>, SealedIoError> {
    connection.measure_if_older(MEASURED);
    let (round_trip, is_drained) = (connection.round_trip(), connection.take_drained());
    let mut state = channels.0.state();
    state.set_round_trip(round_trip);
    if is_drained {
        state.core.note_drained();
    }
    let mut next = Some(first);
    while let Some(event) = next {
        let handled = match event {
            Event::ChannelData { id, stream, data } => {
                untold.received(|| {
                    Frame::Data { id, stream, data: data.as_slice().into() }.to_string()
                });
                state.core.handle_data(id, stream, data)
            }
            Event::Frame(frame) => {
                untold.received(|| frame.to_string());
                state.core.handle(frame)
            }
            Event::CloseRequested | Event::Closed => return Ok(Some(DriveEnd::ByPeer)),
            Event::Alert(Alert::Draining(_)) => {
                log::info!("the peer is about to stop");
                Ok(())
            }
            // The connection answers pings and key exchanges itself, and the core refuses the others.
            _ => Ok(()),
        };
        if let Err(error) = handled {
            return Err(connection.session().fail(error).into());
        }
        state.pass_events(wakers);
        next = connection.ready_event();
    }
    // What was handed over goes back to the session, for what arrives next.
    while let Some(buffer) = state.core.take_large_buffer() {
        connection.recycle(Zeroizing::new(buffer));
    }
    Ok(None)
}
