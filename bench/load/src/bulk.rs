//! The ends of bulk transfers in both directions. They read and write 256 KiB at once, and do not check the data.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

const CHUNK: usize = 256 * 1024;

/// Counts the bytes of one connection, and answers with one byte after the last.
pub(crate) fn sink(port: u16, bytes: u64) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let (mut stream, _) = listener.accept()?;
    let json = count(&mut stream, bytes)?;
    stream.write_all(b"!")?;
    Ok(json)
}

/// Counts the bytes of standard input.
pub(crate) fn drain(bytes: u64) -> io::Result<String> {
    count(&mut io::stdin().lock(), bytes)
}

/// Measures from the first byte to the last, so that the start of the connection does not count.
fn count(from: &mut impl Read, bytes: u64) -> io::Result<String> {
    let mut buffer = vec![0; CHUNK];
    let mut got = 0;
    let mut start = None;
    while got < bytes {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            let words = format!("{got} bytes where {bytes} were to come");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, words));
        }
        start.get_or_insert_with(Instant::now);
        got += count as u64;
    }
    let seconds = start.map_or(0.0, |start| start.elapsed().as_secs_f64());
    Ok(format!(r#"{{"bytes":{got},"seconds":{seconds:.6},"cpu":{:.6}}}"#, cpu()?))
}

/// Counts the bytes that a source's port sends, and answers with one byte after the last.
pub(crate) fn fetch(port: u16, bytes: u64) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let json = count(&mut stream, bytes)?;
    stream.write_all(b"!")?;
    Ok(json)
}

/// Sends standard input to the first connection, and waits for the answer.
pub(crate) fn source(port: u16) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let (stream, _) = listener.accept()?;
    send(stream)
}

/// Sends standard input to a sink's port, and waits for the answer.
pub(crate) fn feed(port: u16) -> io::Result<String> {
    send(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
}

fn send(mut stream: TcpStream) -> io::Result<String> {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; CHUNK];
    let mut sent = 0;
    loop {
        let count = input.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        stream.write_all(&buffer[..count])?;
        sent += count as u64;
    }
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(format!(r#"{{"bytes":{sent},"cpu":{:.6}}}"#, cpu()?))
}

/// The processor time used so far, in seconds. These helpers have one thread.
fn cpu() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanos.map(|nanos| nanos / 1e9).ok_or_else(|| io::Error::other("no schedstat"))
}
