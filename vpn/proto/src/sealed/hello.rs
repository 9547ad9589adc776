//! ClientHello, ServerHello and Reject (PROTOCOL.md §4.2).

use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::error::SealedError;
use super::kex::Kex;
use super::psk::Psk;
use super::schedule::gate_key;
use super::suites::suite_name;
use super::wire::{
    FRAME_HEADER, HANDSHAKE_LIMIT, PREFACE, Reader, frame, put_long, put_short, read_fields,
    unframed,
};
use crate::suite::SuiteId;

/// The most key exchanges in a list.
const MAX_KEX: usize = 8;
/// The most suites in a list.
const MAX_SUITES: usize = 32;
/// The longest name in bytes.
const MAX_NAME: usize = 32;
/// The size of a gate in bytes.
const GATE: usize = 32;
/// The first extension type without a meaning. Servers must ignore unknown extensions, so clients
/// send one of these (as in RFC 8701).
const GREASE: u16 = 0x0a0a;
/// The distance between two of these types: 0A0Ah, 1A1Ah, … FAFAh.
const GREASE_STEP: u16 = 0x1010;

/// The first message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The complete message, with its preface.
    pub bytes: Vec<u8>,
    /// The random value. Key logs name a session by it.
    pub random: [u8; 32],
    /// The names of the key exchanges, in the order of the client.
    pub kex: Vec<String>,
    /// The names of the suites.
    pub suites: Vec<String>,
    /// The index of the key exchange of the share.
    pub kex_index: u8,
    /// The key share.
    pub share: Vec<u8>,
    /// The gate: the last 32 bytes.
    pub gate: [u8; GATE],
}

/// The key of the gate of a ClientHello.
#[derive(Clone, Debug)]
pub(super) enum GateKey<'a> {
    Psk(&'a Psk),
    ServerKey(&'a [u8; 32]),
    /// The client knows no key of the server. The gate is random.
    Unknown,
}

impl ClientHello {
    pub(super) fn encode(
        kex: &[Kex],
        suites: &[SuiteId],
        pair: (Kex, &[u8]),
        gate: &GateKey<'_>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, SealedError> {
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let index = kex.iter().position(|k| *k == pair.0).ok_or(SealedError::Internal)?;
        let kex_index = u8::try_from(index).map_err(|_| SealedError::Internal)?;
        let kex: Vec<String> = kex.iter().map(|k| k.name().to_owned()).collect();
        let suites: Vec<String> =
            suites.iter().take(MAX_SUITES).map(|id| suite_name(*id)).collect();
        let mut body = random.to_vec();
        put_names(&mut body, &kex);
        put_names(&mut body, &suites);
        body.push(kex_index);
        put_long(&mut body, pair.1);
        let mut grease = [0; 2];
        rng.fill_bytes(&mut grease);
        let mut filling = vec![0; usize::from(grease[1] % 17)];
        rng.fill_bytes(&mut filling);
        let kind = GREASE + GREASE_STEP * u16::from(grease[0] % 16);
        let mut extensions = kind.to_be_bytes().to_vec();
        put_long(&mut extensions, &filling);
        put_long(&mut body, &extensions);
        let mut bytes = with_preface(frame::CLIENT_HELLO, &body, GATE);
        let gate = match gate {
            GateKey::Psk(psk) => gate_tag(psk.as_bytes(), "psk", &bytes),
            GateKey::ServerKey(key) => gate_tag(key.as_slice(), "pub", &bytes),
            GateKey::Unknown => {
                let mut random = [0; GATE];
                rng.fill_bytes(&mut random);
                random
            }
        };
        bytes.extend_from_slice(&gate);
        Ok(Self { bytes, random, kex, suites, kex_index, share: pair.1.to_vec(), gate })
    }

    /// Parses a complete message, with its preface.
    ///
    /// # Errors
    ///
    /// If the message does not have exactly the form of PROTOCOL.md §4.2.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        let body = body_of(frame::CLIENT_HELLO, bytes)?;
        let (fields, gate) =
            body.split_last_chunk::<GATE>().ok_or(SealedError::Malformed("no gate"))?;
        let mut reader = Reader::new(fields);
        let random = reader.array()?;
        let kex = read_names(&mut reader, MAX_KEX)?;
        let suites = read_names(&mut reader, MAX_SUITES)?;
        let kex_index = reader.u8()?;
        if usize::from(kex_index) >= kex.len() {
            return Err(SealedError::Malformed("index of the key exchange"));
        }
        let share = reader.long()?.to_vec();
        read_fields(reader.long()?)?;
        reader.finish()?;
        let bytes = bytes.to_vec();
        Ok(Self { bytes, random, kex, suites, kex_index, share, gate: *gate })
    }

    /// Compares the gate with the gates of our key and of all PSKs, in constant time.
    ///
    /// Returns whether one of them matches, and the index of the PSK that matches.
    pub(super) fn check_gate(
        &self,
        key: Option<&[u8; 32]>,
        psks: &[Psk],
    ) -> (Choice, Option<usize>) {
        let signed = &self.bytes[..self.bytes.len() - GATE];
        let mut matches = Choice::from(0);
        let mut selected = 0u32;
        if let Some(key) = key {
            matches |= gate_tag(key, "pub", signed).ct_eq(&self.gate);
        }
        for (number, psk) in (1u32..).zip(psks) {
            let fits = gate_tag(psk.as_bytes(), "psk", signed).ct_eq(&self.gate);
            selected.conditional_assign(&number, fits);
            matches |= fits;
        }
        (matches, (selected as usize).checked_sub(1))
    }
}

