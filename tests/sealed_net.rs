//! The sealed profile over sockets: limits before authentication, signs of life, fresh exchanges.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream as AsyncStream};
use vpn::net::{
    AcceptContext, DhPool, HandshakeContext, ReplayCache, SealedConnection, SealedIoError, Source,
    accept_sealed, connect_sealed,
};
use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    Alert, ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, Limits, Part,
    PeerIdentity, Ready, RecordSealer, ServerConfig, TrafficSecret, next_length,
};
use vpn_suite::{KeySize, Registry};

use crate::sealed_cli::Keys;
use crate::support::{DEADLINE, Lines, Process, SHIPPED, Server, accept, read_to_end, vpn};

pub(crate) fn aes() -> Arc<[EnabledSuite]> {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let sizes = vec![KeySize::from_bits(256).unwrap()];
    vec![EnabledSuite { suite, wire_name: suite.name(), sizes }].into()
}

fn configs(limits: Limits) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (ours, theirs) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let client = ClientConfig {
        enabled: aes(),
        kex: Kex::ALL.to_vec(),
        identity: Some(ours),
        server_key: Some(theirs.public_key()),
        psk: None,
        limits,
    };
    let server = ServerConfig {
        enabled: aes(),
        kex: Kex::ALL.to_vec(),
        identity: Some(theirs),
        psks: Vec::new(),
        is_gate_required: true,
        limits,
    };
    (Arc::new(client), Arc::new(server))
}

/// A configuration in which this machine is a stranger, with these further limits.
fn strangers(limits: &str) -> String {
    format!("{SHIPPED}\n[limits]\nexempt = []\n{limits}\n")
}

/// The first message of a client that knows the server's key.
fn hello(keys: &Keys) -> Vec<u8> {
    let key = keys.read("server.pub");
    let key = vpn::trust::PublicKey::parse(key.trim()).unwrap();
    let config = ClientConfig {
        enabled: aes(),
        kex: Kex::ALL.to_vec(),
        identity: None,
        server_key: Some(key.bytes),
        psk: None,
        limits: Limits::default(),
    };
    HelloSent::start(Arc::new(config), Kex::X25519MlKem768, &mut rand::rng()).unwrap().1
}

/// Reads a ServerHello.
fn read_hello(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while next_length(Part::Hello, &bytes).unwrap().is_none() {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
}

#[test]
fn a_client_hello_opens_the_gate_once() {
    let keys = Keys::new();
    let server = keys.server(&["--gate", "required"]);
    let hello = hello(&keys);
    let mut first = server.connect();
    first.write_all(&hello).unwrap();
    read_hello(&mut first);
    let mut second = server.connect();
    second.write_all(&hello).unwrap();
    assert_eq!(read_to_end(&mut second), b"");
    server.log.until("its ClientHello is a repeated one");
}

/// A connection from another address of this machine.
fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect_timeout(&server.address().into(), DEADLINE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn a_source_with_many_handshakes_makes_room_for_its_own_next_one() {
    let keys = Keys::new();
    let limits = "half_open = 3\nearly_drop = [4, 100, 101]\nfirst_byte_seconds = 60";
    let server = keys.server_with(&strangers(limits), &[]);
    let mut other = connect_from(&server, 9);
    let mut silent: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    let (pin, mut more) = (keys.fingerprint("server"), Vec::new());
    for oldest in &mut silent {
        let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &pin]);
        assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
        server.log.until("its handshake had to make room for others");
        assert_eq!(read_to_end(oldest), b"");
        // Another one in its place.
        other.set_nonblocking(true).unwrap();
        assert!(other.read(&mut [0]).is_err(), "the other source has lost its connection");
        more.push(server.connect());
    }
}

