//! A peer in a session that has the keys and says anything.

use vpn_proto::sealed::{
    Alert, Decision, Event, Kex, KexKeyPair, Part, Ready, RecordOpener, SealedError, Session,
    next_length,
};

use super::{Said, Seen, all, silent};
use crate::support::adversary::{
    Answer, Auth, FacingClient, FacingServer, Records, client_config, frame, opener, server_config,
    sha256,
};

pub(super) const ALERT: u8 = 0x15;
pub(super) const HANDSHAKE: u8 = 0x16;
pub(super) const DATA: u8 = 0x17;
pub(super) const KEY_UPDATE: u8 = 0x18;
pub(super) const PING: u8 = 0x19;
pub(super) const PONG: u8 = 0x1a;
pub(super) const OPEN: u8 = 0x1b;
pub(super) const OPEN_REPLY: u8 = 0x1c;
pub(super) const EOF: u8 = 0x1d;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Facing {
    Server,
    Client,
}

/// A peer in a session with an honest side.
pub(super) struct Peer {
    /// What it sends.
    pub(super) records: Records,
    /// What it received: the honest side's latest record.
    pub(super) received: Vec<u8>,
    pub(super) honest: Honest,
}

/// The honest side, and the little that its driver does.
pub(super) struct Honest {
    pub(super) facing: Facing,
    pub(super) session: Session,
    pub(super) opener: RecordOpener,
    /// How many records it has sent.
    pub(super) sent: u64,
    pub(super) exchange: Option<KexKeyPair>,
    pub(super) is_closed: bool,
    pub(super) said: Said,
    pub(super) error: Option<SealedError>,
}

impl Honest {
    /// Takes bytes as they come from a socket.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let result = self.session.handle_input(bytes);
        let result = result.and_then(|()| self.act());
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
        self.is_closed |= self.session.is_closed();
        self.say()
    }

    /// Does what a service would do.
    pub(super) fn act(&mut self) -> Result<(), SealedError> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Open { .. } => self.session.reply_open(0, "")?,
                Event::CloseRequested => self.session.close(Alert::CloseNotify)?,
                Event::ExchangeWanted(share) => {
                    let kex = Kex::X25519MlKem768;
                    let (share, secret) = kex.respond(&share, &mut rand::rng())?;
                    self.session.answer_exchange(&share, &secret)?;
                }
                Event::ExchangeAnswered(share) => {
                    let secret = self.exchange.take().unwrap().finish(&share)?;
                    self.session.finish_exchange(&secret)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the peer hears; the alert in it is kept.
    pub(super) fn say(&mut self) -> Vec<u8> {
        let mut last = Vec::new();
        while let Some(record) = self.session.poll_transmit() {
            match self.opener.open(&record) {
                Ok(opened) if opened.content == ALERT => {
                    self.said =
                        Said::Alert(u16::from_be_bytes([opened.payload[0], opened.payload[1]]));
                }
                Ok(_) => {}
                // Keys of a fresh exchange: it must be what they make of an alert.
                Err(_) => {
                    let [client, server] = self.session.traffic_secrets();
                    let own = if self.facing == Facing::Server { server } else { client };
                    let seal = |code: u16| {
                        let mut records = Records::new(*own);
                        records.sequence = self.sent;
                        records.padded(ALERT, &code.to_be_bytes(), 64)
                    };
                    if let Some(code) = (0..9).find(|code| seal(*code) == record) {
                        self.said = Said::Alert(code);
                    }
                }
            }
            self.sent += 1;
            last = record;
        }
        last
    }
}

