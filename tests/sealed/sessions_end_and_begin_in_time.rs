//! A session takes what comes right behind the handshake, and ends when its peer has gone silent.

use std::io::Write;

use tokio::net::{TcpListener, TcpStream};
use vpn::net::SealedIoError;
use vpn_proto::sealed::{
    Alert, Decision, Event, Gated, HelloSent, Kex, Limits, Part, Ready, RecordSealer, TrafficSecret,
};

use crate::support::adversary::read_part;
use crate::support::sealed::{configs, connected, runtime};
use crate::support::{DEADLINE, Keys, SHIPPED, accept};

#[test]
fn a_session_without_signs_of_life_ends_and_one_with_them_stays() {
    let keys = Keys::new();
    let config = format!("{SHIPPED}\n[limits]\nkeepalive_seconds = 1\n");
    let server = keys.server_with(&config, &[]);
    // A user who thinks for a long time about what to say.
    let mut thinker = keys.staying_client(&server);
    thinker.say("one");
    assert_eq!(thinker.out.next(), "eno");
    // A client that shakes hands and then says nothing at all, like one whose machine is gone.
    let config = keys.client_config();
    runtime().block_on(async {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (mut connection, ready) = connected(stream, config).await;
        assert_eq!(ready.keepalive, Some(1));
        connection.session().open("message", b"").unwrap();
        assert!(matches!(connection.next().await, Ok(Event::OpenReply { status: 0, .. })));
        let ended = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap();
        assert!(matches!(ended, Ok(Event::Alert(_)) | Err(SealedIoError::Sealed(_))), "{ended:?}");
    });
    server.log.until("the peer has fallen silent");
    thinker.say("two");
    assert_eq!(thinker.out.next(), "owt");
    thinker.end_input();
    assert_eq!(thinker.code(), Some(0));
}

#[test]
fn records_right_behind_a_clients_proof_are_taken_at_once() {
    let keys = Keys::new();
    let server = keys.server(&[]);
    let config = keys.client_config();
    let (state, hello) = HelloSent::start(config, Kex::X25519MlKem768, &mut rand::rng()).unwrap();
    let mut stream = server.connect();
    stream.write_all(&hello).unwrap();
    let state = state.on_first(&read_part(&mut stream, Part::Hello)).unwrap();
    let id = state.suite();
    let (state, proof) =
        state.on_record(&read_part(&mut stream, Part::Record)).unwrap().accept().unwrap();
    // A client in a hurry: it knows the keys of the session and does not wait for Ready.
    let [secret, _] = state.key_log();
    let secret = TrafficSecret::danger_from_bytes(*secret);
    let mut sealer = RecordSealer::new(secret.record_keys(id).unwrap());
    let open = sealer.seal(0x1b, b"\x07message\0\0", 1).unwrap();
    stream.write_all(&[proof, open].concat()).unwrap();
    let (mut session, _) = state.on_record(&read_part(&mut stream, Part::Record)).unwrap();
    // Only so that its side knows of it, too; nothing more is sent.
    session.open("message", b"").unwrap();
    session.handle_input(&read_part(&mut stream, Part::Record)).unwrap();
    assert!(matches!(session.poll_event(), Some(Event::OpenReply { status: 0, .. })));
}

#[test]
fn records_right_behind_ready_are_taken_at_once() {
    let (client, server) = configs(Limits::default());
    runtime().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.into_std().unwrap();
        let serving = std::thread::spawn(move || {
            let mut stream = accept(&listener);
            let hello = read_part(&mut stream, Part::Hello);
            let gated = Gated::on_hello(server, &hello).unwrap();
            let (state, flight) = gated.respond(&mut rand::rng()).unwrap();
            stream.write_all(&flight).unwrap();
            let admit = |_| Decision::Admit(Ready::default());
            let proof = read_part(&mut stream, Part::Record);
            let (mut session, _, mut together) = state.on_record(&proof, admit).unwrap();
            session.close(Alert::Draining(7)).unwrap();
            session.take_output(&mut together);
            stream.write_all(&together).unwrap();
            stream
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = connected(stream, client).await;
        // Nothing more comes: its connection stays open.
        let stream = serving.join().unwrap();
        let event = tokio::time::timeout(DEADLINE, connection.next()).await.unwrap();
        assert!(matches!(event, Ok(Event::Alert(Alert::Draining(7)))), "{event:?}");
        drop(stream);
    });
}
