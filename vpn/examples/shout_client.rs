//! A client that sends lines to a service and prints the answers.
//!
//! `cargo run --example shout_client -- HOST:PORT SERVICE OUR_KEY SERVER.pub TEXT...`

use std::error::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vpn::{Client, Identity, PublicKey};
use vpn_suites as _; // links the ciphers

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, service, key, server_key, texts @ ..] = arguments.as_slice() else {
        return Err("usage: HOST:PORT SERVICE OUR_KEY SERVER.pub TEXT...".into());
    };
    let server_key: PublicKey = std::fs::read_to_string(server_key)?.parse()?;
    let client = Client::new(server)?.identity(Identity::load(key)?).server_key(server_key);
    let mut channel = client.open(service).await?;
    for text in texts {
        channel.write_all(format!("{text}\n").as_bytes()).await?;
    }
    channel.shutdown().await?;
    let mut answers = String::new();
    channel.read_to_string(&mut answers).await?;
    channel.finish().await?; // now the server has everything
    print!("{answers}");
    Ok(())
}
