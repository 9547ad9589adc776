//! The messages of the handshake, field by field.

use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use sha2::Sha256;

use super::{
    CLIENT_CONTEXT, CLIENT_SEED, SERVER_CONTEXT, SERVER_SEED, finished, hmac, public, sha256,
};

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
