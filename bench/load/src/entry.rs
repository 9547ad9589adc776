//! The way into a forward: a port, or a SOCKS5 proxy.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// A port on this machine. Its connections end at a target.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Entry {
    /// The port to connect to
    #[arg(long)]
    port: u16,
    /// The port is a SOCKS5 proxy; this is the target's port on this machine
    #[arg(long)]
    socks: Option<u16>,
}

impl Entry {
    /// A connection to the target, without a delay of small writes.
    pub(crate) fn connect(self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(crate::DEADLINE))?;
        stream.set_write_timeout(Some(crate::DEADLINE))?;
        if let Some(target) = self.socks {
            ask(&mut stream, target)?;
        }
        Ok(stream)
    }
}

/// Asks a SOCKS5 proxy for a connection (RFC 1928 §3, §4, §6).
fn ask(stream: &mut TcpStream, target: u16) -> io::Result<()> {
    // Version 5, one method: no authentication.
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    let [high, low] = target.to_be_bytes();
    // CONNECT to an IPv4 address.
    stream.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low])?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply)?;
    // The address that the proxy used: IPv4 or IPv6, and a port. Proxies send no name here.
    let mut rest = [0; 18];
    let length = if reply[3] == 4 { 18 } else { 6 };
    stream.read_exact(&mut rest[..length])?;
    if method == [5, 0] && reply[..2] == [5, 0] {
        Ok(())
    } else {
        Err(io::Error::other(format!("the proxy answered {}", reply[1])))
    }
}
