//! What forwards lead to in `flood` and `keys`: a thread for each connection.
//!
//! A connection starts with one byte that says what it wants, and eight for a number of bytes. The
//! answer is [`READY`], which shows that the whole forward is there.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

pub(crate) const CHUNK: usize = 256 * 1024;
pub(crate) const READY: [u8; 1] = *b"+";
/// A connection that sends bytes back waits for this one.
pub(crate) const GO: [u8; 1] = *b"g";
/// The answer after the last byte of a connection that sends bytes there.
pub(crate) const DONE: [u8; 1] = *b"!";
const ECHO: u8 = b'e';

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// To the target
    Up = b'u' as isize,
    /// From the target
    Down = b'd' as isize,
}

/// Asks the target for a transfer, or for an echo if there is no direction.
pub(crate) fn want(stream: &mut TcpStream, way: Option<Way>, bytes: u64) -> io::Result<()> {
    let mut header = [0; 9];
    header[0] = way.map_or(ECHO, |way| way as u8);
    header[1..].copy_from_slice(&bytes.to_be_bytes());
    stream.write_all(&header)?;
    let mut ready = [0];
    stream.read_exact(&mut ready)?;
    if ready == READY { Ok(()) } else { Err(io::Error::other("this is no target")) }
}

/// Moves the bytes of a transfer at the client's end.
pub(crate) fn transfer(stream: &mut TcpStream, way: Way, bytes: u64) -> io::Result<()> {
    match way {
        Way::Up => {
            give(stream, bytes)?;
            let mut done = [0];
            stream.read_exact(&mut done)
        }
        Way::Down => {
            stream.write_all(&GO)?;
            take(stream, bytes)
        }
    }
}

pub(crate) fn serve(port: u16) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    stream.write_all(&READY)?;
    let [what, number @ ..] = header;
    let bytes = u64::from_be_bytes(number);
    if what == Way::Up as u8 {
        take(&mut stream, bytes)?;
        stream.write_all(&DONE)
    } else if what == Way::Down as u8 {
        stream.read_exact(&mut [0])?;
        give(&mut stream, bytes)
    } else {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => stream.write_all(&buffer[..count])?,
            }
        }
    }
}

fn give(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let chunk = vec![b'x'; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..count])?;
        left -= count as u64;
    }
    Ok(())
}

fn take(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut got = 0;
    while got < bytes {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            count => got += count as u64,
        }
    }
    Ok(())
}
