//! Round trips of one client, one after the other.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Peer;
use crate::channel::{Dialler, MESSAGE, right};

/// Round trips before the measurement. They also show the kind of the server.
const WARM: usize = 200;

pub(crate) fn tcp(port: u16, count: usize) -> io::Result<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(crate::DEADLINE))?;
    blocking(&stream, &stream, count)
}

pub(crate) fn program(program: &[String], count: usize) -> io::Result<String> {
    let mut child = Command::new(&program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("the program has no pipes"));
    };
    let json = blocking(output, input, count)?;
    // Its input has ended by now.
    let status = child.wait()?;
    if status.success() { Ok(json) } else { Err(io::Error::other(format!("it ended: {status}"))) }
}

pub(crate) fn sealed(peer: &Peer, count: usize) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut channel = Dialler::new(peer)?.dial().await?;
        let mut times = Vec::with_capacity(count);
        for turn in 0..WARM + count {
            let start = Instant::now();
            channel.round_trip().await?;
            if turn >= WARM {
                times.push(start.elapsed());
            }
        }
        Ok(summary(&mut times))
    })
}

fn blocking(mut from: impl Read, mut to: impl Write, count: usize) -> io::Result<String> {
    // An echo answers with the message, and our client with the line reversed.
    let mut reversed = *MESSAGE;
    reversed[..MESSAGE.len() - 1].reverse();
    let mut expected = None;
    let mut times = Vec::with_capacity(count);
    for turn in 0..WARM + count {
        let start = Instant::now();
        to.write_all(MESSAGE)?;
        let mut reply = [0; MESSAGE.len()];
        from.read_exact(&mut reply)?;
        if turn >= WARM {
            times.push(start.elapsed());
        }
        let first = if reply == reversed { &reversed } else { MESSAGE };
        right(&reply, *expected.get_or_insert(first))?;
    }
    Ok(summary(&mut times))
}

/// Median and 99th percentile in microseconds.
pub(crate) fn summary(times: &mut [Duration]) -> String {
    let (p50, p99) = percentiles(times);
    format!(r#"{{"count":{},"p50":{p50:.2},"p99":{p99:.2}}}"#, times.len())
}

pub(crate) fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    (at(50), at(99))
}
