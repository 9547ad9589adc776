//! A connection with keystrokes, beside one with bulk.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::rtt::percentiles;
use crate::target::{CHUNK, GO, Way, want};

const PERIOD: Duration = Duration::from_millis(5);
/// Keystrokes before the measurement. In this time the bulk gets its speed.
const WARM: usize = 100;
/// More than any transfer moves.
const ENDLESS: u64 = u64::MAX;

/// Each time counts from when the keystroke was due, so a late one makes the next ones late, too.
pub(crate) fn measure(to: &Entry, seconds: f64, way: Option<Way>) -> io::Result<String> {
    let count = WARM + (seconds / PERIOD.as_secs_f64()) as usize;
    let mut keys = to.connect()?;
    want(&mut keys, None, 0)?;
    let bulk = match way {
        None => None,
        Some(way) => {
            let mut stream = to.connect()?;
            want(&mut stream, Some(way), ENDLESS)?;
            Some((stream, way))
        }
    };
    let (moved, bulk_seconds, mut times) = thread::scope(|scope| {
        let begin = Instant::now();
        let mut moving = None;
        if let Some((stream, way)) = &bulk {
            moving = Some(scope.spawn(move || forever(stream, *way)));
        }
        let mut to_keys = keys.try_clone()?;
        let typing = scope.spawn(move || {
            for turn in 0..count {
                thread::sleep(
                    (begin + PERIOD * turn as u32).saturating_duration_since(Instant::now()),
                );
                to_keys.write_all(&text(turn))?;
            }
            Ok::<_, io::Error>(())
        });
        let read = read(&mut keys, begin, count);
        let bulk_seconds = begin.elapsed().as_secs_f64();
        if let Some((stream, _)) = &bulk {
            // This ends the transfer.
            stream.shutdown(Shutdown::Both)?;
        }
        typing.join().map_err(|_| io::Error::other("the writer panicked"))??;
        let moved = match moving {
            None => 0,
            Some(moving) => moving.join().map_err(|_| io::Error::other("the bulk panicked"))?,
        };
        Ok::<_, io::Error>((moved, bulk_seconds, read?))
    })?;
    if way.is_some() && moved == 0 {
        return Err(io::Error::other("the bulk did not move"));
    }
    let (p50, p99) = percentiles(&mut times);
    let max = times.last().map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    let rate = moved as f64 / bulk_seconds / 1e6;
    Ok(format!(
        r#"{{"count":{},"p50":{p50:.2},"p99":{p99:.2},"max":{max:.2},"bulk":{rate:.1}}}"#,
        times.len()
    ))
}

fn text(turn: usize) -> [u8; 16] {
    (turn as u128).to_be_bytes()
}

fn read(keys: &mut TcpStream, begin: Instant, count: usize) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for turn in 0..count {
        let mut reply = [0; 16];
        keys.read_exact(&mut reply)?;
        crate::channel::right(&reply, &text(turn))?;
        if turn >= WARM {
            times.push((begin + PERIOD * turn as u32).elapsed());
        }
    }
    Ok(times)
}

/// Moves bytes until the connection is shut down. Returns their number.
fn forever(mut stream: &TcpStream, way: Way) -> u64 {
    let mut buffer = vec![b'x'; CHUNK];
    let mut moved = 0;
    if way == Way::Down && stream.write_all(&GO).is_err() {
        return 0;
    }
    loop {
        let step = match way {
            Way::Up => stream.write(&buffer),
            Way::Down => stream.read(&mut buffer),
        };
        match step {
            Ok(count) if count > 0 => moved += count as u64,
            _ => return moved,
        }
    }
}
