//! A peer of the sealed profile that does what a test wants: messages with every field open to
//! change, and the key schedule and the records written a second time, from PROTOCOL.md §4.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::Read;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use vpn::trust::PublicKey;
use vpn_proto::sealed::{
    ClientConfig, Decision, Event, Gated, HelloSent, Identity, Kex, KexKeyPair, Limits, Part, Psk,
    Ready, RecordOpener, ServerConfig, ServerFlightSent, Session, TrafficSecret, next_length,
};
use vpn_proto::{EnabledSuite, SuiteId};
use vpn_suite::{KeySize, Registry};
use zeroize::Zeroizing;

/// Whose keys are whose.
pub(crate) const CLIENT_SEED: [u8; 32] = [1; 32];
pub(crate) const SERVER_SEED: [u8; 32] = [2; 32];
pub(crate) const STRANGER_SEED: [u8; 32] = [3; 32];

pub(crate) const CLIENT_CONTEXT: &[u8] = b"vpn sealed1 client auth";
pub(crate) const SERVER_CONTEXT: &[u8] = b"vpn sealed1 server auth";

pub(crate) fn public(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// The line of a key in the files of both sides.
pub(crate) fn key_line(seed: &[u8; 32]) -> String {
    PublicKey { bytes: public(seed), comment: String::new() }.to_string().trim_end().to_owned()
}

/// Reads one message, and not a byte more.
pub(crate) fn read_part(stream: &mut impl Read, part: Part) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        if let Some(length) = next_length(part, &bytes).unwrap() {
            assert_eq!(length, bytes.len());
            return bytes;
        }
        stream.read_exact(&mut byte).expect("a whole message within the deadline");
        bytes.push(byte[0]);
    }
}

/// AES in both sizes that the tests know.
pub(crate) fn enabled() -> Arc<[EnabledSuite]> {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let sizes = [256, 128].map(|bits| KeySize::from_bits(bits).unwrap()).to_vec();
    vec![EnabledSuite { suite, wire_name: suite.name(), sizes }].into()
}

/// The suite that two such sides agree on.
pub(crate) fn aes256() -> SuiteId {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    SuiteId { suite, size: KeySize::from_bits(256).unwrap() }
}

pub(crate) fn psk(byte: u8) -> Psk {
    Psk::new(Zeroizing::new(vec![byte; 32])).unwrap()
}

/// An honest server that wants the gate.
pub(crate) fn server_config() -> ServerConfig {
    ServerConfig {
        enabled: enabled(),
        kex: vec![Kex::X25519MlKem768, Kex::Ffdhe3072],
        identity: Some(Identity::from_seed(&SERVER_SEED)),
        psks: Vec::new(),
        is_gate_required: true,
        limits: Limits::default(),
    }
}

/// An honest client that knows the server.
pub(crate) fn client_config() -> ClientConfig {
    ClientConfig {
        enabled: enabled(),
        kex: vec![Kex::X25519MlKem768, Kex::Ffdhe3072],
        identity: Some(Identity::from_seed(&CLIENT_SEED)),
        server_key: Some(public(&SERVER_SEED)),
        psk: None,
        limits: Limits::default(),
    }
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

pub(crate) fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// `EL` of the specification.
fn expand(secret: &[u8; 32], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let label = format!("vpn sealed1 {label}");
    let mut info = u16::try_from(length).unwrap().to_be_bytes().to_vec();
    info.push(label.len().try_into().unwrap());
    info.extend(label.as_bytes());
    info.push(context.len().try_into().unwrap());
    info.extend(context);
    let mut out = vec![0; length];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}

fn expand32(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; 32] {
    expand(secret, label, context, 32).try_into().unwrap()
}

/// The Finished MAC of a side, for the hash of a transcript.
pub(crate) fn finished(secret: &[u8; 32], hash: &[u8; 32]) -> [u8; 32] {
    hmac(&expand32(secret, "fin", b""), hash)
}

fn extract(salt: &[u8], ikm: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), ikm).0.into()
}

/// The secrets of a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    hs: [u8; 32],
    pub(crate) client: [u8; 32],
    pub(crate) server: [u8; 32],
}

