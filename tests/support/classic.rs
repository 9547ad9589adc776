//! Classic sessions by the library's own client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use vpn_proto::EnabledSuite;
use vpn_proto::classic::{
    ClassicParams, ClientHandshake, ClientSession, Dialect, DialectPlan, Event, Handshake, Telling,
    Timing,
};
use vpn_suite::{KeySize, Registry};

use super::Server;

/// Parameters of an in-test client that offers AES 256.
pub(crate) fn params() -> ClassicParams {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let sizes = vec![KeySize::from_bits(256).unwrap()];
    ClassicParams {
        enabled: vec![EnabledSuite { suite, wire_name: "AES", sizes }].into(),
        plan: DialectPlan::fixed(Dialect::SPEC),
        timing: Timing::default(),
        message_limit: 1 << 20,
        telling: Telling::Nothing,
    }
}

/// A session over a blocking socket, by the library's own client.
pub(crate) fn established(server: &Server) -> (TcpStream, ClientSession) {
    let mut stream = server.connect();
    let mut client = ClientHandshake::new(params(), &mut rand::rng(), Instant::now());
    loop {
        while let Some(bytes) = client.poll_transmit() {
            stream.write_all(&bytes).unwrap();
        }
        match client.poll_event() {
            Some(Event::Compute(task)) => client.handle_outcome(task.run()).unwrap(),
            Some(_) => {}
            None => match client.take_session() {
                Some(session) => return (stream, session),
                None => {
                    let mut bytes = [0; 4096];
                    let n = stream.read(&mut bytes).unwrap();
                    client.handle_input(&bytes[..n], Instant::now()).unwrap();
                }
            },
        }
    }
}
