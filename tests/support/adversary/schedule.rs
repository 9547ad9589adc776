//! The key schedule and the records.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use vpn_proto::sealed::{RecordOpener, TrafficSecret};

use super::aes256;

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

/// Records of one direction, with any content.
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