#[test]
fn who_opens_connections_too_often_is_served_as_long_as_there_is_room() {
    let keys = Keys::new();
    let limits = "new_per_minute = 2\nearly_drop = [1, 100, 2]\nfirst_byte_seconds = 60";
    let server = keys.server_with(&strangers(limits), &[]);
    let pin = keys.fingerprint("server");
    let args = ["-q", "-m", "abc", "--server-key", &pin];
    for _ in 0..4 {
        assert_eq!(keys.client(&server, "client", &args).stdout, "cba\n");
    }
    let _other = connect_from(&server, 9);
    let ended = keys.client(&server, "client", &args);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(ended.stderr.contains("or it is busy"), "{}", ended.stderr);
    assert!(ended.stderr.contains("comes too often"), "{}", ended.stderr);
    server.log.until("its source opens connections too often");
}

#[test]
fn who_was_turned_away_has_to_wait_where_there_is_little_room() {
    let keys = Keys::new();
    // Long enough for a busy machine to start the next client while it lasts.
    let limits = "new_per_minute = 1000\npenalty_authentication_seconds = 8\n\
         penalty_min_seconds = 8\nearly_drop = [1, 100, 2]\nfirst_byte_seconds = 60";
    let server = keys.server_with(&strangers(limits), &[]);
    let pin = keys.fingerprint("server");
    let args = ["-q", "-m", "abc", "--server-key", &pin];
    assert_eq!(keys.client(&server, "stranger", &args).code, Some(5));
    server.log.until("its key is unknown");
    assert_eq!(keys.client(&server, "client", &args).stdout, "cba\n");
    assert_eq!(keys.client(&server, "stranger", &args).code, Some(5));
    let _other = connect_from(&server, 9);
    let start = Instant::now();
    while keys.client(&server, "client", &args).stdout != "cba\n" {
        assert!(start.elapsed() < DEADLINE);
    }
    server.log.until("its source is penalised for");
    // By then the penalty was over, and of equals one had to go.
    server.log.until("its handshake had to make room for others");
}

#[test]
fn a_sealed_client_of_a_full_server_hears_that_it_is_busy() {
    let keys = Keys::new();
    let server = keys.server_with(&format!("{SHIPPED}\n[limits]\nsessions = 1\n"), &["--classic"]);
    let pin = keys.fingerprint("server");
    let port = server.port.to_string();
    let mut command = vpn();
    let args = ["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "-q"];
    let identity = keys.path("client");
    command.args(args).args(["--identity", &identity, "--server-key", &pin]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut first = Process(command.spawn().unwrap());
    server.out.until("The key has been established");
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &pin]);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("the server is busy"), "{}", ended.stderr);
    drop(first.0.stdin.take());
    assert!(first.wait().success());
    server.log.until("closed the session");
    let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &pin]);
    assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
}

#[test]
fn this_machine_is_exempt_unless_somebody_says_otherwise() {
    let keys = Keys::new();
    let server = keys.server_with(&format!("{SHIPPED}\n[limits]\nnew_per_minute = 1\n"), &[]);
    let pin = keys.fingerprint("server");
    for _ in 0..3 {
        let ended = keys.client(&server, "client", &["-q", "-m", "abc", "--server-key", &pin]);
        assert_eq!(ended.stdout, "cba\n", "{}", ended.stderr);
    }
}