impl Secrets {
    pub(crate) fn new(psk: Option<u8>, exchanged: &[u8], th2: &[u8; 32]) -> Self {
        let early = extract(&[0; 32], &[psk.unwrap_or(0); 32]);
        let hs = extract(&expand32(&early, "derived", b""), exchanged);
        let (client, server) = (expand32(&hs, "c hs", th2), expand32(&hs, "s hs", th2));
        Self { hs, client, server }
    }

    /// The secrets of the session: the client's, the server's.
    pub(crate) fn session(&self, th4: &[u8; 32]) -> [[u8; 32]; 2] {
        let master = extract(&expand32(&self.hs, "derived", b""), &[0; 32]);
        [expand32(&master, "c ap", th4), expand32(&master, "s ap", th4)]
    }
}

/// Records of one direction, whatever is to be inside.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    secret: [u8; 32],
    pub(crate) sequence: u64,
}

impl Records {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret, sequence: 0 }
    }

    /// Seals a plaintext that is a multiple of the block size, as it is.
    pub(crate) fn raw(&mut self, inner: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inner.len() + 32).unwrap();
        let suite = aes256().suite;
        let key = expand(&self.secret, "key aes-256-cbc", b"", 32);
        let iv_key = expand(&self.secret, "iv", b"", 32);
        let mut iv = [&[0; 8], self.sequence.to_be_bytes().as_slice()].concat();
        suite.encryptor(&iv_key).unwrap().encrypt(&mut [0; 16], &mut iv).unwrap();
        let mut record = [length.to_be_bytes().as_slice(), inner].concat();
        suite.encryptor(&key).unwrap().encrypt(&mut iv, &mut record[2..]).unwrap();
        let mac = expand(&self.secret, "mac", b"", 32);
        let tag = hmac(&mac, &[self.sequence.to_be_bytes().as_slice(), &record].concat());
        record.extend(tag);
        self.sequence += 1;
        record
    }

    /// Seals a payload, padded to a multiple of so many bytes.
    pub(crate) fn padded(&mut self, content: u8, payload: &[u8], to: usize) -> Vec<u8> {
        let mut inner = vec![content];
        inner.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        inner.extend(payload);
        inner.resize(inner.len().next_multiple_of(to), 0);
        self.raw(&inner)
    }

    pub(crate) fn seal(&mut self, content: u8, payload: &[u8]) -> Vec<u8> {
        self.padded(content, payload, 16)
    }

    /// Goes on under the next key of the direction.
    pub(crate) fn ratchet(&mut self) {
        self.secret = expand32(&self.secret, "upd", b"");
    }
}

/// What reads the records under a secret.
pub(crate) fn opener(secret: [u8; 32]) -> RecordOpener {
    let keys = TrafficSecret::danger_from_bytes(secret).record_keys(aes256()).unwrap();
    RecordOpener::new(keys)
}

/// A frame: type, length of three bytes, body.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    frame_of_length(kind, u32::try_from(body.len()).unwrap(), body)
}

pub(crate) fn frame_of_length(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[kind], &length.to_be_bytes()[1..], body].concat()
}

pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// `type, length, data`.
pub(crate) fn field(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), long(data)].concat()
}

/// A list of names behind its count.
pub(crate) fn names(names: &[&str]) -> Vec<u8> {
    let mut list = vec![u8::try_from(names.len()).unwrap()];
    for name in names {
        list.push(u8::try_from(name.len()).unwrap());
        list.extend(name.as_bytes());
    }
    list
}

