//! Short connections: open, one byte there, one byte back, close.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::rtt::percentiles;

/// Connections before the measurement.
const WARM: usize = 20;

pub(crate) fn measure(to: &Entry, at_once: usize, seconds: f64) -> io::Result<String> {
    for _ in 0..WARM {
        once(to)?;
    }
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let mut times = thread::scope(|scope| {
        let work = || {
            let mut times = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                once(to)?;
                times.push(start.elapsed());
            }
            Ok::<_, io::Error>(times)
        };
        let working: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let mut times = Vec::new();
        for one in working {
            times.extend(one.join().map_err(|_| io::Error::other("a worker panicked"))??);
        }
        Ok::<_, io::Error>(times)
    })?;
    let per_second = times.len() as f64 / begin.elapsed().as_secs_f64();
    let (p50, p99) = percentiles(&mut times);
    Ok(format!(
        r#"{{"count":{},"per_second":{per_second:.1},"p50":{p50:.2},"p99":{p99:.2}}}"#,
        times.len()
    ))
}

fn once(to: &Entry) -> io::Result<()> {
    let mut stream = to.connect()?;
    stream.write_all(b"x")?;
    let mut reply = [0];
    stream.read_exact(&mut reply)?;
    crate::channel::right(&reply, b"x")
}