#[test]
fn a_session_without_signs_of_life_ends_and_one_with_them_stays() {
    let keys = Keys::new();
    let config = format!("{SHIPPED}\n[limits]\nkeepalive_seconds = 1\n");
    let server = keys.server_with(&config, &[]);
    // Somebody who thinks for a long time about what to say.
    let pin = keys.fingerprint("server");
    let port = server.port.to_string();
    let mut command = vpn();
    let args = ["client", "--sealed", "--host", "127.0.0.1", "--port", &port, "-q"];
    let identity = keys.path("client");
    command.args(args).args(["--identity", &identity, "--server-key", &pin]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut thinker = Process(command.spawn().unwrap());
    let lines = Lines::of(thinker.0.stdout.take().unwrap());
    let mut stdin = thinker.0.stdin.take().unwrap();
    writeln!(stdin, "one").unwrap();
    assert_eq!(lines.next(), "eno");
    // A client that shakes hands and then says nothing at all, as one whose machine is gone.
    let seed = keys.read("client");
    let identity = vpn::trust::read_identity(std::path::Path::new(&keys.path("client")), || {
        panic!("no passphrase")
    });
    assert!(seed.starts_with("-----BEGIN"));
    let key = vpn::trust::PublicKey::parse(keys.read("server.pub").trim()).unwrap();
    let config = ClientConfig {
        enabled: aes(),
        kex: Kex::ALL.to_vec(),
        identity: Some(identity.unwrap()),
        server_key: Some(key.bytes),
        psk: None,
        limits: Limits::default(),
    };
    runtime().block_on(async {
        let stream = AsyncStream::connect(server.address()).await.unwrap();
        let (mut connection, ready) = connected(stream, Arc::new(config)).await;
        assert_eq!(ready.keepalive, Some(1));
        connection.session().open("message", b"").unwrap();
        assert!(matches!(connection.next().await, Ok(Event::OpenReply { status: 0, .. })));
        let ended = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap();
        assert!(matches!(ended, Ok(Event::Alert(_)) | Err(SealedIoError::Sealed(_))), "{ended:?}");
    });
    server.log.until("the peer has fallen silent");
    writeln!(stdin, "two").unwrap();
    assert_eq!(lines.next(), "owt");
    drop(stdin);
    assert!(thinker.wait().success());
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) async fn connected(
    stream: AsyncStream,
    config: Arc<ClientConfig>,
) -> (SealedConnection, Ready) {
    connected_by(Kex::X25519MlKem768, &DhPool::new(1), stream, config).await
}

async fn connected_by(
    kex: Kex,
    pool: &DhPool,
    stream: AsyncStream,
    config: Arc<ClientConfig>,
) -> (SealedConnection, Ready) {
    let deadline = Instant::now() + DEADLINE;
    let place = HandshakeContext { pool, source: Source::SELF, deadline };
    let connected =
        connect_sealed::<SealedIoError>(stream, config, kex, place, |_| Ok(()), &|_| {});
    connected.await.unwrap()
}

async fn accepted(stream: AsyncStream, config: Arc<ServerConfig>) -> SealedConnection {
    accepted_by(&DhPool::new(1), stream, config).await
}

async fn accepted_by(
    pool: &DhPool,
    stream: AsyncStream,
    config: Arc<ServerConfig>,
) -> SealedConnection {
    let replays = ReplayCache::default();
    let deadline = Instant::now() + DEADLINE;
    let place = HandshakeContext { pool, source: Source::SELF, deadline };
    let accept = AcceptContext { replays: &replays, queue_limit: 64, admission: None };
    let decide = async || |_: PeerIdentity| Decision::Admit(Ready::default());
    let accepted = accept_sealed(stream, config, place, accept, async |_| {}, decide, &|_| {});
    accepted.await.unwrap().0
}

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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
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
        let stream = AsyncStream::connect(address).await.unwrap();
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

#[test]
fn a_client_that_waits_for_its_secret_reads_a_batch_and_no_more() {
    const TOTAL: usize = 2_000_000;
    const TICK: Duration = Duration::from_millis(10);
    let limits = Limits { bytes_per_exchange: 100_000, ..Limits::default() };
    let (client, server) = configs(limits);
    let (client_pool, server_pool) = (DhPool::new(1), DhPool::new(1));
    runtime().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let pool = server_pool.clone();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = accepted_by(&pool, stream, server).await;
            let mut has_sent = false;
            // Data as soon as the exchange is answered; until the client closes.
            loop {
                if connection.session().epochs()[0] == 1 && !has_sent {
                    connection.session().send(&vec![7; TOTAL]).unwrap();
                    has_sent = true;
                }
                match tokio::time::timeout(TICK, connection.next()).await {
                    Ok(Ok(Event::Open { .. })) => connection.session().reply_open(0, "").unwrap(),
                    Ok(Ok(Event::CloseRequested)) => {
                        return connection.close(DEADLINE).await.unwrap();
                    }
                    Ok(other) => drop(other.unwrap()),
                    Err(_) => {}
                }
            }
        });
        let stream = AsyncStream::connect(address).await.unwrap();
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            accepted(stream, server).await
        });
        let stream = AsyncStream::connect(address).await.unwrap();
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