/// What the gate of a ClientHello is.
#[derive(Clone, Debug)]
pub(crate) enum Gate {
    /// Keyed with these bytes, for this purpose.
    Keyed(Vec<u8>, &'static str),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A ClientHello, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) preface: Vec<u8>,
    pub(crate) kind: u8,
    /// Added to the true length.
    pub(crate) more_length: i32,
    pub(crate) random: [u8; 32],
    pub(crate) kex: Vec<u8>,
    pub(crate) suites: Vec<u8>,
    pub(crate) index: u8,
    pub(crate) share: Vec<u8>,
    pub(crate) extensions: Vec<u8>,
    /// How many bytes of the body before the gate there are; all unless told.
    pub(crate) keep: usize,
    pub(crate) before_gate: Vec<u8>,
    pub(crate) gate: Gate,
}

impl Hello {
    pub(crate) fn new(share: &[u8]) -> Self {
        Self {
            preface: b"\xf5VPN\x01".to_vec(),
            kind: 1,
            more_length: 0,
            random: [0x11; 32],
            kex: names(&["x25519-mlkem768", "ffdhe3072"]),
            suites: names(&["aes-256-cbc", "aes-128-cbc"]),
            index: 0,
            share: long(share),
            extensions: long(&field(0x3a3a, b"grease")),
            keep: usize::MAX,
            before_gate: Vec::new(),
            gate: Gate::Keyed(public(&SERVER_SEED).to_vec(), "pub"),
        }
    }

    fn body(&self) -> Vec<u8> {
        let lists = [self.random.as_slice(), &self.kex, &self.suites, &[self.index]].concat();
        let mut body = [&lists, self.share.as_slice(), &self.extensions].concat();
        body.truncate(self.keep);
        [body, self.before_gate.clone()].concat()
    }

    /// How long the body without the gate is.
    pub(crate) fn body_length(&self) -> usize {
        self.body().len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let gate_length = match &self.gate {
            Gate::Keyed(..) => 32,
            Gate::Bytes(bytes) => bytes.len(),
        };
        let length = i32::try_from(body.len() + gate_length).unwrap() + self.more_length;
        let head = frame_of_length(self.kind, length.try_into().unwrap(), &body);
        let mut bytes = [self.preface.as_slice(), &head].concat();
        match &self.gate {
            Gate::Keyed(ikm, info) => {
                let mut key = [0; 32];
                let hkdf = Hkdf::<Sha256>::new(Some(b"vpn sealed1 gate"), ikm);
                hkdf.expand(info.as_bytes(), &mut key).unwrap();
                bytes.extend(hmac(&key, &bytes));
            }
            Gate::Bytes(gate) => bytes.extend(gate),
        }
        bytes
    }
}

/// A ServerHello, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) preface: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) more_length: i32,
    pub(crate) random: [u8; 32],
    pub(crate) kex_index: u8,
    pub(crate) suite_index: u8,
    pub(crate) share: Vec<u8>,
    pub(crate) extensions: Vec<u8>,
    pub(crate) keep: usize,
    pub(crate) tail: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(share: &[u8]) -> Self {
        Self {
            preface: b"\xf5VPN\x01".to_vec(),
            kind: 2,
            more_length: 0,
            random: [0x22; 32],
            kex_index: 0,
            suite_index: 0,
            share: long(share),
            extensions: long(&[]),
            keep: usize::MAX,
            tail: Vec::new(),
        }
    }

    fn body(&self) -> Vec<u8> {
        let indexes = [self.kex_index, self.suite_index];
        let mut body = [self.random.as_slice(), &indexes, &self.share, &self.extensions].concat();
        body.truncate(self.keep);
        [body, self.tail.clone()].concat()
    }

    pub(crate) fn body_length(&self) -> usize {
        self.body().len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.body();
        let length = i32::try_from(body.len()).unwrap() + self.more_length;
        let frame = frame_of_length(self.kind, length.try_into().unwrap(), &body);
        [self.preface.as_slice(), &frame].concat()
    }
}

/// ServerAuth or ClientAuth, field by field; what is `None` is what it should be.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    pub(crate) frame: u8,
    pub(crate) length: Option<u32>,
    pub(crate) kind: u8,
    pub(crate) key: [u8; 32],
    /// Who signs, and what for.
    pub(crate) signer: [u8; 32],
    pub(crate) context: &'static [u8],
    pub(crate) fill: u8,
    pub(crate) signature: Option<[u8; 64]>,
    /// Xored into the signature.
    pub(crate) spoil_signature: [u8; 64],
    pub(crate) mac: Option<[u8; 32]>,
    pub(crate) spoil_mac: [u8; 32],
    /// Whose finished key it is; the sender's unless told.
    pub(crate) mac_secret: Option<[u8; 32]>,
    /// Stands in for the transcript before this frame.
    pub(crate) transcript: Option<Vec<u8>>,
    pub(crate) keep: usize,
    pub(crate) tail: Vec<u8>,
}

