//! Fresh exchanges and early ends of our client are understood. The core of our client does at once what
//! the program does after an hour.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    Alert, ClientConfig, Event, HelloSent, Identity, Kex, KexKeyPair, Limits, Part, Session,
};
use vpn_suite::{KeySize, Registry};
use vpn_test_needs::needs;

use super::{AES256, Suite, Trust, our_server, their_server, wire_name};
use crate::support::adversary::read_part;
use crate::support::python::python;
use crate::support::{Keys, connect};

/// A connection that is read message by message.
struct Parts {
    stream: TcpStream,
}

impl Parts {
    fn next(&mut self, part: Part) -> Vec<u8> {
        read_part(&mut self.stream, part)
    }

    /// Sends all that waits to be sent, and takes records until something has happened.
    fn step(&mut self, session: &mut Session) -> Event {
        loop {
            while let Some(bytes) = session.poll_transmit() {
                self.stream.write_all(&bytes).unwrap();
            }
            if let Some(event) = session.poll_event() {
                return event;
            }
            let record = self.next(Part::Record);
            session.handle_input(&record).unwrap();
        }
    }

    /// A message and its answer.
    fn ask(&mut self, session: &mut Session, text: &str) -> String {
        let framed = [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        session.send(&framed).unwrap();
        self.hear(session, text.len())
    }

    fn hear(&mut self, session: &mut Session, length: usize) -> String {
        let mut data = Vec::new();
        while data.len() < 4 + length {
            match self.step(session) {
                Event::Data(bytes) => data.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        String::from_utf8(data.split_off(4)).unwrap()
    }
}

/// The core of our client, behind its handshake.
fn meet(
    port: u16,
    (name, bits): Suite,
    kex: Kex,
    ours: Identity,
    theirs: [u8; 32],
) -> (Parts, Session) {
    let suite = Registry::linked().unwrap().find(name).unwrap();
    let sizes = vec![KeySize::from_bits(bits).unwrap()];
    let config = ClientConfig {
        enabled: [EnabledSuite { suite, wire_name: suite.name(), sizes }].into(),
        kex: vec![kex],
        identity: Some(ours),
        server_key: Some(theirs),
        psk: None,
        limits: Limits::default(),
    };
    let mut parts = Parts { stream: connect(port) };
    let (state, hello) = HelloSent::start(Arc::new(config), kex, &mut rand::rng()).unwrap();
    parts.stream.write_all(&hello).unwrap();
    let state = state.on_first(&parts.next(Part::Hello)).unwrap();
    let (state, auth) = state.on_record(&parts.next(Part::Record)).unwrap().accept().unwrap();
    parts.stream.write_all(&auth).unwrap();
    let (session, _) = state.on_record(&parts.next(Part::Record)).unwrap();
    (parts, session)
}

/// It kept the session until the client closed the connection, or for fifteen minutes.
#[test]
fn our_server_ends_a_session_whose_client_ended_it_for_a_reason() {
    let keys = &Keys::new();
    let server = our_server(keys, &[AES256], Trust::Keys, &[]);
    let ours = keys.identity("client");
    let theirs = keys.public("server").bytes;
    let (mut parts, mut session) = meet(server.port, AES256, Kex::X25519MlKem768, ours, theirs);
    session.close(Alert::Busy).unwrap();
    while let Some(bytes) = session.poll_transmit() {
        parts.stream.write_all(&bytes).unwrap();
    }
    server.log.until("the peer ended the session: busy");
    assert_eq!(parts.stream.read(&mut [0]).unwrap(), 0);
}

/// Our client does this after an hour; here its core does it at once.
#[needs(python)]
#[test]
fn fresh_exchanges_of_our_client_are_answered_by_the_python_server() {
    let python = python();
    let mut rng = rand::rng();
    let keys = &Keys::new();
    let ours = keys.identity("client");
    let theirs = Identity::from_seed(&[2; 32]);
    for (kex, (name, bits)) in
        [(Kex::X25519MlKem768, AES256), (Kex::Ffdhe3072, ("DES3", 192)), (Kex::Ffdhe3072, AES256)]
    {
        let seed = "02".repeat(32);
        let suite = wire_name((name, bits));
        let more = ["--identity", &seed, "--kex", kex.name(), "--update-keys"];
        let mut server = their_server(keys, &python, &suite, Trust::Keys, &more);
        let (mut parts, mut session) =
            meet(server.port, (name, bits), kex, ours.clone(), theirs.public_key());
        session.open("message", b"").unwrap();
        assert!(matches!(parts.step(&mut session), Event::OpenReply { status: 0, .. }));
        for round in 1..=3u32 {
            assert_eq!(parts.ask(&mut session, "hello"), "olleh");
            session.update_key().unwrap();
            let pair = KexKeyPair::generate(kex, &mut rng);
            session.begin_exchange(pair.share()).unwrap();
            // Still under the old keys, there and back.
            let framed = [&[0, 0, 0, 3], &b"abc"[..]].concat();
            session.send(&framed).unwrap();
            let Event::ExchangeAnswered(share) = parts.step(&mut session) else { panic!() };
            session.finish_exchange(&pair.finish(&share).unwrap()).unwrap();
            assert_eq!(parts.hear(&mut session, 3), "cba");
            // Ours: an update and an exchange a round; theirs: an update a message, and exchanges.
            assert_eq!(parts.ask(&mut session, "日本"), "本日");
            assert_eq!(session.epochs()[0], 2 * round);
        }
        session.send_eof().unwrap();
        assert_eq!(parts.step(&mut session), Event::Eof);
        session.close(Alert::CloseNotify).unwrap();
        assert_eq!(parts.step(&mut session), Event::Closed);
        let closed = server.event("closed");
        assert_eq!((&closed["sent"], &closed["received"]), (&12.into(), &6.into()));
        assert!(server.process.code() == Some(0));
    }
}
