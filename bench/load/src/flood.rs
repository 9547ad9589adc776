//! Bulk through many connections at once.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::entry::Entry;
use crate::target::{Way, transfer, want};

/// The time counts from when all connections are there to when the last byte has arrived.
pub(crate) fn measure(to: &Entry, connections: usize, bytes: u64, way: Way) -> io::Result<String> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = to.connect()?;
        want(&mut stream, Some(way), bytes)?;
        streams.push(stream);
    }
    let start = Barrier::new(connections + 1);
    let seconds = thread::scope(|scope| {
        let mut moving = Vec::with_capacity(connections);
        for mut stream in streams {
            let start = &start;
            moving.push(scope.spawn(move || {
                start.wait();
                transfer(&mut stream, way, bytes)
            }));
        }
        start.wait();
        let begin = Instant::now();
        for one in moving {
            one.join().map_err(|_| io::Error::other("a connection panicked"))??;
        }
        Ok::<_, io::Error>(begin.elapsed().as_secs_f64())
    })?;
    let total = bytes * connections as u64;
    Ok(format!(r#"{{"bytes":{total},"seconds":{seconds:.6}}}"#))
}