impl Auth {
    fn new(frame: u8, signer: [u8; 32], context: &'static [u8]) -> Self {
        Self {
            frame,
            length: None,
            kind: 1,
            key: public(&signer),
            signer,
            context,
            fill: 0x20,
            signature: None,
            spoil_signature: [0; 64],
            mac: None,
            spoil_mac: [0; 32],
            mac_secret: None,
            transcript: None,
            keep: usize::MAX,
            tail: Vec::new(),
        }
    }

    pub(crate) fn of_client() -> Self {
        Self::new(0x0c, CLIENT_SEED, CLIENT_CONTEXT)
    }

    pub(crate) fn of_server() -> Self {
        Self::new(0x0b, SERVER_SEED, SERVER_CONTEXT)
    }

    /// Kind 0, which shows no key.
    pub(crate) fn anonymous(self) -> Self {
        Self { kind: 0, key: [0; 32], signature: Some([0; 64]), ..self }
    }

    /// The frame, for a transcript that ends before it.
    pub(crate) fn encode(&self, secret: &[u8; 32], before: &[u8]) -> Vec<u8> {
        let before = self.transcript.as_deref().unwrap_or(before);
        let mut frame = frame_of_length(self.frame, self.length.unwrap_or(129), &[self.kind]);
        frame.extend(self.key);
        let hash = sha256(&[before, &frame]);
        let signed = [&[self.fill; 64], self.context, &[0], &hash].concat();
        let good = SigningKey::from_bytes(&self.signer).sign(&signed).to_bytes();
        let signature = self.signature.unwrap_or(good);
        frame.extend(signature.iter().zip(self.spoil_signature).map(|(a, b)| a ^ b));
        let secret = self.mac_secret.as_ref().unwrap_or(secret);
        let good = finished(secret, &sha256(&[before, &frame]));
        let mac = self.mac.unwrap_or(good);
        frame.extend(mac.iter().zip(self.spoil_mac).map(|(a, b)| a ^ b));
        frame.truncate(self.keep);
        frame.extend(&self.tail);
        frame
    }
}

/// Splits a message with a preface off.
pub(crate) fn split_hello(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(next_length(Part::Hello, bytes).unwrap().unwrap())
}

/// An honest server that has sent ServerHello and ServerAuth, and what its client knows then.
#[derive(Debug)]
pub(crate) struct FacingServer {
    pub(crate) state: ServerFlightSent,
    /// ClientHello, ServerHello and ServerAuth.
    pub(crate) transcript: Vec<u8>,
    /// The server's record.
    pub(crate) record: Vec<u8>,
    pub(crate) secrets: Secrets,
}

impl FacingServer {
    /// A ClientHello with nothing wrong, but for what `edit` does.
    pub(crate) fn start(
        config: ServerConfig,
        psk: Option<u8>,
        edit: impl FnOnce(&mut Hello),
    ) -> Self {
        let pair = KexKeyPair::generate(Kex::X25519MlKem768, &mut rand::rng());
        let mut hello = Hello::new(pair.share());
        edit(&mut hello);
        let hello = hello.encode();
        let gated = Gated::on_hello(Arc::new(config), &hello).unwrap();
        let (state, flight) = gated.respond(&mut rand::rng()).unwrap();
        Self::take(state, pair, &hello, &flight, psk)
    }

    /// Reads the flight of a server.
    pub(crate) fn take(
        state: ServerFlightSent,
        pair: KexKeyPair,
        hello: &[u8],
        flight: &[u8],
        psk: Option<u8>,
    ) -> Self {
        let (transcript, record, secrets) = read_flight(pair, hello, flight, psk);
        Self { state, transcript, record, secrets }
    }

