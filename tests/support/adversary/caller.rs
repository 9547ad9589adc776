//! Clients over sockets that say what a test wants.

use std::io::Write;
use std::net::TcpStream;

use vpn_proto::sealed::{Kex, KexKeyPair, Part, RecordOpener};

use super::{Auth, Gate, Hello, Records, next_part, opener, read_flight, read_part, sha256};

/// What a client does to a server, and what it hears before the end.
pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    pub(crate) server_key: [u8; 32],
}

impl Caller {
    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A hello with the right gate.
    pub(crate) fn hello(&self, share: &[u8]) -> Hello {
        let gate = Gate::Keyed(self.server_key.to_vec(), "pub");
        Hello { gate, ..Hello::new(share) }
    }

    /// The handshake up to the client's proof; the secrets of the session, the client's first.
    pub(crate) fn proves(&mut self, edit: impl FnOnce(&mut Auth), spoil: u8) -> [[u8; 32]; 2] {
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
        let hello = self.hello(pair.share()).encode();
        self.says(&hello);
        let answer = read_part(&mut self.stream, Part::Hello);
        let record = read_part(&mut self.stream, Part::Record);
        let (transcript, _, secrets) = read_flight(pair, &hello, &[answer, record].concat(), None);
        let mut auth = Auth::of_client();
        edit(&mut auth);
        let frame = auth.encode(&secrets.client, &transcript);
        let mut record = Records::new(secrets.client).padded(0x16, &frame, 256);
        record[20] ^= spoil;
        self.says(&record);
        secrets.session(&sha256(&[&transcript, &frame]))
    }

    /// A session, behind an honest handshake.
    pub(crate) fn session(mut self) -> RawSession {
        let [client, server] = self.proves(|_| {}, 0);
        let (records, heard) = (Records::new(client), opener(server));
        let mut session = RawSession { stream: self.stream, records, heard };
        assert_eq!(session.hears().unwrap().0, 0x16, "Ready");
        session
    }
}

/// A session in which a client sends any records.
pub(crate) struct RawSession {
    stream: TcpStream,
    records: Records,
    heard: RecordOpener,
}

impl RawSession {
    /// Opens a service, which the server has to permit.
    pub(crate) fn opens(mut self, service: &str, argument: &[u8]) -> Self {
        let (name, length) = (service.as_bytes(), u16::try_from(argument.len()).unwrap());
        let short = u8::try_from(name.len()).unwrap();
        self.sends(0x1b, &[&[short], name, &length.to_be_bytes(), argument].concat());
        assert_eq!(self.hears().unwrap(), (0x1c, vec![0]), "OpenReply");
        self
    }

    /// A record, sealed.
    pub(crate) fn seal(&mut self, content: u8, payload: &[u8]) -> Vec<u8> {
        self.records.seal(content, payload)
    }

    /// Sends a record.
    pub(crate) fn sends(&mut self, content: u8, payload: &[u8]) {
        let record = self.seal(content, payload);
        self.stream.write_all(&record).unwrap();
    }

    /// Sends sealed records. Returns whether the server still takes them.
    pub(crate) fn may_send(&mut self, records: &[u8]) -> bool {
        self.stream.write_all(records).is_ok()
    }

    /// The next record of the server: its type and its payload; `None` at the end of the connection.
    pub(crate) fn hears(&mut self) -> Option<(u8, Vec<u8>)> {
        let record = next_part(&mut self.stream, Part::Record)?;
        let opened = self.heard.open(&record).unwrap();
        Some((opened.content, opened.payload.to_vec()))
    }

    /// The alert that ends the session, if there is one, and the number of records before it.
    pub(crate) fn fate(&mut self) -> (usize, Option<u16>) {
        let mut count = 0;
        while let Some((content, payload)) = self.hears() {
            if content == 0x15 {
                return (count, Some(u16::from_be_bytes([payload[0], payload[1]])));
            }
            count += 1;
        }
        (count, None)
    }
}