impl Peer {
    pub(super) fn new(facing: Facing) -> Self {
        match facing {
            Facing::Server => {
                let facing = FacingServer::start(server_config(), None, |_| {});
                let auth = Auth::of_client().encode(&facing.secrets.client, &facing.transcript);
                let record = Records::new(facing.secrets.client).padded(HANDSHAKE, &auth, 256);
                let [client, server] = facing.session(&auth);
                let admit = |_| Decision::Admit(Ready::default());
                let (session, _, ready) = facing.state.on_record(&record, admit).unwrap();
                let mut opener = opener(server);
                opener.open(&ready).unwrap();
                Self::with(Facing::Server, session, opener, Records::new(client), 1)
            }
            Facing::Client => {
                let facing = FacingClient::start(client_config());
                let answer = Answer::new(&facing.share).encode();
                let secrets = facing.secrets(&answer);
                let mut transcript = [facing.hello.as_slice(), &answer].concat();
                let auth = Auth::of_server().encode(&secrets.server, &transcript);
                let record = Records::new(secrets.server).padded(HANDSHAKE, &auth, 256);
                transcript.extend(auth);
                let state = facing.state.on_first(&answer).unwrap().on_record(&record).unwrap();
                let (state, proof) = state.accept().unwrap();
                transcript.extend(opener(secrets.client).open(&proof).unwrap().payload.iter());
                let [client, server] = secrets.session(&sha256(&[&transcript]));
                let mut records = Records::new(server);
                let ready = records.padded(HANDSHAKE, &frame(0x0d, &[0]), 256);
                let (session, _) = state.on_record(&ready).unwrap();
                Self::with(Facing::Client, session, opener(client), records, 0)
            }
        }
    }

    pub(super) fn with(
        facing: Facing,
        session: Session,
        opener: RecordOpener,
        records: Records,
        sent: u64,
    ) -> Self {
        let honest = Honest {
            facing,
            session,
            opener,
            sent,
            exchange: None,
            is_closed: false,
            said: Said::Nothing,
            error: None,
        };
        Self { records, received: Vec::new(), honest }
    }

    /// With an open service.
    pub(super) fn opened(facing: Facing) -> Self {
        let mut peer = Self::new(facing);
        match facing {
            Facing::Server => peer.send(OPEN, &open_payload()),
            Facing::Client => {
                peer.honest_opens();
                peer.send(OPEN_REPLY, &[0]);
            }
        }
        assert_eq!(peer.honest.error, None);
        peer
    }

    pub(super) fn honest_opens(&mut self) {
        self.honest.session.open("message", b"").unwrap();
        self.received = self.honest.say();
    }

    /// The honest client starts a fresh exchange; our share for it.
    pub(super) fn honest_renews(&mut self) -> Vec<u8> {
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
        let (share, _) = Kex::X25519MlKem768.respond(pair.share(), &mut rand::rng()).unwrap();
        self.honest.session.begin_exchange(pair.share()).unwrap();
        self.honest.exchange = Some(pair);
        self.received = self.honest.say();
        share
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let heard = self.honest.hear(bytes);
        if !heard.is_empty() {
            self.received = heard;
        }
    }

    /// Sends a record byte by byte, but for its last one, and ends the stream.
    pub(super) fn cut(&mut self, record: &[u8]) {
        for byte in &record[..record.len() - 1] {
            self.bytes(&[*byte]);
            assert_eq!(self.honest.error, None);
        }
        self.honest.error = self.honest.session.handle_eof().err();
        self.honest.say();
    }

    pub(super) fn send(&mut self, content: u8, payload: &[u8]) {
        let record = self.records.seal(content, payload);
        self.bytes(&record);
    }

    pub(super) fn handshake(&mut self, frame: &[u8]) {
        let record = self.records.padded(HANDSHAKE, frame, 256);
        self.bytes(&record);
    }

    /// How it ended.
    pub(super) fn seen(self) -> Seen {
        match self.honest.error {
            None => Seen::Accepted,
            Some(error) => Seen::Ended(error, self.honest.said),
        }
    }
}

pub(super) fn open_payload() -> Vec<u8> {
    [&[7][..], b"message", &[0, 0]].concat()
}

/// What is told with alert 2.
pub(super) fn broken(error: SealedError) -> Seen {
    Seen::Ended(error, Said::Alert(2))
}

pub(super) fn broken_form(what: &'static str) -> Seen {
    broken(SealedError::Malformed(what))
}

pub(super) fn out_of_place(got: u8) -> Seen {
    broken(SealedError::Unexpected { expected: DATA, got })
}

/// Bad records are told nothing.
pub(super) fn bad() -> Seen {
    silent(SealedError::BadRecord)
}

/// A record that comes byte by byte, and the end of the stream before the last: it is taken for
/// nothing before it is whole.
pub(super) fn cut(facing: Facing, content: u8, payload: &[u8]) -> Seen {
    all([1, 2, 17, usize::MAX].into_iter().map(|most| {
        let mut peer = Peer::opened(facing);
        let record = peer.records.seal(content, payload);
        assert_eq!(next_length(Part::Record, &record), Ok(Some(record.len())));
        peer.cut(&record[..record.len().min(most)]);
        peer.seen()
    }))
}
