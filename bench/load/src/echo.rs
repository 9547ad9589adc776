//! Two simple echo servers. Blocking threads answer a single client fastest. Tasks serve many
//! clients, like our server.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CHUNK: usize = 4096;

pub(crate) fn threads(port: u16) -> io::Result<String> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        thread::spawn(move || -> io::Result<()> {
            let mut buffer = [0; CHUNK];
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..count])?;
            }
        });
    }
}

pub(crate) fn tasks(port: u16) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = [0; CHUNK];
                loop {
                    let count = stream.read(&mut buffer).await?;
                    if count == 0 {
                        return Ok::<(), io::Error>(());
                    }
                    stream.write_all(&buffer[..count]).await?;
                }
            });
        }
    })
}