    /// The secrets of the session behind this ClientAuth.
    pub(crate) fn session(&self, client_auth: &[u8]) -> [[u8; 32]; 2] {
        self.secrets.session(&sha256(&[&self.transcript, client_auth]))
    }
}

/// What a client knows after the flight of a server: the transcript so far, the record, the secrets.
pub(crate) fn read_flight(
    pair: KexKeyPair,
    hello: &[u8],
    flight: &[u8],
    psk: Option<u8>,
) -> (Vec<u8>, Vec<u8>, Secrets) {
    let (answer, record) = split_hello(flight);
    let length = usize::from(u16::from_be_bytes([answer[43], answer[44]]));
    let exchanged = pair.finish(&answer[45..45 + length]).unwrap();
    let secrets = Secrets::new(psk, exchanged.as_bytes(), &sha256(&[hello, answer]));
    let auth = opener(secrets.server).open(record).unwrap();
    (([hello, answer, &auth.payload]).concat(), record.to_vec(), secrets)
}

/// An honest client that has sent its ClientHello, and what a server can make of that.
#[derive(Debug)]
pub(crate) struct FacingClient {
    pub(crate) state: HelloSent,
    pub(crate) hello: Vec<u8>,
    /// Our share for it, and the secret.
    pub(crate) share: Vec<u8>,
    pub(crate) exchanged: Vec<u8>,
}

impl FacingClient {
    pub(crate) fn start(config: ClientConfig) -> Self {
        let mut rng = rand::rng();
        let start = HelloSent::start(Arc::new(config), Kex::X25519MlKem768, &mut rng);
        let (state, hello) = start.unwrap();
        let (share, exchanged) = respond(&hello);
        Self { state, hello, share, exchanged }
    }

    /// The secrets of the handshake behind this ServerHello.
    pub(crate) fn secrets(&self, answer: &[u8]) -> Secrets {
        Secrets::new(None, &self.exchanged, &sha256(&[&self.hello, answer]))
    }
}

/// Answers the share of an honest ClientHello: our share, and the secret.
pub(crate) fn respond(hello: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let share = vpn_proto::sealed::ClientHello::parse(hello).unwrap().share;
    let (share, secret) = Kex::X25519MlKem768.respond(&share, &mut rand::rng()).unwrap();
    (share, secret.as_bytes().to_vec())
}

/// Two honest sides in a session with an open service.
pub(crate) fn session_pair(limits: Limits) -> (Session, Session) {
    let client = ClientConfig { limits, ..client_config() };
    let server = ServerConfig { limits, ..server_config() };
    session_pair_of(client, server)
}

pub(crate) fn session_pair_of(client: ClientConfig, server: ServerConfig) -> (Session, Session) {
    let mut rng = rand::rng();
    let kex = Kex::X25519MlKem768;
    let (client, hello) = HelloSent::start(Arc::new(client), kex, &mut rng).unwrap();
    let gated = Gated::on_hello(Arc::new(server), &hello).unwrap();
    let (server, flight) = gated.respond(&mut rng).unwrap();
    let (first, second) = split_hello(&flight);
    let client = client.on_first(first).unwrap().on_record(second).unwrap();
    let (client, proof) = client.accept().unwrap();
    let admit = |_| Decision::Admit(Ready::default());
    let (mut server, _, ready) = server.on_record(&proof, admit).unwrap();
    let (mut client, _) = client.on_record(&ready).unwrap();
    client.open("message", b"").unwrap();
    server.handle_input(&client.poll_transmit().unwrap()).unwrap();
    assert!(matches!(server.poll_event(), Some(Event::Open { .. })));
    server.reply_open(0, "").unwrap();
    client.handle_input(&server.poll_transmit().unwrap()).unwrap();
    assert!(matches!(client.poll_event(), Some(Event::OpenReply { status: 0, .. })));
    (client, server)
}

/// Numbers that look random and come again with the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A fresh seed, or the one that VPN_SEED says.
    pub(crate) fn seed() -> u64 {
        let told = std::env::var("VPN_SEED").ok().and_then(|text| text.parse().ok());
        told.unwrap_or_else(rand::random)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below another.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