/// `gate = HMAC-SHA256(gate_key, all preceding bytes)`.
fn gate_tag(ikm: &[u8], info: &str, bytes: &[u8]) -> [u8; GATE] {
    let key = gate_key(ikm, info);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes any key");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// The first message of a server that accepts a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The complete message, with its preface.
    pub bytes: Vec<u8>,
    /// The random value.
    pub random: [u8; 32],
    /// The index of the key exchange in the list of the client.
    pub kex_index: u8,
    /// The index of the suite in the list of the client.
    pub suite_index: u8,
    /// The key share.
    pub share: Vec<u8>,
}

impl ServerHello {
    pub(super) fn encode(random: [u8; 32], kex_index: u8, suite_index: u8, share: &[u8]) -> Self {
        let mut body = random.to_vec();
        body.extend_from_slice(&[kex_index, suite_index]);
        put_long(&mut body, share);
        put_long(&mut body, &[]);
        let bytes = with_preface(frame::SERVER_HELLO, &body, 0);
        Self { bytes, random, kex_index, suite_index, share: share.to_vec() }
    }

    fn parse(bytes: &[u8], body: &[u8]) -> Result<Self, SealedError> {
        let mut reader = Reader::new(body);
        let random = reader.array()?;
        let (kex_index, suite_index) = (reader.u8()?, reader.u8()?);
        let share = reader.long()?.to_vec();
        read_fields(reader.long()?)?;
        reader.finish()?;
        Ok(Self { bytes: bytes.to_vec(), random, kex_index, suite_index, share })
    }
}

/// The first message of a server that refuses a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The two sides have no suite or no key exchange in common.
    NoCommonSuite {
        /// The key exchanges of the server.
        kex: Vec<String>,
        /// The suites of the server.
        suites: Vec<String>,
    },
    /// The share is not for the key exchange that the server chose.
    KexRetry {
        /// The key exchanges of the server.
        kex: Vec<String>,
        /// The suites of the server.
        suites: Vec<String>,
    },
    /// The server is busy.
    Busy,
}

impl Reject {
    /// The complete message, with its preface.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (code, lists) = match self {
            Self::NoCommonSuite { kex, suites } => (1, Some((kex, suites))),
            Self::KexRetry { kex, suites } => (2, Some((kex, suites))),
            Self::Busy => (3, None),
        };
        body.push(code);
        if let Some((kex, suites)) = lists {
            put_names(&mut body, kex);
            put_names(&mut body, suites);
        }
        with_preface(frame::REJECT, &body, 0)
    }

    fn parse(body: &[u8]) -> Result<Self, SealedError> {
        let mut reader = Reader::new(body);
        let reject = match reader.u8()? {
            code @ (1 | 2) => {
                let kex = read_names(&mut reader, MAX_KEX)?;
                let suites = read_names(&mut reader, MAX_SUITES)?;
                match code {
                    1 => Self::NoCommonSuite { kex, suites },
                    _ => Self::KexRetry { kex, suites },
                }
            }
            3 => Self::Busy,
            _ => return Err(SealedError::Malformed("code of a Reject")),
        };
        reader.finish()?;
        Ok(reject)
    }
}

