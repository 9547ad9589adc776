//! Sessions over sockets agree on fresh keys when it is time, and no byte is lost meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use vpn::net::{DhPool, Source};
use vpn_proto::sealed::{Event, Kex, Limits, ServerConfig};

use crate::support::DEADLINE;
use crate::support::sealed::{accepted, accepted_by, configs, connected, connected_by, runtime};

#[test]
fn fresh_exchanges_are_made_when_they_are_due_and_no_byte_is_lost() {
    exchange_under_traffic(Kex::X25519MlKem768, 3_000_000, 100_000);
}

#[test]
fn a_stream_goes_on_where_it_was_held_up_while_a_secret_is_computed() {
    // Slow enough for more than a batch of answers to come in the meantime.
    exchange_under_traffic(Kex::Ffdhe3072, 12_000_000, 2_000_000);
}

/// Has at least so many bytes echoed, of which at most some are under way at once, and as many more as
/// it takes for two fresh exchanges.
fn exchange_under_traffic(kex: Kex, total: usize, under_way: usize) {
    let limits = Limits { bytes_per_exchange: total as u64 / 30, ..Limits::default() };
    let (client, server) = configs(limits);
    let mut server = Arc::into_inner(server).unwrap();
    server.kex = vec![kex];
    let server = Arc::new(server);
    let pattern = |at: usize| u8::try_from(at % 251).unwrap();
    runtime().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = accepted(stream, server).await;
            loop {
                match connection.next().await.unwrap() {
                    Event::Open { .. } => connection.session().reply_open(0, "").unwrap(),
                    Event::Data(data) => connection.session().send(&data).unwrap(),
                    Event::Eof => connection.session().send_eof().unwrap(),
                    Event::CloseRequested => break,
                    other => panic!("{other:?}"),
                }
            }
            let epochs = connection.session().epochs();
            connection.close(DEADLINE).await.unwrap();
            epochs
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = connected_by(kex, &DhPool::new(1), stream, client).await;
        connection.session().open("message", b"").unwrap();
        assert!(matches!(connection.next().await, Ok(Event::OpenReply { status: 0, .. })));
        let (mut sent, mut received) = (0, 0);
        let start = Instant::now();
        loop {
            let is_enough = sent >= total && connection.session().epochs().iter().all(|e| *e >= 2);
            if is_enough && received == sent {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "{:?}", connection.session().epochs());
            while !is_enough && sent - received < under_way {
                let piece: Vec<u8> = (sent..sent + 10_000).map(pattern).collect();
                connection.session().send(&piece).unwrap();
                sent += piece.len();
            }
            let event = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap();
            let Event::Data(data) = event.unwrap() else { panic!("something else than data") };
            for byte in data.iter() {
                assert_eq!(*byte, pattern(received));
                received += 1;
            }
        }
        let epochs = connection.session().epochs();
        connection.session().send_eof().unwrap();
        assert!(matches!(connection.next().await, Ok(Event::Eof)));
        connection.close(DEADLINE).await.unwrap();
        let theirs = tokio::time::timeout(DEADLINE, echo).await.unwrap().unwrap();
        assert!(theirs[0] >= epochs[1] && theirs[1] >= epochs[0], "{theirs:?} {epochs:?}");
    });
}

/// Keeps the one worker of a pool busy until it is dropped.
async fn occupied(pool: &DhPool) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let pool = pool.clone();
    let work = move || {
        begin.send(()).unwrap();
        // The sender says nothing, it goes.
        let _ = released.recv_timeout(DEADLINE);
    };
    tokio::spawn(async move { pool.compute("a test", Source::SELF, work).await });
    begun.await.unwrap();
    release
}

const TOTAL: usize = 2_000_000;
const TICK: Duration = Duration::from_millis(10);

/// A server that sends as soon as it has answered an exchange, and stays until the client closes.
async fn send_when_answered(listener: TcpListener, config: Arc<ServerConfig>, pool: DhPool) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = accepted_by(&pool, stream, config).await;
    let mut has_sent = false;
    loop {
        if connection.session().epochs()[0] == 1 && !has_sent {
            connection.session().send(&vec![7; TOTAL]).unwrap();
            has_sent = true;
        }
        match tokio::time::timeout(TICK, connection.next()).await {
            Ok(Ok(Event::Open { .. })) => connection.session().reply_open(0, "").unwrap(),
            Ok(Ok(Event::CloseRequested)) => return connection.close(DEADLINE).await.unwrap(),
            Ok(other) => drop(other.unwrap()),
            Err(_) => {}
        }
    }
}

#[test]
fn a_client_that_waits_for_its_secret_reads_a_batch_and_no_more() {
    let limits = Limits { bytes_per_exchange: 100_000, ..Limits::default() };
    let (client, server) = configs(limits);
    let (client_pool, server_pool) = (DhPool::new(1), DhPool::new(1));
    runtime().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(send_when_answered(listener, server, server_pool.clone()));
        let stream = TcpStream::connect(address).await.unwrap();
        let kex = Kex::X25519MlKem768;
        let (mut connection, _) = connected_by(kex, &client_pool, stream, client).await;
        connection.session().open("message", b"").unwrap();
        assert!(matches!(connection.next().await, Ok(Event::OpenReply { status: 0, .. })));
        let start = Instant::now();
        // Our half goes out while the server cannot answer; then nothing of ours is computed, either.
        let server_held = occupied(&server_pool).await;
        connection.session().send(&[0; 150_000]).unwrap();
        while !connection.session().is_exchanging() {
            assert!(start.elapsed() < DEADLINE);
            assert!(tokio::time::timeout(TICK, connection.next()).await.is_err());
        }
        let client_held = occupied(&client_pool).await;
        drop(server_held);
        while !connection.session().has_backlog() {
            assert!(start.elapsed() < DEADLINE);
            assert!(tokio::time::timeout(TICK, connection.next()).await.is_err());
        }
        for _ in 0..10 {
            assert!(tokio::time::timeout(TICK, connection.next()).await.is_err());
        }
        let most = connection.session().batch_length();
        assert_eq!(connection.session().input_buffer().len(), most);
        drop(client_held);
        let mut received = 0;
        while received < TOTAL {
            let event = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap();
            let Event::Data(data) = event.unwrap() else { panic!("something else than data") };
            assert!(data.iter().all(|byte| *byte == 7));
            received += data.len();
        }
        assert_eq!(received, TOTAL);
        connection.close(DEADLINE).await.unwrap();
        tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap();
    });
}

#[test]
fn a_session_without_a_fresh_exchange_ends() {
    let (client, server) = configs(Limits::default());
    runtime().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            accepted(stream, server).await
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, _) = connected(stream, client).await;
        let mut server = serving.await.unwrap();
        let now = Instant::now();
        const HOUR: Duration = Duration::from_secs(3600);
        for session in [client.session(), server.session()] {
            session.handle_timeout(now).unwrap();
            assert!(!session.is_exchange_due());
        }
        assert_eq!(client.session().poll_timeout(), Some(now + HOUR));
        client.session().handle_timeout(now + HOUR).unwrap();
        assert!(client.session().is_exchange_due());
        assert_eq!(server.session().poll_timeout(), Some(now + 2 * HOUR));
        server.session().handle_timeout(now + HOUR).unwrap();
        // That is the client's to do.
        assert!(!server.session().is_exchange_due());
        for session in [client.session(), server.session()] {
            let error = session.handle_timeout(now + 2 * HOUR).unwrap_err();
            assert!(error.to_string().contains("the time since the last key exchange"));
        }
    });
}