/// Reads a record.
fn read_record(stream: &mut TcpStream) -> Vec<u8> {
    let mut record = vec![0; 2];
    stream.read_exact(&mut record).unwrap();
    let length = usize::from(u16::from_be_bytes([record[0], record[1]]));
    record.resize(2 + length, 0);
    stream.read_exact(&mut record[2..]).unwrap();
    record
}

#[test]
fn what_comes_right_behind_a_clients_proof_is_taken_at_once() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let identity = vpn::trust::read_identity(std::path::Path::new(&keys.path("client")), || {
        panic!("no passphrase")
    });
    let key = vpn::trust::PublicKey::parse(keys.read("server.pub").trim()).unwrap();
    let config = ClientConfig {
        enabled: aes(),
        kex: Kex::ALL.to_vec(),
        identity: Some(identity.unwrap()),
        server_key: Some(key.bytes),
        psk: None,
        limits: Limits::default(),
    };
    let (state, hello) =
        HelloSent::start(Arc::new(config), Kex::X25519MlKem768, &mut rand::rng()).unwrap();
    let mut stream = server.connect();
    stream.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    while next_length(Part::Hello, &answer).unwrap().is_none() {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let state = state.on_first(&answer).unwrap();
    let id = state.suite();
    let (state, proof) = state.on_record(&read_record(&mut stream)).unwrap().accept().unwrap();
    // A client in a hurry: it knows the keys of the session and does not wait for Ready.
    let [secret, _] = state.key_log();
    let secret = TrafficSecret::danger_from_bytes(*secret);
    let mut sealer = RecordSealer::new(secret.record_keys(id).unwrap());
    let open = sealer.seal(0x1b, b"\x07message\0\0", 1).unwrap();
    stream.write_all(&[proof, open].concat()).unwrap();
    let (mut session, _) = state.on_record(&read_record(&mut stream)).unwrap();
    // Only so that its side knows of it, too; nothing more is sent.
    session.open("message", b"").unwrap();
    session.handle_input(&read_record(&mut stream)).unwrap();
    assert!(matches!(session.poll_event(), Some(Event::OpenReply { status: 0, .. })));
}

#[test]
fn what_comes_right_behind_ready_is_taken_at_once() {
    let (client, server) = configs(Limits::default());
    runtime().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        let serving = std::thread::spawn(move || {
            let mut stream = accept(&listener);
            let mut hello = Vec::new();
            while next_length(Part::Hello, &hello).unwrap().is_none() {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                hello.push(byte[0]);
            }
            let gated = Gated::on_hello(server, &hello).unwrap();
            let (state, flight) = gated.respond(&mut rand::rng()).unwrap();
            stream.write_all(&flight).unwrap();
            let admit = |_| Decision::Admit(Ready::default());
            let proof = read_record(&mut stream);
            let (mut session, _, mut together) = state.on_record(&proof, admit).unwrap();
            session.close(Alert::Draining(7)).unwrap();
            session.take_output(&mut together);
            stream.write_all(&together).unwrap();
            stream
        });
        let stream = AsyncStream::connect(address).await.unwrap();
        let (mut connection, _) = connected(stream, client).await;
        // Nothing more comes: its connection stays open.
        let stream = serving.join().unwrap();
        let event = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap();
        assert!(matches!(event, Ok(Event::Alert(Alert::Draining(7)))), "{event:?}");
        drop(stream);
    });
}