/// The first message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerFirst {
    Hello(ServerHello),
    Reject(Reject),
}

impl ServerFirst {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        match bytes.get(PREFACE.len()) {
            Some(&frame::REJECT) => {
                Ok(Self::Reject(Reject::parse(body_of(frame::REJECT, bytes)?)?))
            }
            _ => {
                let body = body_of(frame::SERVER_HELLO, bytes)?;
                Ok(Self::Hello(ServerHello::parse(bytes, body)?))
            }
        }
    }
}

/// Preface, header and body. The length field counts `more` bytes that follow the body.
fn with_preface(kind: u8, body: &[u8], more: usize) -> Vec<u8> {
    let length = u32::try_from(body.len() + more).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = PREFACE.to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(body);
    bytes
}

/// The body of a message with a preface.
fn body_of(kind: u8, bytes: &[u8]) -> Result<&[u8], SealedError> {
    let frame = bytes.strip_prefix(&PREFACE).ok_or(SealedError::Malformed("preface"))?;
    if frame.len() < FRAME_HEADER || bytes.len() > HANDSHAKE_LIMIT {
        return Err(SealedError::Malformed("length"));
    }
    unframed(kind, frame)
}

/// Appends a list of names.
fn put_names(to: &mut Vec<u8>, names: &[String]) {
    to.push(u8::try_from(names.len()).unwrap_or(u8::MAX));
    for name in names {
        put_short(to, name.as_bytes());
    }
}

