//! A server with its own service: it answers in capital letters.
//!
//! `cargo run --example shout_server -- SERVER_KEY CLIENT.pub` prints the port that the system chose.
//! `vpn keygen --out FILE` makes keys.

use std::error::Error;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use vpn::{Channel, Identity, Server};
use vpn_suites as _; // links the ciphers

/// Answers each line in capital letters, until the client has no more.
async fn shout(channel: Channel) -> Result<(), Box<dyn Error>> {
    let mut channel = BufReader::new(channel);
    let mut line = String::new();
    while channel.read_line(&mut line).await? > 0 {
        channel.get_mut().write_all(line.to_uppercase().as_bytes()).await?;
        line.clear();
    }
    Ok(channel.into_inner().finish().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (key, client) = arguments.next().zip(arguments.next()).ok_or("usage: SERVER_KEY CLIENT")?;
    let server = Server::bind("127.0.0.1:0", "shout").await?;
    let server =
        server.identity(Identity::load(key)?).allow(std::fs::read_to_string(client)?.parse()?);
    println!("{}", server.port());
    let handle = |channel| async {
        if let Err(error) = shout(channel).await {
            eprintln!("a client: {error}");
        }
    };
    Ok(server.serve(handle, async { drop(tokio::signal::ctrl_c().await) }).await?)
}
