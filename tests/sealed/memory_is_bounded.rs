//! Authenticated clients use a bounded part of a server's memory, and it comes back.

use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use vpn::net::SealedConnection;
use vpn_proto::sealed::{ClientConfig, Event};

use crate::support::sealed::{connected, runtime};
use crate::support::{DEADLINE, Keys, SHIPPED, Server, wait_until};

const MIB: u64 = 1024;

async fn opened(server: &Server, config: &Arc<ClientConfig>) -> SealedConnection {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut connection, _) = connected(stream, config.clone()).await;
    connection.session().open("message", b"").unwrap();
    assert!(matches!(connection.next().await, Ok(Event::OpenReply { status: 0, .. })));
    connection
}

/// Asks until it has the answer.
async fn ask(connection: &mut SealedConnection, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    connection.session().send(&[&length.to_be_bytes(), text].concat()).unwrap();
    let mut reply = Vec::new();
    while reply.len() < 4 + text.len() {
        let event = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap().unwrap();
        let Event::Data(data) = event else { panic!("{event:?}") };
        reply.extend_from_slice(&data);
    }
    reply.split_off(4)
}

#[test]
fn clients_that_send_long_messages_and_never_read_share_a_bounded_memory_that_comes_back() {
    let keys = Keys::new();
    let memory = 8 * MIB;
    let limits = format!("{SHIPPED}\n[limits]\nmessage_memory = {}\n", memory * 1024);
    let server = keys.server_with(&limits, &[]);
    let config = keys.client_config();
    runtime().block_on(async {
        // The memory of a server that has been at work.
        let mut honest = opened(&server, &config).await;
        let long: Vec<u8> = (0..1u32 << 20).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
        let reversed: Vec<u8> = long.iter().rev().copied().collect();
        assert!(ask(&mut honest, &long).await == reversed);
        let before = server.memory();
        let mut greedy = Vec::new();
        for _ in 0..24 {
            let mut connection = opened(&server, &config).await;
            greedy.push(tokio::spawn(async move {
                let message = [&(1u32 << 20).to_be_bytes(), &vec![b'x'; 1 << 20][..]].concat();
                for _ in 0..2 {
                    connection.session().send(&message).unwrap();
                }
                // Nothing is read; the server takes what it has room for.
                let _ = connection.flush().await;
                std::future::pending::<()>().await;
            }));
        }
        // Others are served meanwhile.
        for _ in 0..20 {
            assert_eq!(ask(&mut honest, b"abc").await, b"cba");
        }
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < std::time::Duration::from_secs(2) {
            most = most.max(server.memory());
            assert_eq!(ask(&mut honest, b"abc").await, b"cba");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // Without a bound each of them takes 6.4 MiB.
        let bound = before + memory + 24 * MIB / 4;
        assert!(server.peak_memory() < bound, "{} of {bound} KiB", server.peak_memory());
        for task in greedy {
            task.abort();
        }
        let start = Instant::now();
        loop {
            let now = server.memory();
            if now < before + memory {
                println!("{before} KiB before, {most} under way, {now} after");
                break;
            }
            assert!(start.elapsed() < DEADLINE, "{before} KiB before, {now} after");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        // Long messages are still served.
        assert!(ask(&mut honest, &long).await == reversed);
    });
}

#[test]
fn a_key_has_128_sessions_at_once_unless_its_line_says_otherwise() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let config = keys.client_config();
    runtime().block_on(async {
        let mut sessions = Vec::new();
        for _ in 0..128 {
            sessions.push(opened(&server, &config).await);
        }
        let ended = keys.says_abc(&server, "client");
        assert_eq!(ended.code, Some(5), "{}", ended.stderr);
        server.log.until("its key has as many sessions as it may have");
        drop(sessions.pop());
        wait_until("room for another session", || {
            keys.says_abc(&server, "client").stdout == "cba\n"
        });
    });
}