/// Parses a list of 1 to `most` different names.
fn read_names(reader: &mut Reader<'_>, most: usize) -> Result<Vec<String>, SealedError> {
    let count = usize::from(reader.u8()?);
    if !(1..=most).contains(&count) {
        return Err(SealedError::Malformed("count of names"));
    }
    let mut names: Vec<String> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.short()?;
        let is_name_byte =
            |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"@.-".contains(b);
        if !(1..=MAX_NAME).contains(&name.len()) || !name.iter().all(is_name_byte) {
            return Err(SealedError::Malformed("name"));
        }
        let name: String = name.iter().copied().map(char::from).collect();
        if names.contains(&name) {
            return Err(SealedError::Malformed("a name occurs twice"));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::aes256;

    const KEY: [u8; 32] = [0x11; 32];

    fn hello(gate: &GateKey<'_>) -> ClientHello {
        let pair = (Kex::Ffdhe3072, b"share".as_slice());
        ClientHello::encode(&Kex::ALL, &[aes256()], pair, gate, &mut rand::rng()).unwrap()
    }

    fn psk(byte: u8) -> Psk {
        Psk::new(vec![byte; 32].into()).unwrap()
    }

    /// A ClientHello with these lists, this index of the key exchange and these extensions.
    fn written(kex: &[&str], suites: &[&str], index: u8, extensions: &[u8]) -> Vec<u8> {
        let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let mut body = vec![0; 32];
        put_names(&mut body, &owned(kex));
        put_names(&mut body, &owned(suites));
        body.push(index);
        put_long(&mut body, b"share");
        put_long(&mut body, extensions);
        body.extend([0; GATE]);
        with_preface(frame::CLIENT_HELLO, &body, 0)
    }

    #[test]
    fn a_client_hello_is_parsed_as_it_was_written() {
        let written = hello(&GateKey::Unknown);
        let parsed = ClientHello::parse(&written.bytes).unwrap();
        assert_eq!(parsed, written);
        assert_eq!(parsed.kex, ["x25519-mlkem768", "ffdhe3072", "ffdhe4096", "ffdhe8192"]);
        assert_eq!(
            (parsed.suites.as_slice(), parsed.kex_index),
            (&["aes-256-cbc".to_owned()][..], 1)
        );
        assert_eq!(parsed.share, b"share");
        let other = (Kex::Ffdhe8192, b"share".as_slice());
        let error =
            ClientHello::encode(&[Kex::Ffdhe3072], &[], other, &GateKey::Unknown, &mut rand::rng());
        assert_eq!(error, Err(SealedError::Internal));
    }

    #[test]
    fn mistakes_in_a_client_hello_are_refused() {
        let good = written(&["a"], &["b"], 0, &[]);
        assert!(ClientHello::parse(&good).is_ok());
        let many: Vec<String> = (0..33).map(|n| format!("s{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = "n".repeat(33);
        for (bytes, part) in [
            (written(&["a"], &["b"], 1, &[]), "index of the key exchange"),
            (written(&[], &["b"], 0, &[]), "count of names"),
            (written(&many[..9], &["b"], 0, &[]), "count of names"),
            (written(&["a"], &many, 0, &[]), "count of names"),
            (written(&["a", "a"], &["b"], 0, &[]), "a name occurs twice"),
            (written(&["A"], &["b"], 0, &[]), "name"),
            (written(&[""], &["b"], 0, &[]), "name"),
            (written(&["a"], &[&long], 0, &[]), "name"),
            (written(&["a"], &["b"], 0, &[9]), "a field is cut off"),
            (written(&["a"], &["b"], 0, &[0, 1, 0, 0, 0, 1, 0, 0]), "a field occurs twice"),
            (good[1..].to_vec(), "preface"),
            (good[..7].to_vec(), "length"),
            (good[..good.len() - 1].to_vec(), "frame length"),
            (with_preface(frame::CLIENT_HELLO, &[0; 31], 0), "no gate"),
            (with_preface(frame::CLIENT_HELLO, &[0; 5000], 0), "length"),
        ] {
            assert_eq!(ClientHello::parse(&bytes), Err(SealedError::Malformed(part)));
        }
        let other = SealedError::Unexpected { expected: frame::CLIENT_HELLO, got: frame::REJECT };
        assert_eq!(ClientHello::parse(&Reject::Busy.encode()), Err(other));
    }

    #[test]
    fn a_gate_matches_its_own_key_only() {
        let check = |gate: &GateKey<'_>, psks: &[Psk]| {
            let (matches, psk) = hello(gate).check_gate(Some(&KEY), psks);
            (bool::from(matches), psk)
        };
        let psks = [psk(1), psk(2), psk(3)];
        assert_eq!(check(&GateKey::Unknown, &psks), (false, None));
        assert_eq!(check(&GateKey::ServerKey(&KEY), &psks), (true, None));
        assert_eq!(check(&GateKey::ServerKey(&[0x12; 32]), &psks), (false, None));
        assert_eq!(check(&GateKey::Psk(&psks[1]), &psks), (true, Some(1)));
        assert_eq!(check(&GateKey::Psk(&psk(4)), &psks), (false, None));
    }

    #[test]
    fn answers_of_a_server_are_parsed_as_they_were_written() {
        let server = ServerHello::encode([7; 32], 1, 2, b"share");
        assert_eq!(ServerFirst::parse(&server.bytes), Ok(ServerFirst::Hello(server.clone())));
        let (kex, suites) = (vec!["ffdhe3072".to_owned()], vec!["aes-256-cbc".to_owned()]);
        for reject in [
            Reject::NoCommonSuite { kex: kex.clone(), suites: suites.clone() },
            Reject::KexRetry { kex, suites },
            Reject::Busy,
        ] {
            assert_eq!(ServerFirst::parse(&reject.encode()), Ok(ServerFirst::Reject(reject)));
        }
        let reject = |body: &[u8]| ServerFirst::parse(&with_preface(frame::REJECT, body, 0));
        assert_eq!(reject(&[4]), Err(SealedError::Malformed("code of a Reject")));
        assert_eq!(reject(&[3, 0]), Err(SealedError::Malformed("trailing bytes")));
        assert_eq!(reject(&[1, 0]), Err(SealedError::Malformed("count of names")));
        let mut cut = server.bytes;
        cut[8] -= 1;
        cut.pop();
        assert_eq!(ServerFirst::parse(&cut), Err(SealedError::Malformed("a field is cut off")));
    }
}
