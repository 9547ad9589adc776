//! An HTTP request to a server behind `vpn server`.
//!
//! `cargo run --example http_get -- HOST:PORT OUR_KEY SERVER.pub WEB:PORT PATH`

use std::error::Error;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use vpn::{Client, Identity, PublicKey};
use vpn_suites as _; // links the ciphers

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, key, server_key, web, path] = arguments.as_slice() else {
        return Err("usage: HOST:PORT OUR_KEY SERVER.pub WEB:PORT PATH".into());
    };
    let server_key: PublicKey = std::fs::read_to_string(server_key)?.parse()?;
    let client = Client::new(server)?.identity(Identity::load(key)?).server_key(server_key);
    let session = client.connect().await?;
    // The server connects to the web server, if our line in its authorized_clients permits that.
    let channel = session.forward(web).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(channel)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", web).body(Empty::<Bytes>::new())?;
    let response = requests.send_request(request).await?;
    eprintln!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));
    Ok(())
}
